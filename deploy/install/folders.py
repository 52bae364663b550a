"""Folders of a phase: there, with owner, group and mode.

Each is changed by a descriptor, as a folder above it may be a service's (`deploy.install.descent`).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from deploy.errors import SystemRefusedError
from deploy.install import people
from deploy.install.descent import entered
from deploy.phases.state import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deploy.install.machine import Machine
    from deploy.phases.configuration import Directory

IN_THE_WAY = "path-in-use"


def differences(machine: Machine, wanted: Iterable[Directory]) -> tuple[str, ...]:
    """Say what is not as it is wanted."""
    return tuple(text for each in wanted for text in _differences(machine, each))


def refusals(machine: Machine, wanted: Iterable[Directory]) -> tuple[Refusal, ...]:
    """Return what stands where a folder is wanted, or on the way there."""
    return tuple(each for one in wanted for each in _refusals(machine, one))


def make(machine: Machine, wanted: Iterable[Directory]) -> None:
    """Make the folders what is wanted; what lies in them is left as it is.

    Raises:
        SystemRefusedError: something else is there or on the way, or an owner is not.
    """
    for each in wanted:
        owner, group = people.uid(machine, each.owner), people.gid(machine, each.group)
        with entered(machine.root, each.path, make=True) as folder:
            status = os.fstat(folder)
            if (status.st_uid, status.st_gid) != (owner, group):
                os.chown(".", owner, group, dir_fd=folder)
            if stat.S_IMODE(os.fstat(folder).st_mode) != each.mode:
                os.chmod(".", each.mode, dir_fd=folder)


def _refusals(machine: Machine, one: Directory) -> Iterator[Refusal]:
    try:
        with suppress(FileNotFoundError), entered(machine.root, one.path):
            return
    except SystemRefusedError as error:
        yield Refusal(IN_THE_WAY, error.reason, f"namei -l {one.path}")


def _differences(machine: Machine, one: Directory) -> Iterator[str]:
    """Yield how a folder differs; what stands in its place is for `refusals` to tell."""
    wanted = f"{one.owner}:{one.group} {one.mode:04o}"
    try:
        with entered(machine.root, one.path) as folder:
            found = _marks(machine, os.fstat(folder))
    except FileNotFoundError:
        found = "absent"
    except SystemRefusedError:
        return
    if found != wanted:
        yield f"{one.path}: {found} → {wanted}"


def _marks(machine: Machine, status: os.stat_result) -> str:
    user, group = machine.people.user(status.st_uid), machine.people.group(status.st_gid)
    owner = user.name if user else str(status.st_uid)
    team = group.name if group else str(status.st_gid)
    return f"{owner}:{team} {stat.S_IMODE(status.st_mode):04o}"
