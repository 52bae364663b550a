"""Zip archives whose bytes depend on nothing but what is in them.

Used by scripts that run in the sandbox.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip archive can say."""
END = struct.Struct("<IHHHHIIH")
ENTRY = struct.Struct("<IHHHHHHIIIHHHHHII")
END_MAGIC, ENTRY_MAGIC = 0x06054B50, 0x02014B50
LEVEL = 6
"""Of compression: a higher one takes three times as long for two parts in a hundred."""
LARGEST = 0xFFFF_FFFF
"""Bytes: what a zip archive without extensions can point to."""


def write(target: Path, members: Mapping[str, Path | bytes]) -> None:
    """Write an archive of files and symbolic links, sorted by name.

    Modes are 0644, or 0755 where the file can be run; contents given as bytes are plain files.
    """
    with zipfile.ZipFile(target, "w", strict_timestamps=True) as archive:
        for name, source in sorted(members.items()):
            data, mode = contents(source)
            info = member(name, mode)
            if stat.S_ISLNK(mode):
                info.compress_type = zipfile.ZIP_STORED
            archive.writestr(info, data, compresslevel=LEVEL)


def rewrite(file: Path) -> None:
    """Write an archive again, its members sorted by name; what stands before them stays."""
    with zipfile.ZipFile(file) as archive:
        members = sorted(archive.infolist(), key=lambda info: info.filename)
        start = min(info.header_offset for info in members)
        packed = [(info, archive.read(info)) for info in members]
    prefix = file.read_bytes()[:start]
    with file.open("wb") as stream:
        stream.write(prefix)
        with zipfile.ZipFile(stream, "w") as archive:
            for info, data in packed:
                archive.writestr(info, data, compresslevel=LEVEL)


def member(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    """Make the head of a member that says nothing of when and where it was written."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = mode << 16
    return info


def contents(source: Path | bytes) -> tuple[bytes, int]:
    """Return what an archive holds of a file or a link, and the mode it is given."""
    if isinstance(source, bytes):
        return source, 0o100644
    if source.is_symlink():
        return os.fsencode(source.readlink()), 0o120777
    return source.read_bytes(), 0o100755 if source.stat().st_mode & 0o100 else 0o100644


def shifted(data: bytes, distance: int) -> bytes:
    """Return an archive as it must be spelled when it stands `distance` bytes into a file.

    Readers find their way without that, but complain (`unzip -l`).

    Raises:
        ValueError: if it is no plain archive, or would lie too far.
    """
    magic, _, _, _, count, _, start, comment = END.unpack_from(data, len(data) - END.size)
    if magic != END_MAGIC or comment or LARGEST in (start, count):
        raise ValueError("not a plain zip archive")
    if len(data) + distance > LARGEST:
        raise ValueError("too large for a plain zip archive")
    moved = bytearray(data)
    at = start
    for _ in range(count):
        fields = ENTRY.unpack_from(moved, at)
        if fields[0] != ENTRY_MAGIC:
            raise ValueError("not a plain zip archive")
        ENTRY.pack_into(moved, at, *fields[:-1], fields[-1] + distance)
        at += ENTRY.size + fields[10] + fields[11] + fields[12]
    struct.pack_into("<I", moved, len(data) - 6, start + distance)
    return bytes(moved)


def unpacked_size(data: bytes, block: int = 4096) -> int:
    """Return about how many bytes an archive's files take on a disk."""
    magic, _, _, _, count, _, at, _ = END.unpack_from(data, len(data) - END.size)
    total = 0
    for _ in range(count if magic == END_MAGIC else 0):
        fields = ENTRY.unpack_from(data, at)
        total += -(-fields[9] // block) * block
        at += ENTRY.size + fields[10] + fields[11] + fields[12]
    return total
