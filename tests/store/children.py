"""Child processes that work on a store and may die at any moment.

Forked rather than started anew: a start costs more than the moment that is to be hit.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Work = Callable[[LocalStore], None]

MUTATIONS = {
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.utime",
}


def child(store_dir: Path, work: Work) -> int:
    """Start a process that opens the store and works on it; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with LocalStore.open(store_dir) as store:
            work(store)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may get past the fork
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """Return how a child ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def running(pid: int) -> bool:
    """Tell whether a child has not ended yet."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def die_before(number: int) -> None:
    """Let this process be killed just before its `number`th change to the file system."""
    left = number

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if event in MUTATIONS or writes:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
