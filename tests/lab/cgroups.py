"""A cgroup of its own for each head.

Without it all heads would share one (`/payload`), and systemd of one would find the processes of
another. What is in a head dies with its cgroup, which the kernel kills as one. Heads have the
unified hierarchy, as a Debian has that boots on iron; where this machine keeps the controllers in
hierarchies of version 1, a head has none, and limits of memory and CPU do not bind in it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from tests.lab.shell import LabError

_MOUNTED = Path("/sys/fs/cgroup")


def unified() -> Path | None:
    """Find where cgroup2 is mounted: alone, or beside the hierarchies of version 1."""
    for folder in (_MOUNTED, _MOUNTED / "unified"):
        if (folder / "cgroup.controllers").is_file():
            return folder
    return None


def make(name: str) -> list[Path]:
    """Make a cgroup; hand back the files that take a process in."""
    made = []
    for hierarchy in _hierarchies():
        folder = hierarchy / name
        folder.mkdir(parents=True, exist_ok=True)
        for above in reversed(Path(name).parents):
            _pass_controllers_on(hierarchy / above)
        made.append(folder / "cgroup.procs")
    return made


def freeze(name: str, *, frozen: bool) -> None:
    """Stop everything in a cgroup where it stands, or let it go on."""
    root = unified()
    if root is not None:
        (root / name / "cgroup.freeze").write_text("1" if frozen else "0")


def kill(name: str) -> None:
    """Kill everything in a cgroup at once, and wait until it is dead.

    Raises:
        LabError: if something of it lives on after ten seconds.
    """
    root = unified()
    if root is None or not (root / name).is_dir():
        return
    with suppress(OSError):
        (root / name / "cgroup.kill").write_text("1")
    end = time.monotonic() + 10
    while "populated 1" in (root / name / "cgroup.events").read_text():
        if time.monotonic() > end:
            raise LabError(f"the processes of {name} do not die")
        time.sleep(0.005)


def remove(name: str) -> None:
    """Remove a cgroup and what is below it, in each hierarchy."""
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def processes(name: str) -> list[int]:
    """List the processes in a cgroup and below it."""
    root = unified()
    found: list[int] = []
    for folder, _, _ in os.walk(root / name) if root else ():
        with suppress(OSError):
            found += [int(line) for line in Path(folder, "cgroup.procs").read_text().split()]
    return found


def _hierarchies() -> list[Path]:
    """List cgroup2, and what systemd-nspawn keeps its own in where that is not all there is."""
    root = unified()
    found = [root] if root is not None else []
    if root != _MOUNTED and (_MOUNTED / "systemd" / "cgroup.procs").is_file():
        found.append(_MOUNTED / "systemd")
    return found


def _pass_controllers_on(folder: Path) -> None:
    """Let cgroups below this one limit what theirs take, as far as this machine lets us."""
    with suppress(OSError):
        for controller in (folder / "cgroup.controllers").read_text().split():
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
