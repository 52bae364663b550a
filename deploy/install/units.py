"""Units of systemd, as phases need them: looked at, enabled, disabled, masked while packages come.

A unit that a phase lays itself is a link from /etc/systemd/system into the store; `systemctl
disable` would remove that link, and `enable` refuses such units. So their links for the start of
the machine are made here, by what their `[Install]` says.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import ManagerError
from deploy.install import records, stale
from deploy.install.copying import make_folders, sweep
from deploy.phases.state import UnitState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from deploy.install.machine import Machine
    from deploy.phases.configuration import Configuration

SYSTEM = "/etc/systemd/system"
MASK = "/dev/null"
PROPERTIES = "Id,Names,LoadState,ActiveState,SubState,UnitFileState,InvocationID"
ENABLED = ("enabled", "enabled-runtime", "alias")
FIXED = ("static", "indirect", "generated", "transient")
"""States of unit files that neither `enable` nor `disable` changes."""
ABSENT = "not-found"
STOP_SECONDS = 900.0
_WANTED = re.compile(r"^(WantedBy|RequiredBy)=(.*)$", re.MULTILINE)
_KINDS = {"WantedBy": "wants", "RequiredBy": "requires"}


def show(machine: Machine, names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the properties of units by the names that they were asked by.

    Raises:
        ManagerError: systemd does not tell.
    """
    if not names:
        return {}
    wanted = sorted(set(names))
    argv = ("systemctl", "show", f"--property={PROPERTIES}", "--", *wanted)
    done = machine.run(argv)
    if done.status:
        reason = "systemd does not tell of units"
        raise ManagerError(reason, where=" ".join(argv), got=done.stderr.strip()[-400:])
    blocks = [_block(each) for each in done.stdout.decode("utf-8", "replace").split("\n\n")]
    found = {}
    for block in filter(None, blocks):
        for name in (block.get("Id", ""), *block.get("Names", "").split()):
            found[name] = block
    return {name: found.get(name, {}) for name in wanted}


def states(machine: Machine, names: Collection[str]) -> dict[str, UnitState]:
    """Return how units are, by name."""
    return {name: state(machine, name, facts) for name, facts in show(machine, names).items()}


def state(machine: Machine, name: str, facts: Mapping[str, str]) -> UnitState:
    """Return how a unit is by its properties."""
    if facts.get("LoadState", ABSENT) == ABSENT:
        return UnitState("inactive", ABSENT)
    invocation = facts.get("InvocationID", "")
    active = facts.get("ActiveState", "")
    return UnitState(
        active=active,
        sub=facts.get("SubState", ""),
        enabled=is_enabled(machine, name, facts),
        stale=stale.look(machine, name, invocation) if is_up(active) else "",
        invocation=invocation,
    )


def is_up(active: str) -> bool:
    """Tell whether a unit in this state has processes, or is about to."""
    return active in ("active", "activating", "reloading", "refreshing")


def is_enabled(machine: Machine, name: str, facts: Mapping[str, str]) -> bool:
    """Tell whether a unit starts with the machine: by what systemd says, or by a link."""
    return facts.get("UnitFileState") in ENABLED or any(_links(machine, name))


def enable(machine: Machine, configuration: Configuration) -> None:
    """Let the units of a phase start at boot that are to, and the others not.

    Raises:
        ManagerError: systemd does not do so.
    """
    known = show(machine, [each.name for each in configuration.units])
    own = {each.name for each in configuration.units if _own(configuration, each.name)}
    for each in configuration.units:
        if each.name in own:
            _set_own(machine, configuration, each.name, enabled=each.enabled)
    others = {n: f for n, f in known.items() if n not in own and _can_change(f)}
    wishes = {each.name: each.enabled for each in configuration.units}
    now = {name: is_enabled(machine, name, facts) for name, facts in others.items()}
    tell(machine, "enable", [name for name in others if wishes[name] and not now[name]])
    tell(machine, "disable", [name for name in others if not wishes[name] and now[name]])


def disable(machine: Machine, configuration: Configuration, names: Iterable[str]) -> None:
    """Keep units of a phase from starting at boot.

    Raises:
        ManagerError: systemd does not do so.
    """
    chosen = set(names)
    for name in sorted(chosen):
        if _own(configuration, name):
            _set_own(machine, configuration, name, enabled=False)
    known = show(machine, [each for each in chosen if not _own(configuration, each)])
    there = {n: f for n, f in known.items() if _can_change(f) and is_enabled(machine, n, f)}
    tell(machine, "disable", sorted(there))


def tell(machine: Machine, verb: str, names: Sequence[str]) -> None:
    """Let systemctl do something with units; with none, nothing.

    Raises:
        ManagerError: it does not.
    """
    if not names:
        return
    done = machine.run(("systemctl", verb, "--", *names), timeout=STOP_SECONDS)
    if done.status:
        said = done.stderr.strip()[-400:]
        reason = f"systemd does not {verb} {', '.join(names)}"
        raise ManagerError(reason, got=said, hint=f"systemctl status {names[0]}")


def change(machine: Machine) -> None:
    """Note before units change that systemd has to read them again."""
    make_folders(machine.memory)
    machine.unread.touch()


def learn(machine: Machine) -> None:
    """Let systemd read its units again, if any changed that it may not have read.

    Files of a store all bear the same date: by itself it would not notice.

    Raises:
        ManagerError: it does not.
    """
    if machine.unread.exists():
        done = machine.run(("systemctl", "daemon-reload"))
        if done.status:
            raise ManagerError("systemd does not read its units", got=done.stderr.strip()[-400:])
        machine.unread.unlink()


def mask(machine: Machine, names: Iterable[str]) -> None:
    """Let nothing start these units that packages are about to bring, not even a power cut.

    It is noted which are masked, so that whoever comes next can go on.
    """
    folder = machine.at(SYSTEM)
    free = [each for each in names if not _there(folder / each)]
    before = records.noted(machine, records.MASKED)
    records.note(machine, records.MASKED, before | dict.fromkeys(free, MASK))
    for name in free:
        durable.link(folder / name, MASK)


def unmask(machine: Machine) -> None:
    """Keep units that were masked from starting at boot, then let go of them.

    The packages' scripts enabled them meanwhile. Nothing is done twice.

    Raises:
        ManagerError: systemd does not do so.
    """
    names = sorted(records.noted(machine, records.MASKED))
    if not names:
        return
    for name in names:
        for link in _links(machine, name):
            durable.remove(link)
    for name in names:
        link = machine.at(SYSTEM) / name
        sweep(link)
        if link.is_symlink() and str(link.readlink()) == MASK:
            durable.remove(link)
    machine.run(("systemctl", "daemon-reload"))
    known = show(machine, names)
    # What is left are names by which others know them.
    tell(machine, "disable", [name for name in names if _can_change(known[name])])
    records.note(machine, records.MASKED, {})


def _block(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _links(machine: Machine, name: str) -> list[Path]:
    """Return the links by which a unit starts with another one, such as a target."""
    system = machine.at(SYSTEM)
    folders = [each for kind in _KINDS.values() for each in sorted(system.glob(f"*.{kind}"))]
    # A pattern with the name in it does not find a link that leads nowhere.
    return [folder / name for folder in folders if (folder / name).is_symlink()]


def _can_change(facts: Mapping[str, str]) -> bool:
    there = facts.get("LoadState", ABSENT) != ABSENT
    return there and facts.get("UnitFileState", "") not in ("", *FIXED)


def _own(configuration: Configuration, name: str) -> bool:
    """Tell whether a phase brings the text of a unit itself."""
    return any(each.path == Path(SYSTEM, name) for each in configuration.files)


def _set_own(machine: Machine, configuration: Configuration, name: str, *, enabled: bool) -> None:
    folder = machine.at(SYSTEM)
    file = next(each for each in configuration.files if each.path == Path(SYSTEM, name))
    text = configuration.text(file).decode("utf-8", "replace")
    every = {
        folder / f"{target}.{_KINDS[kind]}" / name
        for kind, targets in _WANTED.findall(text)
        for target in targets.split()
    }
    sweep(*every)
    wanted = every if enabled else set()
    for link in _links(machine, name):
        if link not in wanted:
            durable.remove(link)
            change(machine)
    for link in wanted:
        if not link.is_symlink():
            make_folders(link.parent)
            durable.link(link, f"../{name}")
            change(machine)


def _there(path: Path) -> bool:
    return path.is_symlink() or path.exists()
