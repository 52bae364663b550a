"""Processes of a head whose service manager died: found by their mark and ended.

Left alone they would hold the ports that their successors need.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.programs import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deploy.layout import Layout

POLL = 0.02
PATIENCE = 5.0
"""Seconds that the kernel gets to end what was killed."""


def groups(layout: Layout) -> frozenset[int]:
    """Return the process groups that this head's service manager started, its own among them.

    They are known by their session, which is the manager's also when it is dead, and by a mark:
    a job that a service handed to a scheduler has the mark as well, but is not ours to end.
    """
    session = _session(layout)
    if session is None:
        return frozenset()
    found = set()
    for process in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):
            pid = int(process.name)
            if os.getsid(pid) == session and _is_marked(process, layout):
                found.add(os.getpgid(pid))
    return frozenset(found - {os.getpgid(0)})


def _session(layout: Layout) -> int | None:
    """Return the pid of the last supervisord that was not shut down; it leads its session."""
    try:
        return int(layout.supervisor_pid.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _is_marked(process: Path, layout: Layout) -> bool:
    if f"{MARK}={layout.head_dir}".encode() in (process / "environ").read_bytes().split(b"\0"):
        return True
    # nginx writes its title over its environment, and supervisord has no mark: both name their
    # configuration instead.
    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").split(b" ")
    nginx, supervisord = (str(e).encode() for e in (layout.nginx_conf, layout.supervisor_conf))
    return supervisord in words or (words[0] == b"nginx:" and nginx in words)


def end(layout: Layout, patience: float) -> frozenset[int]:
    """End the head's processes, killing what is there after `patience` seconds; return groups.

    Only for a head whose manager does not run: a living one would start them again.
    """
    found = groups(layout)
    _signal(found, signal.SIGTERM)
    if not _wait(lambda: not groups(layout) & found, patience):
        kill(layout, found)
    return found


def kill(layout: Layout, found: frozenset[int]) -> None:
    """Kill those of the groups that are the head's, and return when they are gone."""
    _signal(groups(layout) & found, signal.SIGKILL)
    _wait(lambda: not groups(layout) & found, PATIENCE)


def exists(group: int) -> bool:
    """Tell whether the process group has members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(found: Iterable[int], number: signal.Signals) -> None:
    for group in found:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


def _wait(done: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
