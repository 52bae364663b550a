"""Strict reading of tar streams into a folder that nothing can leave.

Standard library alone, and one file, so that it works in the sandbox (npm's tarballs) and in
process (.debs); which archive goes where is for its callers. Python's own `tarfile` is not used:
it takes a damaged header in the middle of an archive for its end, and says nothing.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

BLOCK = 512
CHUNK = 1 << 20
MAX_HOPS = 40
"""Symbolic links that Linux follows in one path (path_resolution(7))."""

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
    """How much one archive may hold; names and sizes are in bytes."""

    members: int = 200_000
    total: int = 4 << 30
    name: int = 4096
    component: int = 255
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


def _same(path: str) -> str:
    return path


def _always(path: str) -> bool:
    return path is not None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a caller wants of an archive.

    Attributes:
        rename: gives each member its place, relative to the tree; link targets move with it.
        keep: whether a place is wanted; asked for everything but directories, which appear
            with what they hold.
        rooted: whether an absolute link target means the tree's root, as in a .deb.
        replace: whether a later member takes the place of an earlier one, as npm has it.
        empty: whether directories are made although nothing lies in them.
        special: members whose setuid, setgid and sticky bits are dropped instead of refused.
    """

    rename: Callable[[str], str] = _same
    keep: Callable[[str], bool] = _always
    rooted: bool = False
    replace: bool = False
    empty: bool = True
    special: Container[str] = frozenset()


PLAIN = Policy()
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
            flag = header[156:157]
            if flag in b"LKxg" and flag != b"\0":
                overrides |= self._extension(flag, _number(header[124:136]))
                continue
            count += 1
            if count > self._limits.members:
                raise BadArchiveError(f"more than {self._limits.members} members")
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
        if not target or "\0" in target or len(target) > self._limits.name:
            raise BadArchiveError("a link to nowhere", member=name)
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


class Tree:
    """A folder being filled by us alone; no write goes through a link, nor outside."""

    def __init__(self, root: str) -> None:
        os.mkdir(root, 0o755)  # noqa: PTH102 - stdlib script, and thousands of calls
        self.root = root
        self.kinds: dict[str, str] = {"": DIRECTORY}
        self.links: dict[str, str] = {}

    def fill(self, stream: Readable, policy: Policy = PLAIN, limits: Limits = LIMITS) -> None:
        """Lay all members of a tar stream.

        Links are judged one by one here, and all together by `check`.

        Raises:
            BadArchiveError: if anything is refused; the tree is then of no use.
        """
        tar = Tar(stream, limits)
        placed: dict[str, str] = {}
        for member in tar:
            if member.special and member.name not in policy.special:
                raise BadArchiveError("setuid, setgid or sticky", member=member.name)
            place = _place(member, policy)
            if member.kind == DIRECTORY:
                if policy.empty and place and policy.keep(place):
                    self._directory(place, member.name)
            elif policy.keep(place):
                self._lay(tar, member, place, policy, placed)
                placed[member.name] = place

    def check(self) -> list[str]:
        """List the links that lead to nothing.

        Raises:
            BadArchiveError: if a link leaves the tree, or runs in a circle.
        """
        return [name for name in sorted(self.links) if self.resolve(name) not in self.kinds]

    def resolve(self, name: str) -> str:
        """Follow every link of a path, as the kernel would with the tree as its root.

        Raises:
            BadArchiveError: if a link leaves the tree, or runs in a circle.
        """
        parts: list[str] = []
        todo = name.split("/")[::-1]
        hops = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if not parts:
                    raise BadArchiveError("a link that leaves the archive", member=name)
                parts.pop()
                continue
            if part in ("", "."):
                continue
            parts.append(part)
            if (target := self.links.get("/".join(parts))) is not None:
                hops += 1
                if hops > MAX_HOPS:
                    raise BadArchiveError("a link in a circle", member=name)
                parts.pop()
                todo.extend(target.split("/")[::-1])
        return "/".join(parts)

    def _lay(
        self, tar: Tar, member: Member, place: str, policy: Policy, placed: dict[str, str]
    ) -> None:
        self._vacate(place, member.name, policy)
        path = f"{self.root}/{place}"
        if member.kind == FILE:
            _write(path, tar.contents(), 0o755 if member.executable else 0o644)
        elif member.kind == HARDLINK:
            os.link(f"{self.root}/{self._linked(member, placed)}", path, follow_symlinks=False)
        else:
            self.links[place] = target = link_target(member, policy)
            os.symlink(target, path)  # noqa: PTH211 - as above
        self.kinds[place] = SYMLINK if member.kind == SYMLINK else FILE

    def _linked(self, member: Member, placed: dict[str, str]) -> str:
        place = placed.get(member.target)
        if place is None or self.kinds.get(place) != FILE:
            reason = f"a hard link to {member.target!r}, which is no file of the archive"
            raise BadArchiveError(reason, member=member.name)
        return place

    def _vacate(self, place: str, name: str, policy: Policy) -> None:
        self._directory(posixpath.dirname(place), name)
        kind = self.kinds.get(place)
        if kind is None:
            return
        if kind == DIRECTORY or not policy.replace:
            raise BadArchiveError("it is there already", member=name)
        os.unlink(f"{self.root}/{place}")  # noqa: PTH108 - as above
        self.links.pop(place, None)

    def _directory(self, place: str, name: str) -> None:
        kind = self.kinds.get(place)
        if kind == DIRECTORY:
            return
        if kind is not None:
            raise BadArchiveError(f"its folder {place!r} is a {kind}", member=name)
        self._directory(posixpath.dirname(place), name)
        os.mkdir(f"{self.root}/{place}", 0o755)  # noqa: PTH102 - as above
        self.kinds[place] = DIRECTORY


def clean(name: str, limits: Limits = LIMITS) -> str:
    """Give a member's name without `.` and doubled slashes.

    Raises:
        BadArchiveError: if it is absolute, climbs, or is longer than a file system takes.
    """
    if name.startswith("/"):
        raise BadArchiveError("an absolute name", member=name)
    if "\0" in name or len(name) > limits.name:
        raise BadArchiveError("a name that no file can have", member=name[:80])
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for part in parts:
        if part == "..":
            raise BadArchiveError("a name that climbs with '..'", member=name)
        if len(part.encode()) > limits.component:
            raise BadArchiveError("a name that no file can have", member=name[:80])
    return "/".join(parts)


def link_target(member: Member, policy: Policy) -> str:
    """Spell a symbolic link's target relative to where the link comes to lie.

    Raises:
        BadArchiveError: if it is absolute and may not be, or climbs out of the archive.
    """
    absolute = member.target.startswith("/")
    if absolute and not policy.rooted:
        raise BadArchiveError(f"a link to {member.target!r}", member=member.name)
    start = "" if absolute else posixpath.dirname(member.name)
    goal = posixpath.normpath(posixpath.join(start, member.target.lstrip("/")))
    if goal == ".." or goal.startswith("../"):
        raise BadArchiveError(f"a link to {member.target!r}, outside", member=member.name)
    goal = "" if goal == "." else goal
    place, moved = policy.rename(member.name), policy.rename(goal)
    if not absolute and (place, moved) == (member.name, goal):
        return member.target
    return posixpath.relpath(moved or ".", posixpath.dirname(place) or ".")


def _place(member: Member, policy: Policy) -> str:
    if not member.name:
        return ""
    place = policy.rename(member.name)
    if not place and member.kind != DIRECTORY:
        raise BadArchiveError("it has no place", member=member.name)
    return clean(place)


def _write(path: str, parts: Iterator[bytes], mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


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
