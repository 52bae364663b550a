"""The files that a bundle is written to: parts of no more than so many bytes, each with an end.

They are written without names, or where the file system has no such files beside where they
belong; synced; and get their names together at the end. So what is interrupted leaves nothing that
looks like a bundle, and what is killed leaves at most what the next writer sweeps up. What stands
in the groups, and what the manifest says, is for `deploy.bundle.write`.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from deploy.bundle.format import MAGIC, MOST_PARTS, Footer, MediumError
from deploy.bundle.manifest import Group
from deploy.durable import sync_folder
from store.database import DiskFullError
from store.errors import InputError, IntegrityError
from store.lock import try_lock
from store.nar import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from deploy.bundle.groups import Frame

_STEP = 64 * 1024 * 1024
"""Bytes after which the medium is asked to take what was written."""
_RANDOM = 8
"""Bytes that tell one writer's files from another's."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_ROOM = "write it where there is room for all of it, and copy it to media from there"
_UNNAMED = 64
"""Parts that are kept open, so that they need no name; what comes after them has one."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Parts:
    """The files that a bundle is written to; they get their names in the end."""

    def __init__(self, out: Path, split: int | None, room: int | None, *, force: bool) -> None:
        self._out = out
        self._split = split
        self._room = room
        self._force = force
        self._descriptor = -1
        self._guard = -1
        self._stem = f"{_prefix(out)}{os.urandom(_RANDOM).hex()}."
        self._spares: list[Path] = []
        self._unnamed: dict[int, int] = {}
        """Descriptors of parts that have no names, by number."""
        self._left = _STEP
        self._syncs: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self.groups: list[Group] = []
        self._ends: list[int] = []
        self.size = 0

    def __enter__(self) -> Self:
        check_free(self._out, numbered=self._split is not None, force=self._force)
        with _medium(self._out):
            _sweep(self._out)
            self._begin()
            self._guard = os.dup(self._descriptor)
            try_lock(self._guard)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for spare in self._spares:
            with suppress(OSError):
                spare.unlink(missing_ok=True)
        self._leave()
        for descriptor in (*self._unnamed.values(), self._guard):
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def ends(self) -> tuple[int, ...]:
        """Where the groups of each part end."""
        return tuple(self._ends)

    def add(self, frame: Frame) -> None:
        """Append a group, to the next part where this one has no room for it."""
        with _medium(self._out):
            if self._room is not None and self._ends[-1] + len(frame.data) > self._room:
                self._next()
            group = Group(len(self._ends), self._ends[-1], len(frame.data), frame.raw, frame.sha256)
            self._write(frame.data)
            self._ends[-1] += len(frame.data)
            self.groups.append(group)

    def finish(self, manifest: bytes, signatures: bytes) -> tuple[Path, ...]:
        """Write what stands behind the groups, and give the parts their names."""
        with _medium(self._out):
            self._leave()
            for number, end in enumerate(self._ends, 1):
                footer = Footer(
                    part=number,
                    parts=len(self._ends),
                    groups_end=end,
                    manifest_size=len(manifest),
                    signatures_size=len(signatures),
                    manifest_sha256=hashlib.sha256(manifest).digest(),
                )
                self._end(number, manifest + signatures + bytes(footer))
            for sync in self._syncs:
                sync.result()
            return self._name()

    def _begin(self) -> None:
        number = len(self._spares) + 1
        spare = self._out.with_name(f"{self._stem}{number}")
        self._spares.append(spare)
        if number == 1 or 1 in self._unnamed:
            unnamed = _unnamed(spare) if number <= _UNNAMED else None
            if unnamed is not None:
                self._unnamed[number] = unnamed
        self._descriptor = self._unnamed.get(number) or os.open(spare, _CREATE, 0o644)
        self._ends.append(len(MAGIC))
        self._write(MAGIC)

    def _next(self) -> None:
        if len(self._ends) == MOST_PARTS:
            raise InputError("a bundle has no more than 9999 parts", hint="larger parts: --split")
        self._leave()
        self._begin()

    def _leave(self) -> None:
        """Let go of the part that was written last; one without a name would be gone."""
        if self._descriptor >= 0 and self._descriptor not in self._unnamed.values():
            os.close(self._descriptor)
        self._descriptor = -1

    def _write(self, data: bytes) -> None:
        """Append to the part; now and then the medium is asked to take it, in another thread."""
        write_all(self._descriptor, data)
        self.size += len(data)
        self._left -= len(data)
        if self._left < 0 and (not self._syncs or self._syncs[-1].done()):
            self._left = _STEP
            self._syncs.append(self._pool.submit(_sync, os.dup(self._descriptor)))

    def _end(self, number: int, data: bytes) -> None:
        spare, descriptor = self._spares[number - 1], self._unnamed.get(number)
        if descriptor is None:
            descriptor = os.open(spare, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
            self.size += len(data)
            if self._split is not None and os.fstat(descriptor).st_size >= self._split:
                raise IntegrityError("a part became larger than it may", where=str(spare))
            if number in self._unnamed:
                _link(descriptor, spare)
        finally:
            if number not in self._unnamed:
                os.close(descriptor)

    def _name(self) -> tuple[Path, ...]:
        files = [self._out]
        if self._split is not None:
            files = [part_file(self._out, number) for number in range(1, len(self._ends) + 1)]
            for old in _numbered(self._out):
                old.unlink()  # there are such only where they may be replaced
        for spare, file in zip(self._spares, files, strict=True):
            spare.replace(file)
        sync_folder(self._out.parent)
        return tuple(files)


@contextmanager
def beside(file: Path) -> Iterator[tuple[int, Path]]:
    """Give an empty file beside one, open for writing; it is gone afterwards, unless renamed.

    What others left who were killed meanwhile is removed.

    Raises:
        DiskFullError: the medium is full.
        MediumError: it cannot be written.
    """
    with _medium(file):
        _sweep(file)
        spare = file.with_name(f"{_prefix(file)}{os.urandom(_RANDOM).hex()}.1")
        descriptor = os.open(spare, _CREATE, 0o600)
        try:
            try_lock(descriptor)
            yield descriptor, spare
        finally:
            spare.unlink(missing_ok=True)
            os.close(descriptor)


def part_file(out: Path, number: int) -> Path:
    """Return where part `number` of a bundle in parts lies."""
    return out.with_name(f"{out.name}.{number:03}")


def _numbered(out: Path) -> list[Path]:
    return [
        each
        for each in sorted(out.parent.glob(f"{glob.escape(out.name)}.*"))
        if each.suffix[1:].isdecimal()
    ]


def check_free(out: Path, *, numbered: bool, force: bool) -> None:
    """Refuse to write where something lies; for a bundle in parts, `numbered`, where one does.

    Raises:
        InputError: something does, or there is no such folder.
        MediumError: it cannot be seen.
    """
    with _medium(out):
        if not out.parent.is_dir():
            raise InputError("there is no such folder", where=str(out.parent))
        there = _numbered(out) if numbered else [out] if os.path.lexists(out) else []
        free = not there or (force and there[0].is_file())
    if out.is_dir() and not numbered:
        hint = f"name a file in it: {out / 'site.bundle'}"
        raise InputError("this is a folder", where=str(out), hint=hint)
    if not free:
        raise InputError(
            "something lies there already", where=str(there[0]), hint="another name, or --force"
        )


def _prefix(out: Path) -> str:
    return f".{out.name[:64]}."


def _sweep(out: Path) -> None:
    """Remove what writers of this bundle left who were killed.

    Who still writes holds a lock on its first part, which goes last.
    """
    prefix = _prefix(out)
    leftovers: dict[str, list[Path]] = {}
    for each in out.parent.glob(f"{glob.escape(prefix)}*.*"):
        word, _, number = each.name.removeprefix(prefix).partition(".")
        if len(word) == 2 * _RANDOM and number.isdecimal():
            leftovers.setdefault(word, []).append(each)
    for word, spares in leftovers.items():
        if not _is_locked(out.with_name(f"{prefix}{word}.1")):
            for spare in spares:
                spare.unlink(missing_ok=True)


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def _unnamed(spare: Path) -> int | None:
    """Open a file without a name, which goes with whoever writes it; None if there are none here.

    One that is empty is given the name that this one will have, and loses it again, to see that it
    can be done: FAT and network file systems have no such files, and it takes /proc.
    """
    flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
    try:
        descriptor = os.open(spare.parent, flags, 0o644)
        try:
            _link(descriptor, spare)
        finally:
            os.close(descriptor)
        spare.unlink()
        return os.open(spare.parent, flags, 0o644)
    except OSError as fault:
        if fault.errno in _FULL:
            raise
        return None


def _link(descriptor: int, file: Path) -> None:
    """Give a file without a name one (open(2), O_TMPFILE)."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a folder's descriptor, as only then it is linkat(2), which follows the link.
        os.link(f"/proc/self/fd/{descriptor}", file.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _sync(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _medium(out: Path) -> Iterator[None]:
    """Tell errors of the medium from those of the store.

    Raises:
        DiskFullError: the medium is full.
        MediumError: it cannot be written.
    """
    try:
        yield
    except OSError as fault:
        if fault.errno in _FULL:
            hint = f"{_ROOM}; parts for several: --split SIZE"
            raise DiskFullError("the medium is full", where=str(out), hint=hint) from fault
        large = fault.errno == errno.EFBIG
        raise MediumError(
            f"the bundle cannot be written: {fault.strerror or fault}",
            where=str(out),
            hint="its file system has no files so large: --split 4GiB" if large else None,
        ) from fault
