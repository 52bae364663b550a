"""Strict reading of tar streams: what is damaged, cut short or could do harm is refused by name.

Standard library alone, and one file, so that it works in the sandbox (npm's tarballs) and in
process (.debs); laying the members out is for its callers. Python's own `tarfile` is not used: it
takes a damaged header in the middle of an archive for its end, and says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
CHUNK = 1 << 20

FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symlink"
HARDLINK = "hardlink"

_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": DIRECTORY, b"2": SYMLINK, b"1": HARDLINK}
_REFUSED = {
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"M": "a piece of a multi-volume archive",
}
_ZEROS = bytes(BLOCK)


class BadArchiveError(Exception):
    """An archive that must not be unpacked; `member` is the one at fault, where it is one."""

    def __init__(self, reason: str, *, member: str | None = None) -> None:
        super().__init__(reason if member is None else f"{member!r}: {reason}")
        self.reason = reason
        self.member = member


class Readable(Protocol):
    """A stream of bytes; `read` gives fewer only at its end."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one archive may hold; `total`, and lengths of names, are in bytes.

    With the headers that describe them, members count double.
    """

    members: int = 200_000
    total: int = 4 << 30
    name: int = 1024
    component: int = 255
    depth: int = 100
    header: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a tar stream; `name` is relative, without `.` and `..`, empty for the root."""

    name: str
    kind: str
    size: int = 0
    executable: bool = False
    special: bool = False
    """Whether setuid, setgid or the sticky bit was set."""
    target: str = ""
    """Of a link, as it was written."""


LIMITS = Limits()


class Tar:
    """The members of one tar stream, in order; `contents` gives the bytes of the current one.

    ustar, GNU long names and pax headers are read; whatever else is refused.
    """

    def __init__(self, stream: Readable, limits: Limits = LIMITS) -> None:
        self._stream = stream
        self._limits = limits
        self._left = 0
        self._padding = 0
        self._total = 0

    def __iter__(self) -> Iterator[Member]:
        """Read member after member.

        Raises:
            BadArchiveError: at the first one that is damaged, cut short or refused.
        """
        count = 0
        overrides: dict[str, str] = {}
        while (header := self._header()) is not None:
            count += 1
            if count > 2 * self._limits.members:
                raise BadArchiveError(f"more than {self._limits.members} members")
            flag = header[156:157]
            if flag in b"LKxg":
                overrides |= self._extension(flag, _number(header[124:136]))
                continue
            member = self._member(header, overrides)
            overrides = {}
            self._open(member)
            yield member
            self._skip()
        if overrides:
            raise BadArchiveError("the archive ends after a header that describes a next member")
        self._end()

    def contents(self) -> Iterator[bytes]:
        """Read the bytes of the current member, once."""
        while self._left:
            part = self._read(min(self._left, CHUNK))
            self._left -= len(part)
            yield part

    def _header(self) -> bytes | None:
        header = self._read(BLOCK)
        if header == _ZEROS:
            return None
        if _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise BadArchiveError("a header's checksum is wrong")
        return header

    def _extension(self, flag: bytes, size: int) -> dict[str, str]:
        if size > self._limits.header:
            raise BadArchiveError(f"a header of {size} bytes")
        data = self._read(size)
        self._read(-size % BLOCK)
        if flag == b"L":
            return {"path": _text(data.rstrip(b"\0"))}
        if flag == b"K":
            return {"linkpath": _text(data.rstrip(b"\0"))}
        records = _records(data)
        if flag == b"g":
            if records.keys() & {"path", "linkpath", "size"}:
                raise BadArchiveError("a global header that names every member")
            return {}
        if any(key.startswith("GNU.sparse") for key in records):
            raise BadArchiveError("a sparse file", member=records.get("path"))
        return records

    def _member(self, header: bytes, overrides: dict[str, str]) -> Member:
        raw = overrides.get("path") or _ustar_name(header)
        flag = header[156:157]
        kind = _KINDS.get(flag)
        if kind is None:
            reason = _REFUSED.get(flag, f"an entry of unknown type {flag!r}")
            raise BadArchiveError(reason, member=raw)
        if kind == FILE and raw.endswith("/"):
            kind = DIRECTORY
        mode = _number(header[100:108])
        return Member(
            name=clean(raw, self._limits),
            kind=kind,
            size=_decimal(overrides["size"]) if "size" in overrides else _number(header[124:136]),
            executable=bool(mode & 0o100),
            special=bool(mode & 0o7000),
            target=self._target(raw, kind, overrides.get("linkpath") or _field(header[157:257])),
        )

    def _target(self, name: str, kind: str, target: str) -> str:
        if kind not in (SYMLINK, HARDLINK):
            return ""
        if not target or "\0" in target or len(target.encode()) > self._limits.name:
            raise BadArchiveError("a link to nowhere", member=name[:80])
        return clean(target, self._limits) if kind == HARDLINK else target

    def _open(self, member: Member) -> None:
        if member.kind != FILE and member.size:
            raise BadArchiveError(f"a {member.kind} with contents", member=member.name)
        if not member.name and member.kind != DIRECTORY:
            raise BadArchiveError(f"a {member.kind} in the place of the root", member=".")
        self._total += member.size
        if self._total > self._limits.total:
            limit = self._limits.total
            raise BadArchiveError(f"more than {limit} bytes in all", member=member.name)
        self._left = member.size
        self._padding = -member.size % BLOCK

    def _skip(self) -> None:
        for _ in self.contents():
            pass
        self._read(self._padding)
        self._padding = 0

    def _end(self) -> None:
        left = self._limits.header
        while block := self._stream.read(BLOCK):
            left -= len(block)
            if left < 0 or block.count(0) != len(block):
                raise BadArchiveError("there is more after the end of the archive")

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise BadArchiveError("the archive is cut short")
        return data


def clean(name: str, limits: Limits = LIMITS) -> str:
    """Give a member's name without `.` and doubled slashes.

    Raises:
        BadArchiveError: if it is absolute, climbs, or is longer than a file system takes.
    """
    if name.startswith("/"):
        raise BadArchiveError("an absolute name", member=name)
    if "\0" in name or len(name.encode()) > limits.name:
        raise BadArchiveError("a name that no file can have", member=name[:80])
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if len(parts) > limits.depth:
        raise BadArchiveError("a name that no file can have", member=name[:80])
    for part in parts:
        if part == "..":
            raise BadArchiveError("a name that climbs with '..'", member=name)
        if len(part.encode()) > limits.component:
            raise BadArchiveError("a name that no file can have", member=name[:80])
    return "/".join(parts)


def _number(field: bytes) -> int:
    """Read an octal field, or GNU's base-256 form of a large one."""
    if field[0] == 0x80:  # noqa: PLR2004 - the marker of base 256
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b" \0").lstrip(b" ")
    if digits.strip(b"01234567"):
        raise BadArchiveError(f"a field that is no number: {field!r}")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:  # noqa: PLR2004 - 64 bits
        raise BadArchiveError(f"a size that is no number: {text[:40]!r}")
    return int(text)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadArchiveError(f"a name that is not UTF-8: {data[:80]!r}") from None


def _field(data: bytes) -> str:
    return _text(data.partition(b"\0")[0])


def _ustar_name(header: bytes) -> str:
    name = _field(header[:100])
    # GNU's own magic, "ustar  \0", has other things where POSIX has the prefix.
    prefix = _field(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _records(data: bytes) -> dict[str, str]:
    r"""Read pax records, `<length> <key>=<value>\n`, the length counting the whole record."""
    records = {}
    while data:
        digits, space, _ = data[:20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not (space and equals) or len(data) < length or not record.endswith(b"\n"):
            raise BadArchiveError("a damaged pax header")
        # Values of keys that we do not read (extended attributes) may be any bytes.
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse"):
            records[key.decode()] = _text(value[:-1])
        data = data[length:]
    return records
