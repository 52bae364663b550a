"""Hashing one large tree while another thread reads ahead.

A NAR hash is sequential, so threads over paths do not help with a single large one; reading and
hashing side by side does, as both let go of the interpreter lock. Small files are put together
first: handing over each of them would cost more than reading it.
"""

from __future__ import annotations

import hashlib
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from store.nar import NarHash, pieces

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 1024 * 1024
AHEAD = 4
"""Batches in flight."""


def hash_tree_ahead(path: Path, *, inodes: set[int] | None = None) -> NarHash:
    """Do what `store.nar.hash_tree` does, on two processors.

    Raises:
        BadTreeError: the tree holds a device, socket or pipe, or is too deep.
    """
    reader = _Reader(path, inodes)
    reader.start()
    hasher = hashlib.sha256()
    size = 0
    while (batch := reader.full.get()) is not None:
        buffer, used = batch
        hasher.update(memoryview(buffer)[:used])
        size += used
        reader.free.put(buffer)
    reader.join()
    if reader.error is not None:
        raise reader.error
    return NarHash(hasher.digest(), size)


class _Reader(Thread):
    """Fills batches in order; None says that it has ended, `error` how."""

    def __init__(self, path: Path, inodes: set[int] | None) -> None:
        super().__init__(name=f"read {path.name}", daemon=True)
        self.full: SimpleQueue[tuple[bytearray, int] | None] = SimpleQueue()
        self.free: SimpleQueue[bytearray] = SimpleQueue()
        self.error: Exception | None = None
        self._path = path
        self._inodes = inodes
        for _ in range(AHEAD):
            self.free.put(bytearray(BATCH))

    def run(self) -> None:
        """Read the tree to its end."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error
        finally:
            self.full.put(None)

    def _read(self) -> None:
        """Copy pieces, which are much smaller than a batch, one behind the other."""
        buffer, used = self.free.get(), 0
        for piece in pieces(self._path, inodes=self._inodes):
            size = len(piece)
            if used + size > BATCH:
                self.full.put((buffer, used))
                buffer, used = self.free.get(), 0
            if size > BATCH:
                buffer = bytearray(size)
            buffer[used : used + size] = piece
            used += size
        self.full.put((buffer, used))
