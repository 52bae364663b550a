"""Manifests: what a store path consists of, by the hashes of its files.

Enough to build the tree from shared files, and small enough to be sent for every path that is
missing. A manifest is as strict as a NAR: entries in order, no name that leads out, and sizes
that add up to the NAR's. Who has which file is not its business.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from store import nar
from store.errors import InputError, IntegrityError
from store.hashes import SHA256
from store.nar import DEFAULT, Limits
from store.path import StorePath, fixed_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from store.info import PathInfo

_SHARED = re.compile(rb"[0-9a-f]{64}(-x)?")
_DIGITS = 64
_VARYING = re.compile(rb"[-._][0-9A-Za-z_-]{8,}(?=\.)")
EMPTY = hashlib.sha256().hexdigest()


class BadManifestError(IntegrityError):
    """A list of files that no store path can have."""

    slug = "bad-manifest"


class File(NamedTuple):
    """A regular file; `size` in bytes, `sha256` of its contents in base 16."""

    name: bytes
    size: int
    sha256: str
    executable: bool


class Link(NamedTuple):
    """A symbolic link."""

    name: bytes
    target: bytes


class Enter(NamedTuple):
    """The start of a directory."""

    name: bytes


class Leave(NamedTuple):
    """The end of the innermost directory."""


Row: TypeAlias = File | Link | Enter | Leave
LEAVE = Leave()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a path is, and its nodes as they stand in its NAR; the outermost has no name."""

    name: str
    nar_sha256: str
    nar_size: int
    references: tuple[StorePath, ...]
    rows: tuple[Row, ...]

    def path(self, store_dir: str) -> StorePath:
        """Compute the store path that all this makes in a store at `store_dir`.

        Raises:
            InputError: the name is not legal.
        """
        return fixed_path(
            store_dir=store_dir,
            name=self.name,
            nar_sha256=bytes.fromhex(self.nar_sha256),
            references=self.references,
        )

    def __str__(self) -> str:
        return json.dumps(self.to_data(), separators=(",", ":"))

    def to_data(self) -> list[Any]:
        """Return what `from_data` reads, for JSON that holds more than this."""
        references = [str(each) for each in self.references]
        rows = [_to_json(row) for row in self.rows]
        return [self.name, self.nar_sha256, self.nar_size, references, rows]

    def files(self) -> Iterator[tuple[bytes, File]]:
        """Yield the regular files with their paths relative to the root."""
        folders: list[bytes] = []
        for row in self.rows:
            match row:
                case Enter(name):
                    folders.append(name)
                case Leave():
                    folders.pop()
                case File(name):
                    yield b"/".join([*folders[1:], name]), row
                case Link():
                    pass


class Shared:
    """The hashes of shared files by inode: no file need be read for its hash to be known.

    Inodes are looked up without a look at each file, so what is found is compared: where layers
    of file systems lie over each other, a folder may tell other numbers than its files do.
    """

    __slots__ = ("_keys", "_links")

    def __init__(self, links: Path) -> None:
        self._links = os.fsencode(links) + b"/"
        self._keys: dict[int, bytes] = {}
        with os.scandir(self._links) as entries:
            for entry in entries:
                if _SHARED.fullmatch(entry.name):
                    self._keys[entry.inode()] = entry.name

    def digest(self, place: bytes, status: os.stat_result) -> str:
        """Return the SHA-256 of a regular file, which is read if it is not shared."""
        if status.st_size == 0:
            return EMPTY
        key = self._keys.get(status.st_ino)
        if key is not None and os.path.samestat(os.lstat(self._links + key), status):
            return key[:_DIGITS].decode()
        with open(place, "rb") as file:  # noqa: PTH123 - bytes
            return hashlib.file_digest(file, "sha256").hexdigest()


def describe(info: PathInfo, root: Path, shared: Shared) -> Manifest:
    """Read the manifest of a path that lies at `root`; files that are not shared are hashed."""
    place = os.fsencode(root)
    rows = tuple(_rows(place, b"", os.lstat(place), shared))
    return Manifest(info.path.name, info.nar_sha256, info.nar_size, info.references, rows)


def _rows(place: bytes, name: bytes, status: os.stat_result, shared: Shared) -> Iterator[Row]:
    """Yield the node at `place` and what is in it; a store path is never deep enough to hurt."""
    if stat.S_ISLNK(status.st_mode):
        yield Link(name, os.readlink(place))  # noqa: PTH115 - bytes
    elif stat.S_ISDIR(status.st_mode):
        yield Enter(name)
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=attrgetter("name")):
                found = entry.stat(follow_symlinks=False)
                yield from _rows(entry.path, entry.name, found, shared)
        yield LEAVE
    else:
        executable = bool(status.st_mode & stat.S_IXUSR)
        yield File(name, status.st_size, shared.digest(place, status), executable)


def parse(text: str, limits: Limits = DEFAULT) -> Manifest:
    """Read what `str` wrote, as strictly as a NAR is read.

    Raises:
        BadManifestError: a value is of another kind, a name leads out, entries stand out of
            order or twice, a limit is exceeded, or the sizes do not add up to the NAR's.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadManifestError(f"not a list of a path's files: {error}") from error
    return from_data(data, limits)


def from_data(data: object, limits: Limits = DEFAULT) -> Manifest:
    """Make a manifest of what JSON says, as strictly as `parse` does.

    Raises:
        BadManifestError: as `parse`.
    """
    try:
        name, nar_sha256, nar_size, references, rows = cast("list[Any]", data)
        manifest = Manifest(
            name,
            nar_sha256,
            nar_size,
            tuple(StorePath.parse(each) for each in references),
            tuple(_from_json(row) for row in rows),
        )
    except (ValueError, TypeError, AttributeError, InputError, RecursionError) as error:
        raise BadManifestError(f"not a list of a path's files: {error}") from error
    _check(manifest, limits)
    return manifest


def _to_json(row: Row) -> list[Any]:
    match row:
        case File(name, size, sha256, executable):
            return [os.fsdecode(name), size, sha256, *([1] if executable else [])]
        case Link(name, target):
            return [os.fsdecode(name), os.fsdecode(target)]
        case Enter(name):
            return [os.fsdecode(name)]
        case Leave():
            return []


def _from_json(row: object) -> Row:
    """Make a row of what JSON says; files come first: nearly all are, and patterns take longer."""
    if isinstance(row, list) and len(row) in _FILE_VALUES:
        name, size, sha256, *program = row
        if type(name) is type(sha256) is str and type(size) is int and program in ([], [1]):
            return File(_name(name), size, sha256, executable=bool(program))
    match row:
        case [str(name), str(target)]:
            return Link(_name(name), _name(target))
        case [str(name)]:
            return Enter(_name(name))
        case []:
            return LEAVE
    raise ValueError(f"{row!r} is no file, link or directory")


def _name(text: str) -> bytes:
    return text.encode() if text.isascii() else os.fsencode(text)


def _check(manifest: Manifest, limits: Limits) -> None:
    in_order = list(manifest.references) == sorted(set(manifest.references))
    known = isinstance(manifest.nar_size, int) and isinstance(manifest.name, str)
    if not (known and in_order and _is_sha256(manifest.nar_sha256)):
        raise BadManifestError("the description of a path contradicts itself")
    check = _Check(limits)
    for row in manifest.rows:
        check.row(row)
    check.finish(manifest)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


class _Check:
    """One pass over rows: the open directories' last names, outermost first, and the size.

    There are many rows, so what is said of a bad one is spelled only once it is found.
    """

    __slots__ = ("_count", "_length", "_limits", "_open", "_roots", "_size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: list[bytes] = []
        self._roots = 0
        self._count = 0
        self._length = 0
        self._size = len(nar.MAGIC)

    def row(self, row: Row) -> None:
        if isinstance(row, Leave):
            self._leave()
            return
        self._name(row.name)
        if isinstance(row, File):
            self._file(row)
        elif isinstance(row, Enter):
            self._enter(row.name)
        else:
            self._link(row.target)

    def finish(self, manifest: Manifest) -> None:
        if self._open or self._roots != 1:
            raise _bad("it is not one whole tree")
        if self._size != manifest.nar_size:
            raise _bad("the sizes do not add up to the NAR's")

    def _file(self, row: File) -> None:
        _, size, sha256, executable = row
        if not 0 <= size <= self._limits.size:
            raise _bad(f"a file of {size} bytes")
        if not SHA256.fullmatch(sha256):
            raise _bad(f"{sha256!r} is no hash")
        if (size == 0) != (sha256 == EMPTY):
            raise _bad("an empty file that is not empty")
        self._size += (_PROGRAM if executable else _FILE) + size + -size % 8

    def _link(self, target: bytes) -> None:
        if not 0 < len(target) <= self._limits.target or b"\x00" in target:
            raise _bad(f"a link to {target!r}")
        self._size += _LINK + len(target) + -len(target) % 8

    def _enter(self, name: bytes) -> None:
        if len(self._open) >= self._limits.depth:
            raise _bad("directories too deep")
        self._length += len(name) + 1
        self._size += _DIRECTORY
        self._open.append(b"")

    def _leave(self) -> None:
        if not self._open:
            raise _bad("a directory ends that never began")
        self._open.pop()
        if self._open:
            self._length -= len(self._open[-1]) + 1

    def _name(self, name: bytes) -> None:
        if not self._open:
            self._roots += 1
            if name or self._roots > 1:
                raise _bad("more than one root")
            return
        size = len(name)
        if name in _NO_NAMES or b"/" in name or b"\x00" in name or size > self._limits.name:
            raise _bad(f"{name!r} cannot be a file's name")
        if name <= self._open[-1]:
            raise _bad(f"{name!r} stands out of order, or twice")
        self._open[-1] = name
        self._count += 1
        if self._count > self._limits.entries:
            raise _bad("too many entries")
        if self._length + size > self._limits.path:
            raise _bad("the path is too long")
        self._size += _ENTRY + size + -size % 8


def _bad(reason: str) -> BadManifestError:
    return BadManifestError(f"bad list of files: {reason}")


_FILE_VALUES = (3, 4)
_NO_NAMES = frozenset({b"", b".", b".."})

# Bytes of a NAR that frame a node, or an entry, without its name, target or contents.
_WORD = len(nar.word(b""))
_FILE = len(nar.REGULAR) + len(nar.CONTENTS) + _WORD + len(nar.CLOSE)
_PROGRAM = _FILE + len(nar.EXECUTABLE)
_LINK = len(nar.SYMLINK) + _WORD + len(nar.CLOSE)
_DIRECTORY = len(nar.DIRECTORY) + len(nar.CLOSE)
_ENTRY = len(nar.ENTRY) + _WORD + len(nar.ENTRY_NODE) + len(nar.CLOSE)


def blobs(manifests: Iterable[Manifest]) -> dict[str, File]:
    """Return each distinct file that is not empty, by hash, in order.

    Raises:
        BadManifestError: one hash with two sizes.
    """
    found: dict[str, File] = {}
    for manifest in manifests:
        for row in manifest.rows:
            if not isinstance(row, File) or row.size == 0:
                continue
            if found.setdefault(row.sha256, row).size != row.size:
                raise BadManifestError("one hash with two sizes", where=row.sha256)
    return found


def forerunners(new: Sequence[Manifest], old: Sequence[Manifest]) -> dict[str, File]:
    """Return, by hash, the older file that each new one probably came from.

    It is the one of the same path's name and the same place in it, where digests in file names,
    as bundlers of frontends put them there, do not count. Sender and receiver come to the same.
    """
    known: dict[tuple[str, bytes], File] = {}
    for manifest in old:
        for place, file in manifest.files():
            known.setdefault((manifest.name, _stem(place)), file)
    found: dict[str, File] = {}
    for manifest in new:
        for place, file in manifest.files():
            before = known.get((manifest.name, _stem(place)))
            if before is not None and before.size and file.size and before.sha256 != file.sha256:
                found.setdefault(file.sha256, before)
    return found


def _stem(place: bytes) -> bytes:
    return _VARYING.sub(b"", place)
