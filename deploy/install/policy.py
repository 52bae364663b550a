"""`policy-rc.d`: while packages are installed, no script of theirs starts or stops anything.

Ours says no to everything. One that was there is kept, and put back; ours that a power cut left is
removed by whoever comes next.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy import durable
from deploy.install.copying import copy
from deploy.install.copying import sweep as sweep_beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.install.machine import Machine

FILE = "/usr/sbin/policy-rc.d"
KEPT = "policy-rc.d"
OURS = b"#!/bin/sh\n# sealift installs packages: what they bring is started once it is set up.\n"
TEXT = OURS + b"exit 101\n"
MODE = 0o755


@contextmanager
def forbidding(machine: Machine) -> Iterator[None]:
    """Let no package start or stop anything during the block."""
    sweep(machine)
    file, kept = machine.at(FILE), machine.home / KEPT
    if file.is_symlink() or file.exists():
        copy(file, kept)
    file.parent.mkdir(parents=True, exist_ok=True)
    durable.write(file, TEXT, mode=MODE)
    file.chmod(MODE)
    try:
        yield
    finally:
        sweep(machine)


def sweep(machine: Machine) -> None:
    """Put back what was there before ours, if ours is there. Nothing is done twice."""
    file, kept = machine.at(FILE), machine.home / KEPT
    sweep_beside(file, kept)
    there = kept.is_symlink() or kept.exists()
    if not _is_ours(file):
        if there:
            # It was put back, or somebody laid another one meanwhile: theirs holds.
            durable.remove(kept)
        return
    if there:
        copy(kept, file)
        durable.remove(kept)
    else:
        durable.remove(file)


def _is_ours(file: Path) -> bool:
    return not file.is_symlink() and file.is_file() and file.read_bytes().startswith(OURS)
