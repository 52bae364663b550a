"""What an ELF file asks of the system that loads it: libraries, search path, versions of symbols.

Reads 64-bit little-endian files, as amd64 has them (System V ABI, chapters 4 and 5; the
version sections are those of the Linux Standard Base). Pure: bytes in, a value out; a file that is
mapped does for bytes, and then only the few pages that say all this are read.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.errors import InputError, IntegrityError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Data = bytes | mmap.mmap

MAGIC = b"\x7fELF"

GLIBC_LIBRARIES = frozenset(
    {
        "ld-linux-x86-64.so.2",
        "libanl.so.1",
        "libc.so.6",
        "libdl.so.2",
        "libm.so.6",
        "libmvec.so.1",
        "libpthread.so.0",
        "libresolv.so.2",
        "librt.so.1",
        "libutil.so.1",
    }
)
"""What every system with glibc has, in the one package with it."""

_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_VERNEED, _VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")
_NEED = struct.Struct("<HHIII")
_NEED_ENTRY = struct.Struct("<IHHII")
_FEATURES = {"GLIBC_ABI_DT_RELR": "2.36"}
"""Versions of symbols that name no version: what the loader must be able to do."""
_GLIBC = re.compile(r"GLIBC_([0-9]+(?:\.[0-9]+)*)\Z")


class ElfError(IntegrityError):
    """A file that begins as ELF and does not go on so."""

    slug = "bad-elf"


class OwnGlibcError(InputError):
    """Files that need a later glibc than the one of their own that they run with."""

    slug = "own-glibc-too-old"
    exit_code = 1


@dataclass(frozen=True, slots=True)
class Elf:
    """One program or library. `search` holds RPATH or RUNPATH; `versions` library → symbols'."""

    interpreter: str | None
    needed: tuple[str, ...]
    soname: str | None
    search: tuple[str, ...]
    versions: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def parse(data: Data, *, where: str) -> Elf | None:
    """Parse an ELF file; None if it is of another machine's kind (32 bits, big-endian).

    Raises:
        ElfError: if it is cut short, or points outside itself.
    """
    if data[:4] != MAGIC or data[4:6] != b"\x02\x01":
        return None
    try:
        return _parse(data)
    except (struct.error, ValueError, OverflowError) as fault:
        raise ElfError(f"a damaged ELF file: {fault}", where=where) from fault


def glibc_floor(files: Iterable[Elf]) -> str | None:
    """Give the lowest version of glibc that satisfies all files, None if none asks for one."""
    symbols = {symbol for file in files for found in file.versions.values() for symbol in found}
    return highest(_FEATURES.get(each) or _version(each) for each in symbols)


def highest(versions: Iterable[str | None]) -> str | None:
    """Give the highest of some versions, None if there is none."""
    return max((each for each in versions if each is not None), key=_parts, default=None)


def glibc_need(
    files: Mapping[str, Elf], *, own: str | None, where: str, more: Sequence[str | None] = ()
) -> dict[str, str | None]:
    """Say in a store object's words which glibc it asks a head for, or brings itself.

    `more` are needs of what it is joined with.

    Raises:
        OwnGlibcError: if its own is older than a file needs.
    """
    floor = highest((glibc_floor(files.values()), *more))
    if own is None:
        return {"glibc": floor}
    late = [name for name, file in files.items() if highest((glibc_floor([file]), own)) != own]
    if late:
        raise OwnGlibcError(
            f"{late[0]} needs a later glibc than the one that it is to run with",
            where=where,
            expected=f"glibc {own} or earlier",
            got=f"glibc {glibc_floor([files[late[0]]])}",
        )
    return {"glibc": None, "own_glibc": own}


def _version(symbol: str) -> str | None:
    match = _GLIBC.match(symbol)
    return match[1] if match else None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _parse(data: Data) -> Elf:
    segments = list(_segments(data))
    tags = list(_dynamic(data, segments))
    values = dict(tags)
    strings = _offset(values[_STRTAB], segments) if _STRTAB in values else 0
    named = [(tag, _string(data, strings + value)) for tag, value in tags if tag in _NAMES]
    names = dict(named)
    search = names.get(_RUNPATH, names.get(_RPATH, ""))
    return Elf(
        interpreter=_interpreter(data, segments),
        needed=tuple(name for tag, name in named if tag == _NEEDED),
        soname=names.get(_SONAME),
        search=tuple(part for part in search.split(":") if part),
        versions=dict(_versions(data, segments, values, strings)),
    )


_NAMES = frozenset({_NEEDED, _SONAME, _RPATH, _RUNPATH})


def _segments(data: Data) -> Iterator[_Segment]:
    header = _HEADER.unpack_from(data)
    start, size, count = header[5], header[9], header[10]
    for index in range(count):
        kind, _, offset, address, _, length, *_ = _SEGMENT.unpack_from(data, start + index * size)
        yield _Segment(kind, offset, address, length)


def _dynamic(data: Data, segments: Iterable[_Segment]) -> Iterator[tuple[int, int]]:
    for segment in segments:
        if segment.kind == _DYNAMIC:
            for place in range(segment.offset, segment.offset + segment.size, _ENTRY.size):
                tag, value = _ENTRY.unpack_from(data, place)
                if tag == 0:
                    return
                yield tag, value


def _offset(address: int, segments: Iterable[_Segment]) -> int:
    for segment in segments:
        within = address - segment.address
        if segment.kind == _LOAD and 0 <= within < segment.size:
            return segment.offset + within
    raise ValueError(f"nothing lies at address {address:#x}")


def _string(data: Data, place: int) -> str:
    end = data.find(b"\0", place)
    if not 0 <= place <= end:
        raise ValueError("a string outside the file")
    return data[place:end].decode()


def _interpreter(data: Data, segments: Iterable[_Segment]) -> str | None:
    for segment in segments:
        if segment.kind == _INTERP:
            return _string(data, segment.offset)
    return None


def _versions(
    data: Data, segments: Iterable[_Segment], values: Mapping[int, int], strings: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    if _VERNEED not in values:
        return
    place = _offset(values[_VERNEED], segments)
    for _ in range(values.get(_VERNEEDNUM, 0)):
        _, count, file, first, following = _NEED.unpack_from(data, place)
        yield _string(data, strings + file), tuple(_symbols(data, place + first, count, strings))
        if not following:
            # The last one, whatever number was claimed: it would be read for ever.
            return
        place += following


def _symbols(data: Data, place: int, count: int, strings: int) -> Iterator[str]:
    for _ in range(count):
        _, _, _, name, following = _NEED_ENTRY.unpack_from(data, place)
        yield _string(data, strings + name)
        place += following
