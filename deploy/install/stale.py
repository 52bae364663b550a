"""Units that run with what they had before: noted before the change, by what they are running as.

systemd gives each start of a unit an InvocationID. A note that bears another one than the unit has
now says nothing any more: it was started again since, be it by a start of the machine, which
forgets the notes as well. A kill between the note and the change costs a restart too many at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.install.copying import make_folders
from deploy.phases.state import RELOAD, RESTART

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.install.machine import Machine


def note(machine: Machine, unit: str, invocation: str, how: str) -> None:
    """Note that a unit, which runs as `invocation`, must be started or read again (`how`).

    That it must be started again outweighs the other.
    """
    if not invocation or look(machine, unit, invocation) == RESTART:
        return
    make_folders(machine.stale)
    fresh = machine.stale / f".{unit}"
    fresh.write_text(f"{how} {invocation}\n", "utf-8")
    fresh.replace(machine.stale / unit)


def look(machine: Machine, unit: str, invocation: str) -> str:
    """Return what a unit that runs as `invocation` needs: `restart`, `reload`, or nothing."""
    how, noted = _read(machine, unit)
    return how if invocation and noted == invocation and how in (RESTART, RELOAD) else ""


def reloads(machine: Machine) -> dict[str, str]:
    """Return by unit the invocation that has to read its files again."""
    if not machine.stale.is_dir():
        return {}
    names = [each.name for each in machine.stale.iterdir() if not each.name.startswith(".")]
    notes = {name: _read(machine, name) for name in names}
    return {name: noted for name, (how, noted) in notes.items() if how == RELOAD}


def read_again(machine: Machine, units: Mapping[str, str]) -> None:
    """Forget of units, by the invocation they ran as, that they had to read their files again."""
    for unit, invocation in units.items():
        if _read(machine, unit) == (RELOAD, invocation):
            (machine.stale / unit).unlink(missing_ok=True)


def _read(machine: Machine, unit: str) -> tuple[str, str]:
    try:
        how, _, invocation = (machine.stale / unit).read_text("utf-8").strip().partition(" ")
    except FileNotFoundError:
        return "", ""
    return how, invocation
