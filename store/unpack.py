"""Reading what is compressed, in whichever way Nix's caches know, without trusting it.

All is streamed: what a stream may swell to is its reader's to bound, and what a decoder may keep
in memory is bounded here: `USUAL` of it from many threads at once, `LARGE` for one at a time.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from typing import TYPE_CHECKING, BinaryIO, Final

from store.frames import WINDOW, FrameError
from store.nar import BUFFER

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.nar import Source

KINDS: Final = ("zstd", "xz", "none", "bzip2", "gzip")
"""What can be read, as narinfos spell it."""

USUAL: Final = 10 * 1024 * 1024
"""Bytes that a decoder may keep: zstd needs that up to level 19, and xz up to level 6."""

LARGE: Final = WINDOW
"""Bytes that a decoder may keep where it is the only one: zstd's strongest level needs them."""


class HungryError(FrameError):
    """Bytes whose decoder would keep more of them in memory than it may."""

    slug = "frame-needs-memory"


class Unpacked:
    """The decompressed bytes of a stream, by a decoder that keeps up to `memory` bytes of them.

    Raises:
        HungryError: from `read`, where the stream asks for more memory.
        FrameError: from `read`, where the stream is damaged or cut off.
    """

    __slots__ = ("_read",)

    def __init__(self, stream: BinaryIO, kind: str, memory: int = LARGE) -> None:
        self._read = _READERS[kind](stream, memory).read

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, and none at the end."""
        from zstandard import ZstdError  # noqa: PLC0415 - as in `store.frames`

        try:
            return self._read(size)
        except (ZstdError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
            kind = HungryError if "memory" in str(error).lower() else FrameError
            raise kind(f"what is compressed cannot be read: {error}") from error


def is_hungry(stream: BinaryIO, kind: str) -> bool:
    """Tell whether what is compressed asks at its beginning for more memory than is usual."""
    try:
        Unpacked(stream, kind, USUAL).read(1)
    except HungryError:
        return True
    except FrameError:
        return False
    return False


class _Streams:
    """Streams of xz or bzip2, one after another, decoded no further than is asked."""

    __slots__ = ("_decoder", "_make", "_stream")

    def __init__(
        self, stream: BinaryIO, make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor]
    ) -> None:
        self._stream = stream
        self._make = make
        self._decoder = make()

    def read(self, size: int, /) -> bytes:
        while True:
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data or self._stream.read(BUFFER)
                if not data:
                    return b""
                self._decoder = self._make()
            elif self._decoder.needs_input:
                data = self._stream.read(BUFFER)
                if not data:
                    raise EOFError("it is cut off")
            piece = self._decoder.decompress(data, size)
            if piece:
                return piece


def _zstd(stream: BinaryIO, memory: int) -> Source:
    import zstandard  # noqa: PLC0415 - as in `store.frames`

    decoder = zstandard.ZstdDecompressor(max_window_size=memory)
    return decoder.stream_reader(stream, read_across_frames=True, closefd=False)


def _xz(stream: BinaryIO, memory: int) -> Source:
    return _Streams(stream, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory))


def _bzip2(stream: BinaryIO, _memory: int) -> Source:
    return _Streams(stream, bz2.BZ2Decompressor)


def _gzip(stream: BinaryIO, _memory: int) -> Source:
    return gzip.GzipFile(fileobj=stream, mode="rb")


def _none(stream: BinaryIO, _memory: int) -> Source:
    return stream


_READERS: dict[str, Callable[[BinaryIO, int], Source]] = {
    "zstd": _zstd,
    "xz": _xz,
    "none": _none,
    "bzip2": _bzip2,
    "gzip": _gzip,
}
