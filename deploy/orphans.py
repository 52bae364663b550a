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
    """Return the process groups that were started for this head, its manager's among them."""
    mark = f"{MARK}={layout.head_dir}".encode()
    # nginx writes its title over its environment, and supervisord has no mark: both name their
    # configuration instead.
    nginx, supervisord = (str(e).encode() for e in (layout.nginx_conf, layout.supervisor_conf))
    found = set()
    for process in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").split(b" ")
            named = (words[0] == b"nginx:" and nginx in words) or supervisord in words
            if mark in environment or named:
                found.add(os.getpgid(int(process.name)))
    return frozenset(found - {os.getpgid(0)})


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
