"""The shared files of a store as what a receiver has, and what it adds to.

A shared file that nothing but `.links` names was left by a push that was cut off, maybe by a
power cut: it is read before it is believed. Trees that lie in the store without being registered
give their files as well, if those are right. The collector is kept out by whoever calls.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from store.errors import IntegrityError
from store.nar import BUFFER, open_file, write_all
from store.seal import EPOCH, FILE, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.manifest import File

_ENOUGH = 2
"""Names of a file that a tree has been built with."""


class BadBlobError(IntegrityError):
    """Contents that are not what their hash says."""

    slug = "bad-blob"


class Stream(Protocol):
    """Contents, one file after another."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, and fewer only at the end."""


class Blobs:
    """The shared files below one folder."""

    def __init__(self, links: Path) -> None:
        self._links = os.fsencode(links)
        self._prefix = self._links + b"/.spare-" + os.urandom(8).hex().encode()
        self._count = 0

    def key(self, sha256: str, *, executable: bool) -> bytes:
        """Return where a file is shared; programs are files of their own, as modes are shared."""
        return b"%b/%b%b" % (self._links, sha256.encode(), b"-x" if executable else b"")

    def has(self, file: File) -> bool:
        """Tell whether a file is there, and good; take a bad one away.

        One that paths use is believed by its size and time; whoever builds with it reads it.
        """
        key = self.key(file.sha256, executable=file.executable)
        try:
            status = os.lstat(key)
        except FileNotFoundError:
            return False
        if _looks_right(status, file) and status.st_nlink >= _ENOUGH:
            return True
        if stat.S_ISREG(status.st_mode) and is_right(key, file):
            _finish(key, file)
            return True
        self.drop(file)
        return False

    def drop(self, file: File) -> None:
        """Take a bad file away, so that nobody builds with it again."""
        with suppress(FileNotFoundError):
            os.unlink(self.key(file.sha256, executable=file.executable))  # noqa: PTH108 - bytes

    def find(self, file: File) -> bool:
        """Tell whether a file is there, or can be made of its twin with the other mode."""
        if self.has(file):
            return True
        twin = file._replace(executable=not file.executable)
        if not self.has(twin):
            return False
        source = self.key(twin.sha256, executable=twin.executable)
        with open(source, "rb") as stream, suppress(BadBlobError):  # noqa: PTH123 - bytes
            self.add(file, stream)
            return True
        return False

    def add(self, file: File, stream: Stream) -> None:
        """Read one file from a stream and share it.

        Raises:
            BadBlobError: the contents are others; nothing was added.
            EOFError: the stream ended before the file did.
            OSError: it could not be written.
        """
        with self._spare(file) as descriptor:
            hasher = hashlib.sha256()
            left = file.size
            while left:
                piece = stream.read(min(left, BUFFER))
                if not piece:
                    raise EOFError
                hasher.update(piece)
                write_all(descriptor, piece)
                left -= len(piece)
            if hasher.hexdigest() != file.sha256:
                raise BadBlobError(
                    "contents are not what their hash says",
                    expected=file.sha256,
                    got=hasher.hexdigest(),
                    hint="where they came from: sealift store verify",
                )

    def adopt(self, place: bytes, file: File) -> None:
        """Share a file of an unregistered tree, if it is what it should be.

        The file itself if nobody else may write to it, else a copy.
        """
        with suppress(OSError, BadBlobError, EOFError):
            if _is_ours(place):
                if is_right(place, file):
                    key = self.key(file.sha256, executable=file.executable)
                    os.link(place, key)
                    _finish(key, file)
                return
            with os.fdopen(open_file(place), "rb") as stream:
                self.add(file, stream)

    def link(self, file: File, target: bytes) -> None:
        """Give a shared file one more name; when it has too many, go on with a copy.

        Raises:
            OSError: it is gone, or the disk is full.
        """
        key = self.key(file.sha256, executable=file.executable)
        try:
            os.link(key, target)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            with open(key, "rb") as stream:  # noqa: PTH123 - bytes
                self.add(file, stream)
            os.link(key, target)

    @contextmanager
    def _spare(self, file: File) -> Iterator[int]:
        """Write a file under a name of our own; it gets the real one if the block succeeds."""
        self._count += 1
        spare = b"%b-%d-%d" % (self._prefix, os.getpid(), self._count)  # forks share the prefix
        mode = PROGRAM if file.executable else FILE
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            yield descriptor
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(EPOCH, EPOCH))
            os.rename(spare, self.key(file.sha256, executable=file.executable))  # noqa: PTH104
        except BaseException:
            os.unlink(spare)  # noqa: PTH108 - bytes
            raise
        finally:
            os.close(descriptor)


def is_right(place: bytes, file: File) -> bool:
    """Read a file and tell whether it is what its hash says."""
    with os.fdopen(open_file(place), "rb") as stream:
        right = os.fstat(stream.fileno()).st_size == file.size
        return right and hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _is_ours(place: bytes) -> bool:
    status = os.lstat(place)
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _finish(key: bytes, file: File) -> None:
    """Give a file its mode and time, which a cut may have come before."""
    os.chmod(key, PROGRAM if file.executable else FILE)  # noqa: PTH101 - bytes
    os.utime(key, ns=(EPOCH, EPOCH))


def _looks_right(status: os.stat_result, file: File) -> bool:
    mode = PROGRAM if file.executable else FILE
    return (
        status.st_mode == stat.S_IFREG | mode
        and status.st_size == file.size
        and status.st_mtime_ns == EPOCH
    )
