"""Letting the disk take what is being written, so that a sync in the end has little to wait for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from store.sync import sync_filesystem

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

STEP = 64 * 1024 * 1024
"""Bytes that are written before the disk is asked to take them."""


class Ahead:
    """Syncs a file system now and then, in a thread of its own.

    What fails here the kernel would not tell again to the sync in the end, so it is raised on exit.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._jobs: list[Future[None]] = []
        self._left = STEP

    def wrote(self, size: int) -> None:
        """Take note of so many bytes that were written."""
        self._left -= size
        if self._left < 0 and (not self._jobs or self._jobs[-1].done()):
            self._left = STEP
            self._jobs.append(self._pool.submit(sync_filesystem, self._filesystem))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way.

        Raises:
            SyncError: the disk did not take what was written.
        """
        self._pool.shutdown()
        if error is None:
            for job in self._jobs:
                job.result()
