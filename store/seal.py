"""Turning a finished tree into what a store object must be, in one read of its bytes.

Modes 0444 and 0555, mtime 1, no extended attributes, no special files; the NAR hash, the hash of
each file and the references all come from the same read; each file becomes a hard link to
`.links/<sha256>` (`-x` appended when executable), so equal files lie on the disk once. Where the
object goes is `store.local`'s business.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.nar import BadTreeError, NarHash, Walk, contents, header, open_file, trailer, write_all
from store.references import Scanner

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from store.path import StorePath

FILE, PROGRAM, DIRECTORY = 0o444, 0o555, 0o555
EPOCH = 1_000_000_000
"""One second after the epoch, in nanoseconds: tools take 0 for "unknown"."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one read of a tree told.

    `nodes` are its regular files and directories, for syncing. The outermost directory is still
    writable: rename(2) into another directory demands that of whoever is not root.
    """

    nar: NarHash
    found: frozenset[StorePath]
    nodes: tuple[bytes, ...]


def seal(tree: Path, links: Path, candidates: Collection[StorePath] = ()) -> Sealed:
    """Make a tree canonical, share its files through `links`, hash it and scan it.

    Raises:
        BadTreeError: it holds a special file, a setuid or setgid file, or is too deep.
    """
    root, shared = os.fsencode(tree), os.fsencode(links)
    try:
        return _Seal(root, shared, candidates).run()
    except PermissionError:
        _unlock(root)
        return _Seal(root, shared, candidates).run()


def settle(path: bytes) -> None:
    """Give a directory its final mode and time; to be done after its entries."""
    os.chmod(path, DIRECTORY)  # noqa: PTH101 - bytes
    os.utime(path, ns=(EPOCH, EPOCH))


def _unlock(root: bytes) -> None:
    """Let the owner enter and change every directory, and read every file.

    Builders leave what even its owner may not touch, unless the owner is root; this is rare, so
    it is done once somebody was refused. What was sealed until then is sealed again.
    """
    waiting = [root]
    for path in waiting:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            os.chmod(path, stat.S_IMODE(mode) | stat.S_IRWXU)  # noqa: PTH101 - bytes
            waiting.extend(path + b"/" + name for name in os.listdir(path))  # noqa: PTH208 - bytes
        elif stat.S_ISREG(mode) and not mode & stat.S_IRUSR:
            os.chmod(path, stat.S_IMODE(mode) | stat.S_IRUSR)  # noqa: PTH101 - bytes


class _Seal:
    """The state of one pass over one tree."""

    __slots__ = ("_files", "_hasher", "_links", "_scanner", "_size", "_spare", "_tree", "_uid")

    def __init__(self, tree: bytes, links: bytes, candidates: Collection[StorePath]) -> None:
        self._tree = tree
        self._links = links
        self._spare = links + b"/.spare-" + os.urandom(8).hex().encode()
        self._scanner = Scanner(candidates)
        self._hasher = hashlib.sha256()
        self._size = 0
        self._files: list[bytes] = []
        self._uid = os.geteuid()

    def run(self) -> Sealed:
        walk = Walk(self._tree)
        end = b""
        for frame, path in walk:
            if path:
                end = self._file(end + frame, path)
            else:
                self._emit(end + frame)
                end = b""
        self._emit(end)
        for link in walk.links:
            self._own(link, os.lstat(link))
            os.utime(link, ns=(EPOCH, EPOCH), follow_symlinks=False)
        for directory in reversed(walk.directories):
            self._directory(directory)
        found = frozenset(self._scanner.found)
        nar = NarHash(self._hasher.digest(), self._size)
        return Sealed(nar, found, (*self._files, *walk.directories))

    def _emit(self, piece: bytes) -> None:
        self._hasher.update(piece)
        self._size += len(piece)
        self._scanner.feed(piece)

    def _file(self, frame: bytes, path: bytes) -> bytes:
        """Hash, clean and share one regular file; return the framing that ends it."""
        descriptor = open_file(path)
        try:
            status = os.fstat(descriptor)
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
                raise BadTreeError("setuid and setgid are refused", where=os.fsdecode(path))
            self._emit(frame + header(status))
            key = self._read(descriptor, path, status)
            if status.st_nlink > 1:
                self._adopt(path, status, key)
            else:
                self._clean(descriptor, status)
                self._share(path, status, key)
        finally:
            os.close(descriptor)
        self._files.append(path)
        return trailer(status.st_size)

    def _read(self, descriptor: int, path: bytes, status: os.stat_result) -> bytes:
        """Feed the contents to both hashes; return the path of the file's link."""
        hasher = hashlib.sha256()
        for piece in contents(descriptor, path, status.st_size, os.read):
            data = bytes(piece)
            self._emit(data)
            hasher.update(data)
        suffix = b"-x" if status.st_mode & stat.S_IXUSR else b""
        return b"%b/%b%b" % (self._links, hasher.hexdigest().encode(), suffix)

    def _clean(self, descriptor: int, status: os.stat_result) -> None:
        """Remove from a file what a NAR does not carry."""
        for attribute in os.listxattr(descriptor):
            with suppress(OSError):
                os.removexattr(descriptor, attribute)
        if status.st_uid != self._uid:
            os.fchown(descriptor, self._uid, os.getegid())
        os.fchmod(descriptor, _mode(status))
        os.utime(descriptor, ns=(EPOCH, EPOCH))

    def _own(self, path: bytes, status: os.stat_result) -> None:
        if status.st_uid != self._uid:
            os.chown(path, self._uid, os.getegid(), follow_symlinks=False)

    def _directory(self, path: bytes) -> None:
        self._own(path, os.lstat(path))
        if path == self._tree:
            os.chmod(path, 0o755)  # noqa: PTH101, S103 - bytes; settled after the rename
        else:
            settle(path)

    def _adopt(self, path: bytes, status: os.stat_result, key: bytes) -> None:
        """Leave a file that is shared already; copy one whose other names may not be ours.

        Cleaning it in place would change a file outside the store, and sharing it would let
        whoever holds the other name write into the store.
        """
        with suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(key), status):
                return
        source = open_file(path)
        target = os.open(self._spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for piece in contents(source, path, status.st_size, os.read):
                write_all(target, piece)
            os.fchmod(target, _mode(status))
            os.utime(target, ns=(EPOCH, EPOCH))
        finally:
            os.close(source)
            os.close(target)
        os.rename(self._spare, path)  # noqa: PTH104 - bytes
        self._share(path, status, key)

    def _share(self, path: bytes, status: os.stat_result, key: bytes) -> None:
        """Make the file and its link one; an empty file is not worth a link.

        A link that was damaged through one of its names shows it by its time or size: then ours
        takes its place, so that damage does not spread. So it does where the link has no other
        name: whoever left it may have been cut off before its bytes were on the disk.
        """
        if status.st_size == 0:
            return
        try:
            os.link(path, key)
        except FileExistsError:
            if _intact(os.lstat(key), status) and self._replace(path, key):
                return
            self._replace(key, path)

    def _replace(self, path: bytes, source: bytes) -> bool:
        """Let `path` name the file `source`; tell whether that can have one more name."""
        try:
            os.link(source, self._spare)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return False
        os.rename(self._spare, path)  # noqa: PTH104 - bytes
        return True


def _mode(status: os.stat_result) -> int:
    return PROGRAM if status.st_mode & stat.S_IXUSR else FILE


def _intact(link: os.stat_result, status: os.stat_result) -> bool:
    return (
        link.st_nlink > 1
        and link.st_size == status.st_size
        and link.st_mtime_ns == EPOCH
        and link.st_mode == stat.S_IFREG | _mode(status)
    )
