"""Kill what a build leaves running when it dies. A program of its own: standard library only.

`--die-with-parent` has gaps: bubblewrap's first process inside asks to be killed with its parent
only after it has started the command, and if the parent is dead by then, nobody ever kills it
(seen with bubblewrap 0.8, about once in 100 kills). This process waits on a pipe that the build
holds. When the pipe ends, so has the build, however it ended; whatever bears the build's mark on
its command line or in its first environment is killed then.

`python -I -S warden.py MARK` reads from its standard input: `q`, all is well; `s`, the build
stops now and nothing starts any more; the end, the build is dead and its last child may be
starting just now.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

CALM = b"q"
STOP = b"s"
_AFTER_STOP = (0.0, 0.0)
_AFTER_DEATH = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0)
"""Seconds before each look at all processes."""


def main(mark: bytes) -> None:
    """Wait for the build's end, and clean up after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = os.read(0, 1)
    if order != CALM:
        for pause in _AFTER_STOP if order == STOP else _AFTER_DEATH:
            time.sleep(pause)
            for process in marked(mark):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)


def marked(mark: bytes) -> list[int]:
    """Find the processes that bear the mark, this one left out."""
    names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - starts fast
    return [int(name) for name in names if int(name) != os.getpid() and _bears(name, mark)]


def _bears(process: str, mark: bytes) -> bool:
    for file in ("cmdline", "environ"):
        with suppress(OSError), open(f"/proc/{process}/{file}", "rb") as stream:  # noqa: PTH123
            if mark in stream.read():
                return True
    return False


if __name__ == "__main__":
    main(os.fsencode(sys.argv[1]))
