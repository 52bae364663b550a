"""Archives, packages and ELF files made to measure, honest ones and others."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
from dataclasses import dataclass

FILE, DIRECTORY, SYMLINK, HARDLINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, b"1"
_BASE = 0x400000


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a tar archive, written as it is said, sense or not."""

    name: str
    data: bytes = b""
    kind: bytes = FILE
    target: str = ""
    mode: int = 0o644


def tar_bytes(*entries: Entry, form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.linkname, info.mode = entry.kind, entry.target, entry.mode
            info.size = len(entry.data)
            archive.addfile(info, io.BytesIO(entry.data))
    return stream.getvalue()


def ar_bytes(*members: tuple[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        parts += [header.encode(), data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


def deb_bytes(*entries: Entry) -> bytes:
    return ar_bytes(
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", lzma.compress(tar_bytes(Entry("./control", b"Package: it\n")))),
        ("data.tar.xz", lzma.compress(tar_bytes(*entries))),
    )


def elf_bytes(
    needed: tuple[str, ...] = ("libc.so.6",), glibc: str = "2.34", *, runpath: str = ""
) -> bytes:
    """Make a library that needs others, and of libc.so.6 the symbols of a version."""
    strings, places = bytearray(b"\0"), {}
    for text in (*needed, "libc.so.6", f"GLIBC_{glibc}", runpath):
        places[text] = len(strings)
        strings += text.encode() + b"\0"
    table = 64 + 2 * 56
    versions = table + len(strings)
    dynamic = versions + 32
    tags = [(1, places[name]) for name in needed] + [(5, _BASE + table)]
    tags += [(0x6FFFFFFE, _BASE + versions), (0x6FFFFFFF, 1)]
    tags += [(29, places[runpath])] if runpath else []
    tags.append((0, 0))
    size = dynamic + 16 * len(tags)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, _BASE, _BASE, size, size, 4096)
    segment = struct.pack(
        "<IIQQQQQQ", 2, 4, dynamic, _BASE + dynamic, 0, 16 * len(tags), 16 * len(tags), 8
    )
    need = struct.pack("<HHIII", 1, 1, places["libc.so.6"], 16, 0)
    symbol = struct.pack("<IHHII", 0, 0, 2, places[f"GLIBC_{glibc}"], 0)
    body = header + load + segment + bytes(strings) + need + symbol
    return body + b"".join(struct.pack("<qQ", tag, value) for tag, value in tags)
