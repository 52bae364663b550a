"""Fetching NARs from a binary cache, each held against its sizes and hashes on the way.

What is told of a NAR was checked before (`store.cache_read`), and bounds what is read: of the file
so many bytes, of what it unpacks to as many as the NAR has. Registering is for `store.add`.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from store.add import Ready
from store.binary_cache import IN_MEMORY, BadCacheError
from store.errors import IntegrityError
from store.info import PathInfo
from store.nar import BUFFER, Limits, NarHash
from store.restore import restore
from store.seal import seal
from store.unpack import LARGE, USUAL, Unpacked, is_hungry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from store.binary_cache import ByteStore
    from store.local import LocalStore
    from store.narinfo import NarInfo

_SLACK: Final = 64 * 1024
"""Bytes by which compressing may make a small NAR larger; of a large one, a 64th."""


class Fetch:
    """NARs on their way from a cache into one folder, from several threads."""

    def __init__(
        self,
        store: LocalStore,
        files: ByteStore,
        area: Path,
        observe: Callable[[int, int], None],
        total: int,
    ) -> None:
        self._store = store
        self._files = files
        self._area = area
        self._observe = observe
        self._mutex = Lock()
        self._large = Lock()
        self._done = 0
        self.total = total
        self.compressed = 0

    def run(self, entries: Sequence[NarInfo], threads: int) -> list[Ready]:
        """Fetch and unpack all of them."""
        pool = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)))
        try:
            return list(pool.map(self._one, entries))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, entry: NarInfo) -> Ready:
        tree = self._area / str(entry.info.path)
        with SpooledTemporaryFile(IN_MEMORY, dir=str(self._area)) as spool:
            file = cast("BinaryIO", spool)
            size = self._fetch(entry, file)
            file.seek(0)
            found = self._unpack(entry, file, tree)
        expected = NarHash(bytes.fromhex(entry.info.nar_sha256), entry.info.nar_size)
        if found != expected:
            raise _other(entry, "the NAR", entry.info.nar_sha256, found.sha256.hex())
        sealed = seal(tree, self._store.links_dir)
        if sealed.nar != expected:
            raise _other(entry, "what was unpacked", expected.sha256.hex(), sealed.nar.sha256.hex())
        self._tell(entry, size)
        told = entry.info
        info = PathInfo(told.path, told.nar_sha256, told.nar_size, told.references, time.time())
        return Ready(tree, info, sealed.nodes)

    def _unpack(self, entry: NarInfo, file: BinaryIO, tree: Path) -> NarHash:
        """Unpack a NAR; those that need much memory, which nobody signed, one after another."""
        hungry = is_hungry(file, entry.compression)
        file.seek(0)
        with self._large if hungry else nullcontext():
            return _unpack(entry, file, tree, LARGE if hungry else USUAL)

    def _fetch(self, entry: NarInfo, out: BinaryIO) -> int:
        """Copy what lies in the cache, and hold it against what is said of it."""
        stream = self._files.get(entry.url)
        if stream is None:
            raise BadCacheError(
                f"the cache lacks the NAR of {entry.info.path}",
                where=entry.url,
                hint="write the cache again",
            )
        hasher, size = hashlib.sha256(), 0
        with stream:
            for piece in _bounded(stream, _most(entry)):
                hasher.update(piece)
                size += len(piece)
                out.write(piece)
        if entry.file_size not in {None, size}:
            raise _other(entry, "the size of the file", str(entry.file_size), _told(entry, size))
        if entry.file_sha256 not in {None, hasher.hexdigest()}:
            raise _other(entry, "the file", str(entry.file_sha256), hasher.hexdigest())
        return size

    def _tell(self, entry: NarInfo, size: int) -> None:
        with self._mutex:
            self.compressed += size
            self._done += entry.info.nar_size
            self._observe(self._done, self.total)


def _most(entry: NarInfo) -> int:
    """Return how many bytes the file of a NAR can have, however it is compressed."""
    most = entry.info.nar_size + entry.info.nar_size // 64 + _SLACK
    return most if entry.file_size is None else min(most, entry.file_size)


def _told(entry: NarInfo, size: int) -> str:
    return f"more than {_most(entry)}" if size > _most(entry) else str(size)


def _bounded(stream: BinaryIO, most: int) -> Iterator[bytes]:
    """Yield what a stream gives, and stop at the first byte too many."""
    left = most + 1
    while left and (piece := stream.read(min(BUFFER, left))):
        left -= len(piece)
        yield piece


def _unpack(entry: NarInfo, file: BinaryIO, tree: Path, memory: int) -> NarHash:
    limits = Limits(size=entry.info.nar_size)
    try:
        return restore(Unpacked(file, entry.compression, memory), tree, limits=limits)
    except IntegrityError as error:
        raise BadCacheError(
            f"the NAR of {entry.info.path} cannot be unpacked: {error.reason}",
            where=entry.url,
            got=error.where,
            hint="write the cache again",
        ) from error


def _other(entry: NarInfo, what: str, expected: str, got: str) -> BadCacheError:
    return BadCacheError(
        f"{what} of {entry.info.path} is not what the cache says",
        where=entry.url,
        expected=expected,
        got=got,
        hint="write the cache again",
    )
