"""Filling a binary cache with paths of a store, in Nix's layout.

A NAR comes before what tells of it, and references before referrers: whoever reads meanwhile, or
after this was cut off, finds no path without its closure. NARs are named by what lies in the file,
so that two writers never put different bytes under one name.
"""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from store.binary_cache import (
    IN_MEMORY,
    INFO,
    BadCacheError,
    CacheInfo,
    check_store,
    narinfo_name,
    read_text,
)
from store.errors import IntegrityError
from store.hashes import nix32_encode
from store.nar import BadTreeError, pieces
from store.narinfo import NarInfo, describe, parse
from store.temporary import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from zstandard import ZstdCompressionObj

    from store.binary_cache import ByteStore
    from store.cache_keys import SecretKey
    from store.info import PathInfo
    from store.local import LocalStore
    from store.nar import Piece
    from store.path import StorePath

LEVEL: Final = 3
"""Of zstd: 9 takes five times as long for some 5 % less."""


class DamagedPathError(IntegrityError):
    """A path of our own store that is not what is registered; it is not spread."""

    slug = "path-damaged"


@dataclass(frozen=True, slots=True)
class Written:
    """What a cache was given.

    Attributes:
        closure: all paths that it has now of what was asked for, references first.
        added: those that it had not, or not in good order.
        raw: bytes of their NARs.
        compressed: bytes of what lies in the cache for them.
    """

    closure: tuple[StorePath, ...]
    added: tuple[StorePath, ...]
    raw: int
    compressed: int


def write(
    store: LocalStore,
    tops: Iterable[StorePath],
    files: ByteStore,
    *,
    key: SecretKey | None,
    observe: Callable[[int, int], None],
    threads: int = 0,
) -> Written:
    """Give a cache `tops` and all they refer to; what it has in good order is not written again.

    With `key` each path gets a signature, also one that was there without it. `observe` gets bytes
    of NARs done and in all. `threads` 0 takes all processors.

    Raises:
        MissingReferenceError: one of the paths is not valid.
        DamagedPathError: a path is not what is registered; nothing refers to it in the cache.
        OtherStoreError: the cache is for a store in another place.
        DiskFullError: there is no room, here or there.
        Error: the cache cannot be read or written.
    """
    with store.session(), disk(), store.temporary() as area:
        infos = store.closure(tops)
        if not check_store(files, str(store.store_dir)):
            files.put(INFO, io.BytesIO(str(CacheInfo(str(store.store_dir))).encode()))
        writer = _Writer(store, files, key, area)
        total = sum(info.nar_size for info in infos)
        added: list[NarInfo] = []
        done = 0
        for info, entry in zip(infos, writer.run(infos, threads), strict=True):
            if entry is not None:
                added.append(entry)
            done += info.nar_size
            observe(done, total)
    return Written(
        closure=tuple(info.path for info in infos),
        added=tuple(each.info.path for each in added),
        raw=sum(each.info.nar_size for each in added),
        compressed=sum(each.file_size or 0 for each in added),
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    """One way from a store to a cache; NARs go there from several threads."""

    store: LocalStore
    files: ByteStore
    key: SecretKey | None
    area: Path

    def run(self, infos: Iterable[PathInfo], threads: int) -> Iterator[NarInfo | None]:
        """Yield for each path what was put there anew, or None; in the order of `infos`."""
        pool = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)))
        try:
            for entry, fresh in pool.map(self._nar, infos):
                if entry is not None:
                    text = str(entry).encode()
                    self.files.put(narinfo_name(entry.info.path), io.BytesIO(text))
                yield entry if fresh else None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _nar(self, info: PathInfo) -> tuple[NarInfo | None, bool]:
        """Put a NAR there; return what is to be told of it, and whether it is new there."""
        there = self._known(info)
        if there is not None:
            signed = there.signed(self.key) if self.key else there
            return (signed if signed != there else None), False
        with SpooledTemporaryFile(IN_MEMORY, dir=str(self.area)) as spool:
            out = cast("BinaryIO", spool)
            entry = self._pack(info, out)
            if not self.files.exists(entry.url):
                out.seek(0)
                self.files.put(entry.url, out)
        return (entry.signed(self.key) if self.key else entry), True

    def _known(self, info: PathInfo) -> NarInfo | None:
        """Return what the cache says of a path, if that is in good order and its NAR there."""
        text = read_text(self.files, narinfo_name(info.path))
        if text is None:
            return None
        try:
            there = parse(text, str(self.store.store_dir), info.path.digest)
            return there if _same(there.info, info) and self.files.exists(there.url) else None
        except BadCacheError:
            return None

    def _pack(self, info: PathInfo, out: BinaryIO) -> NarInfo:
        """Compress a NAR; the frame tells its size, and depends on nothing else."""
        import zstandard  # noqa: PLC0415 - as in `store.frames`

        packer = zstandard.ZstdCompressor(level=LEVEL).compressobj(size=info.nar_size)
        hasher, size = hashlib.sha256(), 0
        for packed in _packed(packer, _checked(self.store, info)):
            hasher.update(packed)
            size += len(packed)
            out.write(packed)
        return describe(
            info,
            str(self.store.store_dir),
            url=f"nar/{nix32_encode(hasher.digest())}.nar.zst",
            compression="zstd",
            file_sha256=hasher.hexdigest(),
            file_size=size,
        )


def _packed(packer: ZstdCompressionObj, nar: Iterable[Piece]) -> Iterator[bytes]:
    for piece in nar:
        yield packer.compress(piece)
    yield packer.flush()


def _checked(store: LocalStore, info: PathInfo) -> Iterator[Piece]:
    """Yield the NAR of a path; raise before its end if it is not the one that is registered."""
    hasher, size = hashlib.sha256(), 0
    try:
        for piece in pieces(store.real(info.path)):
            hasher.update(piece)
            size += len(piece)
            if size > info.nar_size:
                break
            yield piece
    except (OSError, BadTreeError) as error:
        raise _damaged(store, info, str(error)) from error
    if (hasher.hexdigest(), size) != (info.nar_sha256, info.nar_size):
        raise _damaged(store, info, hasher.hexdigest())


def _same(there: PathInfo, here: PathInfo) -> bool:
    return (there.path, there.nar_sha256, there.nar_size, there.references) == (
        here.path,
        here.nar_sha256,
        here.nar_size,
        here.references,
    )


def _damaged(store: LocalStore, info: PathInfo, got: str) -> DamagedPathError:
    return DamagedPathError(
        f"{info.path.name} is not what is registered, and is not spread",
        where=str(store.real(info.path)),
        expected=info.nar_sha256,
        got=got,
        hint="sealift store verify --repair",
    )
