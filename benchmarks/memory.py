"""The most memory that a command and all that it starts have at one moment."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PAUSE = 0.02
"""Seconds between two looks; groups and frames live for longer."""
_KILO = 1024


def peak(
    argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Run a command to its end, and return the bytes of its processes when they had most.

    What processes share is counted once, in parts (`Pss`, proc_pid_smaps(5)). Looking slows the
    command down, so nothing is timed meanwhile.

    Raises:
        RuntimeError: the command failed.
    """
    with subprocess.Popen(
        [str(word) for word in argv],
        cwd=cwd,
        env=dict(os.environ if env is None else env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        most = 0
        while process.poll() is None:
            most = max(most, sum(_own(pid) for pid in _tree(process.pid)))
            time.sleep(_PAUSE)
        said = process.stderr.read() if process.stderr else ""
    if process.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}:\n{said[-2000:]}")
    return most


def _tree(pid: int) -> Iterator[int]:
    """Name a process and all below it."""
    yield pid
    for thread in _read(f"/proc/{pid}/task").split():
        for child in _read(f"/proc/{pid}/task/{thread}/children").split():
            yield from _tree(int(child))


def _own(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * _KILO
    return 0


def _read(place: str) -> str:
    """Read a file, or the names in a folder; nothing of a process that has ended."""
    path = Path(place)
    try:
        return " ".join(os.listdir(path)) if path.is_dir() else path.read_text()  # noqa: PTH208
    except OSError:
        return ""
