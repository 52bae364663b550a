"""A binary cache in a folder: of this machine, of a share, or of a medium that was carried here.

The folder may have been written by anyone: no link in it is followed, and nothing but regular files
is opened.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from store.binary_cache import SUFFIX, BadCacheError, is_plain
from store.errors import Error
from store.lock import try_lock
from store.path import DIGEST_LENGTH
from store.sync import sync_filesystem
from store.temporary import PREFIX, disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OF_NIX = ("log", "realisations")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE = _FOLDER | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_MOST = 1_000_000
"""Names in a folder that are looked at."""


class CacheFolderError(Error):
    """A folder, or a medium, that cannot be read or written."""

    slug = "cache-unreadable"


class CacheFolder:
    """A `store.binary_cache.ByteStore` below `root`, which itself may be a link."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, /) -> BinaryIO | None:
        """Open a file.

        Raises:
            BadCacheError: a link, or no regular file, bears the name.
            CacheFolderError: it cannot be read; also from the stream.
        """
        try:
            descriptor = self._open(name)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise self._refusal(fault, name) from fault
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BadCacheError("only regular files are read", where=str(self.root / name))
        return io.BufferedReader(_File(descriptor, str(self.root / name)), _PIECE)

    def put(self, name: str, source: BinaryIO, /) -> None:
        """Write a file next to its place, sync it, and put it there.

        Raises:
            DiskFullError: there is no room.
            CacheFolderError: it cannot be written.
        """
        try:
            with disk():
                folder = self._enter(name, make=True)
                try:
                    _write(folder, name.rpartition("/")[2], source)
                finally:
                    os.close(folder)
        except OSError as fault:
            raise self._refusal(fault, name) from fault

    def exists(self, name: str, /) -> bool:
        """Tell whether a regular file bears the name."""
        stream = self.get(name)
        if stream is None:
            return False
        stream.close()
        return True

    def digests(self) -> list[str]:
        """Return the digests of the paths that the cache tells of, sorted.

        Raises:
            BadCacheError: there are more names than any cache of ours has.
            CacheFolderError: it cannot be read.
        """
        found = []
        try:
            with os.scandir(self.root) as entries:
                for count, entry in enumerate(entries):
                    if count == _MOST:
                        raise BadCacheError(f"more than {_MOST} files", where=str(self.root))
                    if entry.name.endswith(SUFFIX):
                        found.append(entry.name.removesuffix(SUFFIX))
        except OSError as fault:
            raise self._refusal(fault, "") from fault
        return sorted(each for each in found if len(each) == DIGEST_LENGTH)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Take away what killed writers left, and after the block wait for the medium.

        Folders that Nix makes where it reads are made beforehand: a medium may be read-only there.

        Raises:
            CacheFolderError: the folder cannot be written to.
            SyncError: what was written does not get to the medium.
        """
        try:
            for name in ("nar", *_OF_NIX):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            for folder in (self.root, self.root / "nar"):
                for left in folder.glob(f"{PREFIX}*"):
                    _sweep(left)
        except OSError as fault:
            raise self._refusal(fault, "") from fault
        yield
        sync_filesystem(self.root)

    def _open(self, name: str) -> int:
        folder = self._enter(name, make=False)
        try:
            return os.open(name.rpartition("/")[2], _READ, dir_fd=folder)
        finally:
            os.close(folder)

    def _enter(self, name: str, *, make: bool) -> int:
        """Open the folder that a name lies in, one step after another."""
        if not is_plain(name):
            raise BadCacheError("a name that leads out of the cache", got=repr(name[:300]))
        if make:
            self.root.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.root, _FOLDER)
        for part in name.split("/")[:-1]:
            try:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                inner = os.open(part, _INSIDE, dir_fd=folder)
            finally:
                os.close(folder)
            folder = inner
        return folder

    def _refusal(self, fault: OSError, name: str) -> Error:
        where = str(self.root / name)
        if name and fault.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            return BadCacheError("only files and folders of the cache itself are read", where=where)
        reason = f"the cache cannot be used: {fault.strerror or fault}"
        return CacheFolderError(reason, where=where)


class _File(io.RawIOBase):
    """A file whose faults say where they are: a medium may be pulled out meanwhile."""

    def __init__(self, descriptor: int, where: str) -> None:
        self._descriptor = descriptor
        self._where = where

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        try:
            return os.readv(self._descriptor, [buffer])
        except OSError as fault:
            raise CacheFolderError(
                f"the cache cannot be read: {fault.strerror or fault}",
                where=self._where,
                hint="is the medium still there, and whole? then again",
            ) from fault

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _write(folder: int, name: str, source: BinaryIO) -> None:
    temporary = f"{PREFIX}{os.urandom(8).hex()}"
    descriptor = os.open(temporary, _CREATE, 0o644, dir_fd=folder)
    try:
        with open(descriptor, "wb", buffering=0) as out:  # noqa: PTH123 - a descriptor
            try_lock(descriptor)
            while piece := source.read(_PIECE):
                _all(out, piece)
            os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _all(out: io.FileIO, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[out.write(left) :]


def _sweep(left: Path) -> None:
    """Remove a file unless somebody still writes it."""
    descriptor = os.open(left, _READ)
    try:
        if try_lock(descriptor):
            left.unlink()
    finally:
        os.close(descriptor)
