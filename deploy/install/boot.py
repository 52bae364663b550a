"""What a head does for its phases when it starts: their secrets are laid open in memory again.

`sealift-phases.service` does it, before the units that read them: those require it. It holds no
lock of the head, as a session of phases may hold that while it starts such a unit the first time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from deploy import durable
from deploy.audit import Audit
from deploy.errors import HeadLockedError
from deploy.install import (
    dpkg,
    look,
    memory,
    packages,
    policy,
    profiles,
    records,
    sealed,
    units,
)
from deploy.install.copying import make_folders
from deploy.install.copying import sweep as sweep_beside
from deploy.lock import HeadLock
from store.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.machine import Machine
    from deploy.phases.configuration import Configuration

UNIT = "sealift-phases.service"
WANTED_BY = "multi-user.target.wants"
WHO, ACTION, SWEEP = "the head itself", "phases", "phase sweep"
PERMISSIONS = 0o644


def boot(machine: Machine) -> None:
    """Remove what a power cut left, and open the secrets of all phases that are laid.

    Raises:
        Error: of one phase they cannot be opened; those of the others are, all the same.
    """
    try:
        with HeadLock(machine.layout.lock).hold(WHO, ACTION):
            sweep(machine, 0.0)
    except HeadLockedError:
        pass  # Whoever is at work here has swept.
    except Error as error:
        # Daemons start all the same; the next session sweeps as well, and fails where this did.
        with suppress(OSError):
            Audit(machine.layout.audit).note(WHO, SWEEP, ACTION, error.slug, str(error))
    secrets, failed = sealed.kept(machine), []
    with memory.alone(machine):
        for each in profiles.every(machine):
            try:
                _open(machine, each, secrets)
            except Error as error:
                # Without a record it is being taken back, and what it has sealed goes first.
                if machine.record(each.phase).exists():
                    failed.append(error)
        memory.collect(machine, records.phases(machine))
    if failed:
        raise failed[0]


def sweep(machine: Machine, seconds: float) -> None:
    """Remove what a killed session left; apt of such a one may go on for `seconds`.

    Raises:
        HeadError: it still does.
        ManagerError: systemd does not disable what was masked.
    """
    dpkg.settle(machine, seconds)
    policy.sweep(machine)
    if not packages.unfinished(machine):
        # Else scripts that have not run yet enable what would be masked no more.
        units.unmask(machine)
    if machine.home.is_dir():
        durable.sweep(machine.home)
    durable.sweep(machine.layout.profiles_dir)


def install(machine: Machine) -> None:
    """Let the machine's start open the secrets of phases, by the agent that works here."""
    if machine.agent is not None:
        _link(machine.agent_link, str(machine.agent))
    file = machine.at(f"{units.SYSTEM}/{UNIT}")
    data = text(machine).encode()
    make_folders(file.parent)
    if not file.is_file() or file.read_bytes() != data:
        units.change(machine)
        durable.write(file, data, mode=PERMISSIONS)
    wants = file.parent / WANTED_BY / UNIT
    make_folders(wants.parent)
    sweep_beside(file, wants)
    _link(wants, f"../{UNIT}")
    units.learn(machine)


def remove(machine: Machine) -> None:
    """Take back what `install` did, when no phase is laid any more."""
    folder = machine.at(units.SYSTEM)
    for each in (folder / WANTED_BY / UNIT, folder / UNIT):
        sweep_beside(each)
        if each.is_symlink() or each.exists():
            units.change(machine)
            durable.remove(each)
    units.learn(machine)
    durable.remove(machine.agent_link)


def text(machine: Machine) -> str:
    """Return the unit that opens secrets when the machine starts."""
    agent, var = machine.agent_link, machine.layout.var_dir
    return (
        "[Unit]\n"
        "Description=Secrets of the cluster's phases, laid open in memory\n"
        f"RequiresMountsFor={machine.store_dir} {var}\n"
        f"ConditionPathExists={agent}\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        "RemainAfterExit=yes\n"
        f"ExecStart={agent}/bin/sealift agent phases-boot\n"
        "TimeoutStartSec=300\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def _open(machine: Machine, laid: Configuration, secrets: dict[str, bytes]) -> None:
    """Lay a phase's files in memory as its configuration says."""
    filled = look.texts(machine, laid, secrets)
    if filled:
        name = memory.write(machine, laid.phase, filled.values())
        memory.switch(machine, laid.phase, name)


def _link(link: Path, target: str) -> None:
    if not link.is_symlink() or str(link.readlink()) != target:
        durable.link(link, target)
