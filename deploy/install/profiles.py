"""Which configuration of a phase is laid: one link, moved by one rename; roots of the collector."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import BadReleaseError
from deploy.install import records
from deploy.install.copying import make_folders
from deploy.phases import configuration_file

if TYPE_CHECKING:
    from deploy.install.machine import Machine
    from deploy.phases.configuration import Configuration


def laid(machine: Machine, phase: str) -> Configuration | None:
    """Return the configuration that is laid, if one is.

    Raises:
        BadReleaseError: it cannot be read.
    """
    link = machine.profile(phase)
    return configuration_file.load(link.readlink()) if link.is_symlink() else None


def begun(machine: Machine, phase: str) -> Configuration | None:
    """Return the configuration that was begun to be laid, if one was and can still be read."""
    path = records.noted(machine, records.BEGUN).get(phase)
    with suppress(BadReleaseError):
        return configuration_file.load(Path(path)) if path else None
    return None


def every(machine: Machine) -> tuple[Configuration, ...]:
    """Return all configurations that are laid, by phase.

    Raises:
        BadReleaseError: one cannot be read.
    """
    found = (laid(machine, phase) for phase in records.phases(machine))
    return tuple(each for each in found if each is not None)


def switch(machine: Machine, wanted: Configuration) -> None:
    """Let a configuration be the one that is laid; the one before stays known."""
    link = machine.profile(wanted.phase)
    make_folders(link.parent)
    if link.is_symlink():
        before = link.readlink()
        if before == wanted.path:
            return
        durable.link(machine.before(wanted.phase), str(before))
    durable.link(link, str(wanted.path))


def before(machine: Machine, phase: str) -> str | None:
    """Return the configuration before the one that is laid."""
    link = machine.before(phase)
    return str(link.readlink()) if link.is_symlink() else None


def remove(machine: Machine, phase: str) -> None:
    """Let nothing of a phase be laid."""
    durable.remove(machine.before(phase))
    durable.remove(machine.profile(phase))


def path(machine: Machine, phase: str) -> Path | None:
    """Return the store path that is laid, if one is."""
    link = machine.profile(phase)
    return link.readlink() if link.is_symlink() else None
