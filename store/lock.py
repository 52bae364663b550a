"""File locks that die with their holder.

flock(2): the kernel lets go when the process ends, however it ends, so nobody ever asks whether a
pid is alive. What a lock protects is for its user to say.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL = 0.02
"""Seconds between two tries of a wait that has an end; flock(2) itself knows no timeout."""
SESSION_SECONDS = 240.0
"""How long a session waits for the collector; less than operators wait for a silent head."""
PRIVATE = 0o600
"""Whoever may open a file may lock it, so that reading alone would let others block us."""


class LockedError(Error):
    """Somebody else holds the lock."""

    slug = "locked"
    exit_code = 6


@contextmanager
def hold(
    path: Path, *, shared: bool = False, wait: float | None = None, remove: bool = False
) -> Iterator[None]:
    """Hold the lock file `path` during the block.

    Args:
        path: created if need be; its directory must exist.
        shared: with others who hold it shared.
        wait: seconds to wait for it; None waits for ever.
        remove: unlink the file before letting go, so that many short-lived locks leave nothing.

    Raises:
        LockedError: somebody else kept it for `wait` seconds; names the holders it can see.
    """
    descriptor = _take(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait)
    try:
        yield
    finally:
        if remove:
            with suppress(FileNotFoundError):
                path.unlink()
        os.close(descriptor)


def holders(path: Path) -> tuple[int, ...]:
    """Return the pids that hold a flock on `path`, as far as /proc/locks tells."""
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    rows = [line.split() for line in lines]
    return tuple(sorted({int(row[4]) for row in rows if row[1] == "FLOCK" and row[5] == device}))


def open_private(path: Path) -> int:
    """Open a lock file, made if need be, that nobody else can open from now on."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    if os.fstat(descriptor).st_mode & 0o077:
        with suppress(PermissionError):  # another user's, who let us in
            os.fchmod(descriptor, PRIVATE)
    return descriptor


def close_to_others(place: Path) -> None:
    """Take a file or folder from everybody but its owner, if that is us and it is there."""
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(place.stat().st_mode)
        if mode & 0o077:
            place.chmod(mode & 0o700)


def _take(path: Path, mode: int, wait: float | None) -> int:
    """Lock the file that bears the name now: a waiter may have got one unlinked meanwhile."""
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        descriptor = open_private(path)
        try:
            _lock(descriptor, path, mode, deadline)
            if _same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path, mode: int, deadline: float | None) -> None:
    if deadline is None:
        fcntl.flock(descriptor, mode)
        return
    while not try_lock(descriptor, mode):
        if time.monotonic() >= deadline:
            pids = ", ".join(map(str, holders(path)))
            raise LockedError(
                "somebody else holds the lock",
                where=str(path),
                got=f"held by pid {pids}" if pids else None,
                hint="wait until that process has ended",
            )
        time.sleep(POLL)


def try_lock(descriptor: int, mode: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file or directory if nobody else holds it; tell whether it worked."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class Session:
    """A shared lock that the threads of a process hold together: first in, last out."""

    def __init__(self, path: Path, wait: float = SESSION_SECONDS) -> None:
        self._path = path
        self._wait = wait
        self._mutex = threading.Lock()
        self._count = 0
        self._descriptor = -1

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock during the block; blocks may nest and overlap.

        Raises:
            LockedError: somebody kept it to himself for too long; names the holders.
        """
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @property
    def held(self) -> bool:
        """Tell whether this process is inside a block."""
        return self._count > 0

    def _enter(self) -> None:
        with self._mutex:
            if self._count == 0:
                self._descriptor = _take(self._path, fcntl.LOCK_SH, self._wait)
            self._count += 1

    def _leave(self) -> None:
        with self._mutex:
            self._count -= 1
            if self._count == 0:
                os.close(self._descriptor)
