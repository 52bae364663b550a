"""The lock under which a head is changed, and who holds it.

flock(2): it dies with its holder, so there is never a stale one. The holder's name in the file is
for people; it decides nothing.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from deploy.errors import HeadLockedError
from store.lock import holders, open_private, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """Who changes the head, what for, and since when (seconds since the epoch)."""

    who: str
    pid: int
    action: str
    since: float

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since).astimezone().isoformat(" ", "seconds")
        return f"{self.who}, pid {self.pid}, {self.action} since {since}"


class HeadLock:
    """The lock file of one head."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def hold(self, who: str, action: str) -> Iterator[None]:
        """Hold the lock during the block.

        Raises:
            HeadLockedError: somebody else holds it; names them.
        """
        descriptor = open_private(self._file)
        try:
            if not try_lock(descriptor):
                raise self._refusal()
            _sign(descriptor, Holder(who, os.getpid(), action, time.time()))
            yield
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Return who holds the lock now, if somebody does."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if try_lock(descriptor) else self._signed()
        finally:
            os.close(descriptor)

    def _refusal(self) -> HeadLockedError:
        return HeadLockedError(
            "another command changes this head",
            where=str(self._file),
            got=str(self._signed()),
            hint="wait until it has ended",
        )

    def _signed(self) -> Holder:
        """Return who signed, if they hold it as well; else whom the kernel knows of."""
        signed, pids = _signature(self._file), holders(self._file)
        if not pids or signed.pid in pids:
            return signed
        return Holder("somebody", pids[0], "a change", time.time())


def _sign(descriptor: int, holder: Holder) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)


def _signature(file: Path) -> Holder:
    try:
        return Holder(**json.loads(file.read_text("utf-8")))
    except ValueError:
        # Between taking the lock and signing it there is a moment.
        return Holder("somebody", 0, "a change", time.time())
