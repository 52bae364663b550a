"""Messages between who sends store paths and who receives them: framing, and nothing else.

A message is a header, JSON of few fields with its length before it, and a body, which is one zstd
frame. Bodies that must fit into memory have their size in the header; the contents of files are
one frame in chunks. What the messages mean is for `store.send` and `store.receive` to say.
"""

from __future__ import annotations

import io
import json
import os
import select
import struct
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, cast

from store.errors import Error
from store.frames import WINDOW, FrameError, compress, decompress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

FORMAT: Final = 1
HEADER_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a body that is taken into memory; a list of 600,000 files needs as much."""

QUICKLY: Final = 1
"""The level for contents: beyond it a gigabit is no longer what holds the push up."""

PATIENCE: Final = 300.0
"""Seconds of silence after which a receiver takes the sender for gone."""

_FRAMING = 512
"""Bytes by which a frame may exceed what is in it, if that cannot be compressed; and then some."""

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 20
FIELDS: Final = ("reason", "where", "expected", "got", "hint")
"""The facts of an error that are told."""


class WireError(Error):
    """Bytes that are no message, or not the one that belongs here."""

    slug = "push-protocol"


class FormatError(WireError):
    """Another version of sealift at the other end, which pushes in another way."""

    slug = "push-format"


class CutError(Error):
    """The connection ended before the push did."""

    slug = "push-cut"
    exit_code = 6


class SilentError(CutError):
    """The other side neither says nor takes anything any more."""


class UnwritableError(Error):
    """A file system that does not do what is asked of it."""

    slug = "store-unwritable"


class PeerError(Error):
    """An error of the other side that has no class here."""

    slug = "push-failed"


class Patient(io.RawIOBase):
    """A descriptor that is read as it fills, and given up after a long silence."""

    def __init__(self, descriptor: int, patience: float) -> None:
        self._descriptor = descriptor
        self._patience = patience

    def readable(self) -> bool:
        """Tell that it can be read, if it was opened so."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there, and wait for the first of it."""
        self._wait(select.POLLIN, "nothing came")
        return os.readv(self._descriptor, [buffer])

    def writable(self) -> bool:
        """Tell that it can be written, if it was opened so."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of it, to a descriptor that does not block."""
        self._wait(select.POLLOUT, "nothing was taken")
        try:
            return os.write(self._descriptor, memoryview(data)[:_CHUNK])
        except BlockingIOError:
            return 0

    def _wait(self, what: int, else_said: str) -> None:
        poll = select.poll()
        poll.register(self._descriptor, what)
        if not poll.poll(self._patience * 1000):
            raise SilentError(f"{else_said} for {self._patience:g} seconds")


class Wire:
    """Both directions of one connection; counts the bytes of each.

    Nothing may have been read from `reader` before: its descriptor is read past its buffer.
    """

    def __init__(
        self, reader: BinaryIO, writer: BinaryIO, *, patience: float | None = None
    ) -> None:
        self._reader = _buffered(reader, patience)
        self._writer = writer
        self.sent = 0
        self.received = 0

    def say(
        self, what: str, *, body: bytes = b"", dictionary: bytes = b"", **fields: object
    ) -> None:
        """Send one message, at once.

        Raises:
            Error: what the other side said before it went.
            CutError: it went without a word.
        """
        frame = compress(body, dictionary) if body else b""
        header = {"say": what, **fields, "size": len(frame), "raw": len(body)}
        self._write(_framed(_json(header)) + frame)
        self._flush()

    def pour(self, what: str, pieces: Iterable[bytes]) -> Iterator[int]:
        """Send a message whose body has no end in sight; yield the bytes of each piece sent."""
        import zstandard  # noqa: PLC0415 - a run that pushes nothing does not need it

        self._write(_framed(_json({"say": what})))
        stream = zstandard.ZstdCompressor(level=QUICKLY).compressobj()
        for piece in pieces:
            self._chunk(stream.compress(piece))
            yield len(piece)
        self._chunk(stream.flush())
        self._write(_LENGTH.pack(0))
        self._flush()

    def hear(self, *expected: str) -> dict[str, Any]:
        """Receive the header of one of the messages that may come now.

        Raises:
            Error: the other side said that it failed.
            CutError: the connection ended.
            WireError: it is another message, or none.
        """
        size = self.length(HEADER_LIMIT)
        header = _header(self.exactly(size))
        if header["say"] == "error":
            from store.told import retell  # noqa: PLC0415 - few pushes fail

            raise retell(header)
        if header["say"] not in expected:
            raise WireError(
                "the other side says something else than belongs here",
                expected=" or ".join(expected),
                got=str(header["say"]),
            )
        return header

    def body(
        self, header: dict[str, Any], *, dictionary: bytes = b"", limit: int = BODY_LIMIT
    ) -> bytes:
        """Receive the body that belongs to a header.

        Raises:
            WireError: it is larger than `limit`, or not what the header says.
            CutError: the connection ended.
        """
        raw = number(header, "raw", limit)
        size = number(header, "size", limit + limit // 128 + _FRAMING)
        frame = self.exactly(size)
        try:
            return decompress(frame, raw, dictionary) if size or raw else b""
        except FrameError as error:
            raise WireError(error.reason) from error

    def contents(self) -> Contents:
        """Return what `pour` pours, to be read to its end."""
        return Contents(self)

    def fail(self, error: Error) -> None:
        """Tell the other side why this one gives up; that it is gone does not matter."""
        fields = {key: getattr(error, key) for key in FIELDS}
        with suppress(Error, OSError, ValueError):
            self.say("error", slug=error.slug, exit_code=error.exit_code, **fields)

    def _chunk(self, data: bytes) -> None:
        if data:
            self._write(_framed(data))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:  # what has no buffer may take less at once
                left = left[self._writer.write(left) :]
        except OSError as error:
            raise self._farewell() from error
        self.sent += len(data)

    def _flush(self) -> None:
        try:
            self._writer.flush()
        except OSError as error:
            raise self._farewell() from error

    def _farewell(self) -> Error:
        """Return what the other side said before it stopped to listen."""
        try:
            self.hear()
        except Error as error:
            return error if not isinstance(error, WireError) else _cut()
        return _cut()

    def length(self, limit: int) -> int:
        """Receive a length.

        Raises:
            WireError: it is beyond `limit`, as it is of whatever was not written for us.
            CutError: the connection ended.
        """
        head = self.exactly(_LENGTH.size)
        size = int(_LENGTH.unpack(head)[0])
        if size > limit:
            raise WireError("the other side does not speak as sealift does", got=repr(head))
        return size

    def some(self, size: int) -> bytes:
        """Receive what is there of `size` bytes, and wait for the first.

        Raises:
            CutError: the connection ended.
        """
        read = getattr(self._reader, "read1", self._reader.read)
        try:
            data = bytes(read(size))
        except OSError as error:
            raise _cut() from error
        self.received += len(data)
        if not data:
            raise _cut()
        return data

    def exactly(self, size: int) -> bytes:
        """Receive exactly `size` bytes.

        Raises:
            CutError: the connection ended before that.
        """
        try:
            data = self._reader.read(size)
        except OSError as error:
            raise _cut() from error
        self.received += len(data)
        if len(data) < size:
            raise _cut()
        return data


class Contents:
    """A body without end in sight, decompressed as it is read."""

    __slots__ = ("_chunks", "_stream")

    def __init__(self, wire: Wire) -> None:
        import zstandard  # noqa: PLC0415 - as above

        self._chunks = _Chunks(wire)
        source = cast("IO[bytes]", self._chunks)  # no more is asked of it than read()
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        self._stream = reader.stream_reader(source, read_size=_CHUNK, closefd=False)

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, and fewer only at the end.

        Raises:
            WireError: they cannot be decompressed.
            CutError: the connection ended.
        """
        import zstandard  # noqa: PLC0415 - as above

        try:
            return self._stream.read(size)
        except zstandard.ZstdError as error:
            raise WireError(f"contents cannot be read: {error}") from error

    def finish(self) -> None:
        """See that nothing is left.

        Raises:
            WireError: more came than was asked for.
        """
        if self.read(1) or self._chunks.read(1):
            raise WireError("more contents came than were asked for")


class _Chunks:
    """The chunks of a body as one stream of bytes."""

    __slots__ = ("_ended", "_left", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._left = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, and none behind the last chunk."""
        if self._left == 0 and not self._ended:
            self._left = self._wire.length(WINDOW)
            self._ended = self._left == 0
        if self._ended:
            return b""
        data = self._wire.some(min(size, self._left))
        self._left -= len(data)
        return data


def number(header: dict[str, Any], key: str, limit: int) -> int:
    """Return a whole number of a header, between zero and `limit`.

    Raises:
        WireError: it is missing, something else, or too large.
    """
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise WireError(f"{key!r} is not a number up to {limit}", got=repr(value))
    return value


def texts(header: dict[str, Any], key: str) -> list[str]:
    """Return the strings that a header lists.

    Raises:
        WireError: the list is missing, or holds something else.
    """
    value = header.get(key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise WireError(f"{key!r} is not a list of texts", got=repr(value))
    return value


def _buffered(reader: BinaryIO, patience: float | None) -> BinaryIO:
    if patience is None:
        return reader
    try:
        descriptor = reader.fileno()
    except OSError:
        return reader
    return io.BufferedReader(Patient(descriptor, patience), _CHUNK)


def _framed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _json(header: dict[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


def _header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError("a header is not JSON", got=repr(data[:80])) from error
    if not isinstance(header, dict) or not isinstance(header.get("say"), str):
        raise WireError("a header does not say what it is", got=repr(data[:80]))
    return header


def _cut() -> CutError:
    return CutError(
        "the connection ended before the push did",
        hint="run the command again: it goes on where this one stopped",
    )
