"""A .deb as a stream of members: an ar archive that holds compressed tar archives.

What a tar stream may hold is for `builders.scripts.extract`; what becomes of the files is for
`builders.deb`. Nothing of a package is ever run.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from builders.scripts.extract import FILE, LIMITS, BadArchiveError, Limits, Tar
from builders.tree import PLAIN, Policy, Tree
from store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

_MAGIC = b"!<arch>\n"
_HEADER = 60
_NOTHING = "nothing more"
_BUFFER = 1 << 20
_FEED = 1 << 16
_MEMORY = 256 << 20
"""Bytes that xz may ask for; Debian's highest preset needs 65 MiB."""
SMALL = Limits(header=4 << 20)
"""Of what is read into memory whole; the longest copyright files have less than 2 MiB."""


class ArchiveError(IntegrityError):
    """An archive that must not be unpacked."""

    slug = "bad-archive"


class Section(io.RawIOBase):
    """The bytes of one ar member; reading past its end gives nothing."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self.left = size

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the member goes."""
        data = self._stream.read(min(len(buffer), self.left))
        if not data and self.left and len(buffer):
            raise BadArchiveError("the archive is cut short")
        self.left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class Unxz(io.RawIOBase):
    """One xz stream, unpacked within a bound of memory, which `lzma.LZMAFile` does not have."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as one step of the decoder goes."""
        while not self._decoder.eof:
            fed = self._stream.read(_FEED) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not fed:
                raise BadArchiveError("the archive is cut short")
            data = self._decoder.decompress(fed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        if self._decoder.unused_data or self._stream.read(1):
            raise BadArchiveError("there is more after the end of the xz stream")
        return 0


class Unzst(io.RawIOBase):
    """A Zstandard stream where this Python can read one: 3.14, or with the package `zstandard`.

    Both bound the memory of a window, at 128 MiB, and fail with an error of their own.
    """

    def __init__(self, reader: IO[bytes], fault: type[Exception]) -> None:
        self._reader = reader
        self._fault = fault

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the reader goes."""
        try:
            data = self._reader.read(len(buffer))
        except self._fault as fault:
            raise BadArchiveError(f"damaged Zstandard: {fault}") from fault
        buffer[: len(data)] = data
        return len(data)


def unpack_deb(file: Path, tree: Tree, policy: Policy = PLAIN, limits: Limits = LIMITS) -> None:
    """Lay the files of a .deb into a tree; its maintainer scripts are not even read.

    Raises:
        ArchiveError: if the package is damaged, or holds what must not be laid.
    """
    with reading(file.name), file.open("rb") as stream:
        for name, section in ar_members(stream):
            if name.startswith("data.tar"):
                tree.fill(_decompressed(name, section), policy, limits)


def read_files(
    file: Path, part: str, names: Collection[str], limits: Limits = SMALL
) -> dict[str, bytes]:
    """Read some files of one part of a .deb, `control` or `data`, as far as they are there.

    The part is read until all are found. Links are not followed.

    Raises:
        ArchiveError: if the package is damaged, or a wanted file is larger than `limits.header`.
    """
    found: dict[str, bytes] = {}
    with reading(file.name), file.open("rb") as stream:
        for name, section in ar_members(stream):
            if name.startswith(f"{part}.tar"):
                tar = Tar(_decompressed(name, section), limits)
                for member in tar:
                    if member.kind == FILE and member.name in names:
                        if member.size > limits.header:
                            raise BadArchiveError("larger than it may be", member=member.name)
                        found[member.name] = b"".join(tar.contents())
                    if len(found) == len(names):
                        break
                break
    return found


def ar_members(stream: IO[bytes]) -> Iterator[tuple[str, Section]]:
    """Read the members of a .deb in their order, which deb(5) fixes.

    Raises:
        BadArchiveError: if it is no .deb, or is damaged or cut short.
    """
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise BadArchiveError("it is no ar archive")
    expected = iter(("debian-binary", "control.tar", "data.tar"))
    wanted = next(expected)
    while header := stream.read(_HEADER):
        name, size = _ar_header(header)
        section = Section(stream, size)
        if name.startswith(wanted):
            if wanted == "debian-binary":
                _check_format(section.read())
            else:
                yield name, section
            wanted = next(expected, _NOTHING)
        elif not name.startswith("_"):
            raise BadArchiveError(f"{wanted} should stand here", member=name)
        while section.read(_BUFFER):
            pass
        if size % 2 and stream.read(1) != b"\n":
            raise BadArchiveError("the archive is cut short", member=name)
    if wanted != _NOTHING:
        raise BadArchiveError(f"it holds no {wanted}")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what archive readers raise into an error that names the archive.

    Raises:
        ArchiveError: for all of it.
    """
    try:
        yield
    except BadArchiveError as fault:
        raise ArchiveError(f"archive {name!r}: {fault}", where=name) from fault
    except (lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile) as fault:
        raise ArchiveError(f"archive {name!r} is damaged: {fault}", where=name) from fault


def _ar_header(header: bytes) -> tuple[str, int]:
    if len(header) < _HEADER or header[58:] != b"`\n":
        raise BadArchiveError("a header of the ar archive is damaged")
    name, size = header[:16].rstrip(b" "), header[48:58].rstrip(b" ")
    if not size.isdigit() or not name.isascii():
        raise BadArchiveError("a header of the ar archive is damaged")
    return name.decode().removesuffix("/"), int(size)


def _check_format(version: bytes) -> None:
    if not version.startswith(b"2."):
        raise BadArchiveError(f"unknown format of package {version[:20]!r}")


def _decompressed(name: str, section: Section) -> IO[bytes]:
    suffix = name.partition(".tar")[2]
    opener = _OPENERS.get(suffix)
    if opener is None:
        raise BadArchiveError(f"unknown compression {suffix!r}", member=name)
    return opener(io.BufferedReader(section, _BUFFER))


def _open_xz(stream: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(Unxz(stream), _BUFFER)


def _open_zst(stream: IO[bytes]) -> IO[bytes]:
    for name in ("compression.zstd", "zstandard"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return io.BufferedReader(Unzst(module.open(stream, "rb"), module.ZstdError), _BUFFER)
    raise BadArchiveError("this Python cannot read Zstandard; Debian 12 itself has xz only")


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "": lambda stream: stream,
    ".gz": lambda stream: cast("IO[bytes]", gzip.GzipFile(fileobj=stream)),
    ".bz2": lambda stream: cast("IO[bytes]", bz2.BZ2File(stream)),
    ".xz": _open_xz,
    ".zst": _open_zst,
}
