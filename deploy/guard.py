"""Keeping services from writing where only root could: into the read-only store.

Store paths belong to root and are writable for nobody, which CAP_DAC_OVERRIDE lets root pass over.
A program that is executed without it in its bounding set cannot get it back, and neither can its
children. Reading past permissions stays: the store may lie where only its owner can look.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

# capability.h
DAC_OVERRIDE, SETPCAP = 1, 8
DROP = "-dac_override"


def guarded(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs `argv` without the right to write past permissions.

    That is `argv` itself where there is no such right to lose, as for every user but root, or
    where this process may not give it up.
    """
    tool = shutil.which("setpriv", path=PATH)
    if tool is None or not droppable(Path("/proc/self/status").read_text("utf-8")):
        return tuple(argv)
    # Also from the inheritable set: what root executes gets that back whatever the bounds are.
    return (tool, f"--bounding-set={DROP}", f"--inh-caps={DROP}", "--", *argv)


def droppable(status: str) -> bool:
    """Tell by /proc/PID/status whether a process has the right, and may give it up."""
    sets = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Cap"))
    mine = int(sets["CapEff"], 16)
    return bool(mine >> DAC_OVERRIDE & 1 and mine >> SETPCAP & 1)
