"""NAR: the byte stream that stands for a tree; written and strictly read.

Nix manual, "Nix Archive (NAR) format". Only contents, names, link targets and one executable bit
survive; a stream and the tree it unpacks to determine each other, hence the strictness of the
reader. Nothing here knows of stores.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from store.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Piece: TypeAlias = "bytes | memoryview"

BUFFER = 256 * 1024
"""Bytes per read: what was read is hashed while it still lies in the processor's cache."""

DEEPEST = 256
"""Directories within each other. Each costs the reader an open file."""


def word(text: bytes) -> bytes:
    """Frame a string: length as a little-endian 64-bit number, bytes, zeros up to 8."""
    return len(text).to_bytes(8, "little") + text + bytes(-len(text) % 8)


def _words(*texts: bytes) -> bytes:
    return b"".join(word(text) for text in texts)


MAGIC = word(b"nix-archive-1")
CLOSE = word(b")")
NODE = _words(b"(", b"type")
REGULAR = NODE + word(b"regular")
EXECUTABLE = _words(b"executable", b"")
CONTENTS = word(b"contents")
SYMLINK = NODE + _words(b"symlink", b"target")
DIRECTORY = NODE + word(b"directory")
ENTRY = _words(b"entry", b"(", b"name")
ENTRY_NODE = word(b"node")


class BadTreeError(InputError):
    """A tree that no NAR can hold."""

    slug = "bad-tree"


class BadNarError(IntegrityError):
    """A stream that is not the one NAR of a tree."""

    slug = "bad-nar"


class NarHash(NamedTuple):
    """SHA-256 of a NAR, and its size in bytes."""

    sha256: bytes
    size: int


class Source(Protocol):
    """A stream of bytes; `read` may return fewer than asked, and none at its end."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader puts up with, so that no stream can exhaust the machine.

    `depth` counts directories; `name`, `target`, `path` and `size` are bytes, `size` those of the
    whole NAR. `path` stays so far below PATH_MAX that the tree can be read where it ends up.
    """

    depth: int = DEEPEST
    name: int = 255
    target: int = 4095
    path: int = 3000
    entries: int = 5_000_000
    size: int = 1 << 40


DEFAULT = Limits()


class Walk:
    """The nodes of a tree in NAR order, as pairs of framing and the regular file that follows.

    A pair may have no file (`b""`); the last has none. `directories` and `links` fill up on the
    way, parents first. Entries are sorted by their raw bytes, as names need not be UTF-8. The
    tree must not change meanwhile.
    """

    __slots__ = ("_root", "directories", "links")

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.directories: list[bytes] = []
        self.links: list[bytes] = []

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        mode = os.lstat(self._root).st_mode
        if stat.S_ISDIR(mode):
            yield from self._tree()
        elif stat.S_ISREG(mode):
            yield MAGIC, self._root
        elif stat.S_ISLNK(mode):
            yield MAGIC + self._link(self._root), b""
        else:
            raise _special(self._root)

    def _tree(self) -> Iterator[tuple[bytes, bytes]]:
        """Walk with a stack of our own: `yield from` costs time at each level of each node."""
        frame = MAGIC + DIRECTORY
        stack = [self._entries(self._root, 0)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                frame += CLOSE + CLOSE if stack else CLOSE
                continue
            frame += ENTRY + word(entry.name) + ENTRY_NODE
            if entry.is_file(follow_symlinks=False):
                yield frame, entry.path
                frame = CLOSE
            elif entry.is_symlink():
                frame += self._link(entry.path) + CLOSE
            elif entry.is_dir(follow_symlinks=False):
                frame += DIRECTORY
                stack.append(self._entries(entry.path, len(stack)))
            else:
                raise _special(entry.path)
            if len(frame) > BUFFER:
                yield frame, b""
                frame = b""
        yield frame, b""

    def _entries(self, path: bytes, depth: int) -> Iterator[os.DirEntry[bytes]]:
        if depth >= DEEPEST:
            raise BadTreeError(
                f"directories more than {DEEPEST} deep cannot go into the store",
                where=os.fsdecode(path),
            )
        self.directories.append(path)
        with os.scandir(path) as entries:
            return iter(sorted(entries, key=attrgetter("name")))

    def _link(self, path: bytes) -> bytes:
        self.links.append(path)
        return SYMLINK + word(os.readlink(path)) + CLOSE  # noqa: PTH115 - bytes


def header(status: os.stat_result) -> bytes:
    """Frame the start of a regular file's node; the owner's x bit alone makes it executable."""
    executable = EXECUTABLE if status.st_mode & stat.S_IXUSR else b""
    return REGULAR + executable + CONTENTS + status.st_size.to_bytes(8, "little")


def trailer(size: int) -> bytes:
    """Frame the end of a regular file's node."""
    return bytes(-size % 8) + CLOSE


def open_file(path: bytes) -> int:
    """Open a regular file for reading; a link put in its place is refused."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def contents(
    descriptor: int, path: bytes, size: int, read: Callable[[int, int], Piece]
) -> Iterator[Piece]:
    """Yield exactly `size` bytes of an open file.

    Raises:
        BadTreeError: the file became shorter than it said it was.
    """
    while size:
        piece = read(descriptor, min(size, BUFFER))
        if not piece:
            raise BadTreeError("the file shrank while it was read", where=os.fsdecode(path))
        size -= len(piece)
        yield piece


def write_all(descriptor: int, piece: Piece) -> None:
    """Write all of `piece`: write(2) may take less."""
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def dump(path: str | os.PathLike[str] | bytes) -> Iterator[bytes]:
    """Yield the NAR of the tree at `path`, piece by piece.

    Raises:
        BadTreeError: it holds a device, socket or pipe, or is too deep.
    """
    for piece in pieces(path):
        yield bytes(piece)


def hash_tree(path: str | os.PathLike[str] | bytes, *, inodes: set[int] | None = None) -> NarHash:
    """Hash the NAR of the tree at `path`; numbers of its files' inodes go into `inodes`.

    Raises:
        BadTreeError: it holds a device, socket or pipe, or is too deep.
    """
    hasher = hashlib.sha256()
    size = 0
    for piece in pieces(path, inodes=inodes):
        hasher.update(piece)
        size += len(piece)
    return NarHash(hasher.digest(), size)


def pieces(
    path: str | os.PathLike[str] | bytes, *, inodes: set[int] | None = None
) -> Iterator[Piece]:
    """Yield the NAR as `dump` does, but in pieces that are good only until the next is taken."""
    buffer = memoryview(bytearray(BUFFER))

    def read(descriptor: int, size: int) -> memoryview:
        return buffer[: os.readv(descriptor, (buffer[:size],))]

    end = b""
    for frame, file in Walk(os.fsencode(path)):
        if not file:
            yield end + frame
            end = b""
            continue
        descriptor = open_file(file)
        try:
            status = os.fstat(descriptor)
            yield end + frame + header(status)
            yield from contents(descriptor, file, status.st_size, read)
        finally:
            os.close(descriptor)
        end = trailer(status.st_size)
        if inodes is not None:
            inodes.add(status.st_ino)
    if end:
        yield end


def _special(path: bytes) -> BadTreeError:
    return BadTreeError(
        "only files, directories and symbolic links can go into the store",
        where=os.fsdecode(path),
        got="a device, socket or pipe",
    )
