"""Writing a bundle: groups in one pass, then manifest, signatures and footer behind each part.

Parts are written beside where they belong, synced, and get their names together at the end, so
what is interrupted leaves nothing that looks like a bundle. Which files it carries was decided
before: see `deploy.bundle.base`.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from deploy.bundle.format import (
    FOOTER,
    LARGEST_GROUP,
    LARGEST_SIGNATURES,
    MAGIC,
    MOST_PARTS,
    SMALLEST_SPLIT,
    Footer,
    MediumError,
    split_signatures,
)
from deploy.bundle.groups import Difference, Files, Piece, Plan, Together, frames, plan
from deploy.bundle.manifest import Blob, BundleManifest, Group, Patch, dump
from deploy.durable import sync_folder
from store.database import DiskFullError
from store.errors import InputError, IntegrityError
from store.manifest import File, blobs
from store.nar import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from deploy.bundle.base import Delta
    from deploy.bundle.groups import Frame
    from store.local import LocalStore
    from store.path import StorePath

    Sign = Callable[[bytes], Sequence[bytes]]

_STEP = 64 * 1024 * 1024
"""Bytes after which the medium is asked to take what was written."""
_SPARE = 64 * 1024
"""Bytes that are left free in each part, lest the manifest become a little longer than thought."""
_MEBIBYTE = 1024 * 1024
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Label:
    """What a bundle says of itself: as in `BundleManifest`."""

    site: str
    number: int
    created: int
    top: StorePath
    root: str = "release"
    release: Mapping[str, str] = field(default_factory=dict)
    repairs: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: bytes of files that are written, and of all files."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that was written; `size` is that of its parts, `raw` that of the files in it.

    `stored` is the manifest as it was signed.
    """

    files: tuple[Path, ...]
    size: int
    raw: int
    manifest: BundleManifest
    stored: bytes


def write(
    store: LocalStore,
    content: Delta,
    out: Path,
    *,
    label: Label,
    sign: Sign,
    split: int | None = None,
    documents: Mapping[str, bytes] | None = None,
    trust: Mapping[str, bytes] | None = None,
    observe: Callable[[Progress], None] = lambda _: None,
    threads: int = 0,
    force: bool = False,
) -> Written:
    """Write what `content` says to `out`; with `split`, to `out.001` and so on, each smaller.

    `split` is in bytes. `sign` gets the stored manifest, and gives armoured signatures. Documents
    and trust are by the names that the manifest has for them. With `force` what lies there under
    the same name is replaced.

    Raises:
        InputError: something lies there already, or parts would be too small.
        IntegrityError: a file of the store is not what its hash says.
        DiskFullError: the medium is full.
        MediumError: it cannot be written.
        Error: what `sign` says.
    """
    draft = _Draft(store, content, label, documents or {}, trust or {})
    room = _room(draft.manifest, split)
    with store.session(), _Parts(out, split, room, force=force) as parts:
        done, total = 0, draft.manifest.raw
        for frame in frames(draft.plans, draft.files, threads=threads):
            parts.add(frame)
            done += frame.raw
            observe(Progress(done, total))
        manifest = replace(draft.manifest, parts=parts.ends, groups=tuple(parts.groups))
        stored = dump(manifest)
        files = parts.finish(stored, _sealed(sign(stored)))
    digest = hashlib.sha256(stored).hexdigest()
    return Written(files, parts.size, total, replace(manifest, digest=digest), stored)


class _Draft:
    """A bundle before it is written: its groups, and its manifest with groups of any hash."""

    def __init__(
        self,
        store: LocalStore,
        content: Delta,
        label: Label,
        documents: Mapping[str, bytes],
        trust: Mapping[str, bytes],
    ) -> None:
        extra = {_sha256(data): data for data in (*documents.values(), *trust.values()) if data}
        needed = blobs(content.manifests)
        own = [
            File(b"", len(data), sha256, executable=False)
            for sha256, data in extra.items()
            if sha256 not in needed
        ]
        files = (*content.whole.values(), *own)
        patched = {each: (needed[each], before) for each, before in content.patched.items()}
        self.files = Files(store, content.manifests, extra)
        self.plans = tuple(plan(files, patched))
        self.manifest = BundleManifest(
            site=label.site,
            number=label.number,
            created=label.created,
            store=str(store.store_dir),
            root=label.root,
            top=label.top,
            release=label.release,
            base=content.base,
            repairs=label.repairs,
            paths=content.manifests,
            parts=(),
            groups=tuple(_stand_in(number, each.raw) for number, each in enumerate(self.plans)),
            blobs=dict(_placed(self.plans)),
            patches=dict(_differing(self.plans)),
            documents={name: _sha256(data) for name, data in sorted(documents.items()) if data},
            trust={name: _sha256(data) for name, data in sorted(trust.items()) if data},
        )


def _placed(plans: Sequence[Plan]) -> Iterator[tuple[str, Blob]]:
    for number, each in enumerate(plans):
        if isinstance(each, Together):
            yield from ((file.sha256, Blob(file.size, number)) for file in each.files)
        elif isinstance(each, Piece) and each.offset == 0:
            yield each.file.sha256, Blob(each.file.size, number)


def _differing(plans: Sequence[Plan]) -> Iterator[tuple[str, Patch]]:
    for number, each in enumerate(plans):
        if isinstance(each, Difference):
            yield each.file.sha256, Patch(each.file.size, number, each.before.sha256)


def _stand_in(number: int, raw: int) -> Group:
    """Return a group that takes as much of a manifest as the real one will."""
    return Group(1, 0, LARGEST_GROUP, raw, _sha256(number.to_bytes(8, "big")))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _room(draft: BundleManifest, split: int | None) -> int | None:
    """Return how many bytes of a part are left for groups; None if that does not matter.

    Raises:
        InputError: none to speak of.
    """
    if split is None:
        return None
    behind = len(dump(replace(draft, parts=(0,)))) * 17 // 16 + LARGEST_SIGNATURES + FOOTER
    room = split - 1 - behind - _SPARE - len(MAGIC)
    if split < SMALLEST_SPLIT or room < LARGEST_GROUP:
        least = max(SMALLEST_SPLIT, split - room + LARGEST_GROUP)
        raise InputError(
            "parts so small have no room for what each of them must hold",
            expected=f"{least / _MEBIBYTE:.0f} MiB at least",
            got=f"{split / _MEBIBYTE:.0f} MiB",
            hint=f"--split {-(-least // _MEBIBYTE)}MiB",
        )
    return room


def _sealed(signatures: Sequence[bytes]) -> bytes:
    """Return signatures as they stand in a part, one after another.

    Raises:
        BadBundleError: they are none, or too many.
    """
    data = b"".join(each.rstrip(b"\n") + b"\n" for each in signatures)
    split_signatures(data)
    return data


class _Parts:
    """The files that a bundle is written to; they get their names in the end."""

    def __init__(self, out: Path, split: int | None, room: int | None, *, force: bool) -> None:
        self._out = out
        self._split = split
        self._room = room
        self._force = force
        self._descriptor = -1
        self._spares: list[Path] = []
        self._left = _STEP
        self._syncs: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self.groups: list[Group] = []
        self._ends: list[int] = []
        self.size = 0

    def __enter__(self) -> Self:
        with _medium(self._out):
            _check_free(self._out, numbered=self._split is not None, force=self._force)
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        for spare in self._spares:
            with suppress(OSError):
                spare.unlink(missing_ok=True)

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
            os.close(self._descriptor)
            self._descriptor = -1
            for number, end in enumerate(self._ends, 1):
                footer = Footer(
                    part=number,
                    parts=len(self._ends),
                    groups_end=end,
                    manifest_size=len(manifest),
                    signatures_size=len(signatures),
                    manifest_sha256=hashlib.sha256(manifest).digest(),
                )
                self._end(self._spares[number - 1], manifest + signatures + bytes(footer))
            for sync in self._syncs:
                sync.result()
            return self._name()

    def _begin(self) -> None:
        spare = self._out.with_name(f".{self._out.name[:64]}.{os.urandom(8).hex()}")
        self._spares.append(spare)
        self._descriptor = os.open(spare, _CREATE, 0o644)
        self._ends.append(len(MAGIC))
        self._write(MAGIC)

    def _next(self) -> None:
        if len(self._ends) == MOST_PARTS:
            raise InputError("a bundle has no more than 9999 parts", hint="larger parts: --split")
        os.close(self._descriptor)
        self._descriptor = -1
        self._begin()

    def _write(self, data: bytes) -> None:
        """Append to the part; now and then the medium is asked to take it, in another thread."""
        write_all(self._descriptor, data)
        self.size += len(data)
        self._left -= len(data)
        if self._left < 0 and (not self._syncs or self._syncs[-1].done()):
            self._left = _STEP
            self._syncs.append(self._pool.submit(_sync, os.dup(self._descriptor)))

    def _end(self, spare: Path, data: bytes) -> None:
        descriptor = os.open(spare, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
            self.size += len(data)
        finally:
            os.close(descriptor)
        if self._split is not None and spare.stat().st_size >= self._split:
            raise IntegrityError("a part became larger than it may", where=str(spare))

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


def part_file(out: Path, number: int) -> Path:
    """Return where part `number` of a bundle in parts lies."""
    return out.with_name(f"{out.name}.{number:03}")


def _numbered(out: Path) -> list[Path]:
    return [
        each
        for each in sorted(out.parent.glob(f"{glob.escape(out.name)}.*"))
        if (each.suffix[1:].isdecimal())
    ]


def _check_free(out: Path, *, numbered: bool, force: bool) -> None:
    """Refuse to write where something lies.

    Raises:
        InputError: something does, or there is no such folder.
    """
    if not out.parent.is_dir():
        raise InputError("there is no such folder", where=str(out.parent))
    there = _numbered(out) if numbered else [out] if os.path.lexists(out) else []
    if there and not (force and there[0].is_file()):
        raise InputError(
            "something lies there already", where=str(there[0]), hint="another name, or --force"
        )


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
            hint = "larger media, or parts for several: --split 4GiB"
            raise DiskFullError("the medium is full", where=str(out), hint=hint) from fault
        large = fault.errno == errno.EFBIG
        raise MediumError(
            f"the bundle cannot be written: {fault.strerror or fault}",
            where=str(out),
            hint="its file system has no files so large: --split 4GiB" if large else None,
        ) from fault
