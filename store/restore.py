"""Strict reading of a NAR into a fresh tree.

A stream that is not byte for byte what `store.nar.dump` would write of the result is refused:
unsorted or doubled entries, odd names, padding that is not zero, missing contents, trailing bytes.
(Nix 2.8 accepts several of these, and such a path then fails its own verification.)
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from store.nar import (
    BUFFER,
    CLOSE,
    DEFAULT,
    MAGIC,
    NODE,
    BadNarError,
    Limits,
    NarHash,
    Source,
    word,
    write_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_KEYWORD = 16


def restore(stream: Source, target: Path, *, limits: Limits = DEFAULT) -> NarHash:
    """Unpack a NAR to `target`, which must not exist, and return its hash and size.

    What was unpacked before an error is left; unpack inside a temporary of the store.

    Raises:
        BadNarError: the stream is not canonical, ends early, goes on, or exceeds `limits`.
    """
    reader = _Reader(stream, limits)
    reader.expect(MAGIC)
    parent = os.open(target.parent, _ENTER)
    try:
        _Builder(reader, limits).build(parent, os.fsencode(target.name))
    finally:
        os.close(parent)
    return reader.finish()


class _Reader:
    """A stream that is hashed as it comes, and an offset to say where it went wrong."""

    __slots__ = ("_hasher", "_limit", "_size", "_stream", "_taken", "_window")

    def __init__(self, stream: Source, limits: Limits) -> None:
        self._stream = stream
        self._limit = limits.size
        self._hasher = hashlib.sha256()
        self._window = b""
        self._taken = 0
        self._size = 0

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes; `size` is small or already checked."""
        while len(self._window) - self._taken < size:
            self._refill()
        self._taken += size
        return self._window[self._taken - size : self._taken]

    def blocks(self, size: int) -> Iterator[memoryview]:
        """Yield `size` bytes as they come."""
        while size:
            if self._taken == len(self._window):
                self._refill()
            block = memoryview(self._window)[self._taken : self._taken + size]
            self._taken += len(block)
            size -= len(block)
            yield block

    def length(self, limit: int) -> int:
        """Return a length that is no more than `limit`."""
        length = int.from_bytes(self.take(8), "little")
        if length > limit:
            raise self.bad(f"{length} bytes where at most {limit} may be")
        return length

    def text(self, limit: int) -> bytes:
        """Return a framed string."""
        length = self.length(limit)
        text = self.take(length)
        self.padding(length)
        return text

    def padding(self, length: int) -> None:
        """Skip the zeros after `length` bytes."""
        if any(self.take(-length % 8)):
            raise self.bad("padding that is not zero")

    def expect(self, framed: bytes) -> None:
        """Skip framing that must stand here."""
        if self.take(len(framed)) != framed:
            raise self.bad("something else than the format asks for")

    def left(self) -> int:
        """Return how many bytes the limit still allows."""
        return self._limit - self._offset()

    def finish(self) -> NarHash:
        """Check that the stream ends here."""
        if self._taken < len(self._window) or self._stream.read(1):
            raise self.bad("bytes after the end")
        return NarHash(self._hasher.digest(), self._size)

    def bad(self, reason: str) -> BadNarError:
        """Make the error that names reason and offset."""
        return BadNarError(f"bad NAR: {reason}", where=f"byte {self._offset()}")

    def _offset(self) -> int:
        return self._size - len(self._window) + self._taken

    def _refill(self) -> None:
        block = self._stream.read(BUFFER)
        if not block:
            raise self.bad("it ends early")
        self._window = self._window[self._taken :] + block
        self._taken = 0
        self._size += len(block)
        self._hasher.update(block)
        if self._size > self._limit:
            raise self.bad(f"more than {self._limit} bytes")


class _Builder:
    """Creates nodes relative to open directories, so that no link can lead it astray."""

    __slots__ = ("_entries", "_limits", "_open", "_path", "_reader")

    def __init__(self, reader: _Reader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._entries = 0
        self._path = 0
        self._open: list[tuple[int, bytes]] = []
        """Descriptor and last name of the directories that are being read, outermost first."""

    def build(self, parent: int, name: bytes) -> None:
        """Create the root node; directories are entered with a stack of our own."""
        try:
            self._node(parent, name)
            while self._open:
                self._step()
        finally:
            for descriptor, _ in self._open:
                os.close(descriptor)

    def _step(self) -> None:
        """Read one entry of the innermost directory, or leave it."""
        descriptor, last = self._open[-1]
        keyword = self._reader.text(_LONGEST_KEYWORD)
        if keyword == b")":
            self._leave(descriptor)
            return
        self._must(keyword == b"entry", "neither an entry nor the end of a directory")
        self._reader.expect(_ENTRY_HEAD)
        name = self._name(last)
        self._open[-1] = (descriptor, name)
        self._reader.expect(_ENTRY_NODE)
        depth = len(self._open)
        self._node(descriptor, name)
        if len(self._open) == depth:
            self._reader.expect(CLOSE)

    def _leave(self, descriptor: int) -> None:
        self._open.pop()
        os.close(descriptor)
        if self._open:
            self._path -= len(self._open[-1][1]) + 1
            self._reader.expect(CLOSE)

    def _name(self, last: bytes) -> bytes:
        name = self._reader.text(self._limits.name)
        self._must(
            name not in {b"", b".", b".."} and b"/" not in name and b"\x00" not in name,
            f"{name!r} cannot be a file's name",
        )
        self._must(name > last, f"{name!r} stands out of order, or twice")
        self._entries += 1
        self._must(self._entries <= self._limits.entries, "too many entries")
        self._must(self._path + len(name) <= self._limits.path, "the path is too long")
        return name

    def _node(self, parent: int, name: bytes) -> None:
        self._reader.expect(NODE)
        kind = self._reader.text(_LONGEST_KEYWORD)
        if kind == b"regular":
            self._regular(parent, name)
        elif kind == b"symlink":
            self._link(parent, name)
        elif kind == b"directory":
            self._directory(parent, name)
        else:
            raise self._reader.bad(f"{kind!r} is no type of node")

    def _regular(self, parent: int, name: bytes) -> None:
        keyword = self._reader.text(_LONGEST_KEYWORD)
        executable = keyword == b"executable"
        if executable:
            self._reader.expect(word(b""))
            keyword = self._reader.text(_LONGEST_KEYWORD)
        self._must(keyword == b"contents", "a regular file without contents")
        size = self._reader.length(self._reader.left())
        descriptor = os.open(name, _CREATE, 0o755 if executable else 0o644, dir_fd=parent)
        try:
            for block in self._reader.blocks(size):
                write_all(descriptor, block)
        finally:
            os.close(descriptor)
        self._reader.padding(size)
        self._reader.expect(CLOSE)

    def _link(self, parent: int, name: bytes) -> None:
        self._reader.expect(word(b"target"))
        target = self._reader.text(self._limits.target)
        self._must(target != b"" and b"\x00" not in target, f"a link to {target!r}")
        os.symlink(target, name, dir_fd=parent)
        self._reader.expect(CLOSE)

    def _directory(self, parent: int, name: bytes) -> None:
        self._must(len(self._open) < self._limits.depth, "directories too deep")
        os.mkdir(name, 0o755, dir_fd=parent)
        if self._open:
            self._path += len(name) + 1
        self._open.append((os.open(name, _ENTER, dir_fd=parent), b""))

    def _must(self, good: bool, reason: str) -> None:  # noqa: FBT001
        if not good:
            raise self._reader.bad(reason)


_ENTRY_HEAD = word(b"(") + word(b"name")
_ENTRY_NODE = word(b"node")
