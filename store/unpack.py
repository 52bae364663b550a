"""Reading what is compressed, in whichever way Nix's caches know, without trusting it.

All is streamed: what a stream may swell to is its reader's to bound, and what a decoder may keep
in memory is bounded here.
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

_XZ_MEMORY: Final = 160 * 1024 * 1024
"""Bytes that a decoder of xz may take: its strongest level needs 65 MiB."""


class Unpacked:
    """The decompressed bytes of a stream.

    Raises:
        FrameError: from `read`, where the stream is damaged, cut off, or asks for too much memory.
    """

    __slots__ = ("_read",)

    def __init__(self, stream: BinaryIO, kind: str) -> None:
        self._read = _READERS[kind](stream).read

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, and none at the end."""
        from zstandard import ZstdError  # noqa: PLC0415 - as in `store.frames`

        try:
            return self._read(size)
        except (ZstdError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
            raise FrameError(f"what is compressed cannot be read: {error}") from error


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


def _zstd(stream: BinaryIO) -> Source:
    import zstandard  # noqa: PLC0415 - as in `store.frames`

    decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    return decoder.stream_reader(stream, read_across_frames=True, closefd=False)


def _xz(stream: BinaryIO) -> Source:
    return _Streams(stream, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))


def _bzip2(stream: BinaryIO) -> Source:
    return _Streams(stream, bz2.BZ2Decompressor)


def _gzip(stream: BinaryIO) -> Source:
    return gzip.GzipFile(fileobj=stream, mode="rb")


def _none(stream: BinaryIO) -> Source:
    return stream


_READERS: dict[str, Callable[[BinaryIO], Source]] = {
    "zstd": _zstd,
    "xz": _xz,
    "none": _none,
    "bzip2": _bzip2,
    "gzip": _gzip,
}
