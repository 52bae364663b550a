"""What a store lacks of a bundle: which paths, which files, and so which groups are to be read.

An interrupted `receive` is finished in this way, with no state of its own: shared files that
arrived before are found where they lie, read once more as nobody vouches for them, and their
groups are left alone. Nothing here writes but what takes damaged files away.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.bundle.base import require
from deploy.bundle.unpack import Slice
from deploy.errors import ClosureIncompleteError
from store import manifest as lists
from store.amounts import counted, megabytes
from store.blobs import Blobs
from store.database import DiskFullError
from store.errors import InputError
from store.manifest import Enter, File, Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from deploy.bundle.manifest import BundleManifest
    from store.local import LocalStore
    from store.manifest import Manifest
    from store.path import StorePath

SPARE = 32 * 1024 * 1024
"""Bytes of the file system that are left free."""
ROOT = "received-"
"""What the roots begin with that keep what came, so that the next delta finds what it builds on."""

_INODES = 64
"""Inodes that are left."""
_DIGITS = 64


class OtherStoreError(InputError):
    """A bundle whose paths were made for a store that lies elsewhere."""

    slug = "bundle-other-store"


@dataclass(frozen=True, slots=True)
class Lacking:
    """What has to be done to have all of a bundle.

    Attributes:
        trees: paths that are not valid, references before referrers, with what they consist of.
        slices: by group that must be read, the files in it that are not here.
        needed: by place in `trees`, the groups that it waits for.
        patched: by group that is a difference, the SHA-256 of the file that it differs from.
        size: bytes of files that will be written.
    """

    trees: tuple[tuple[StorePath, Manifest], ...]
    slices: Mapping[int, tuple[Slice, ...]]
    needed: tuple[frozenset[int], ...]
    patched: Mapping[int, str]
    size: int

    @property
    def files(self) -> int:
        """How many files will be written."""
        return sum(len(each.files) for slices in self.slices.values() for each in slices)


def lacking(store: LocalStore, manifest: BundleManifest, extra: Iterable[str] = ()) -> Lacking:
    """Compare a bundle with a store; `extra` are hashes of files that no path needs.

    Raises:
        OtherStoreError: the paths are those of a store at another place.
        BaseMissingError: it builds on paths that are not here.
        ClosureIncompleteError: a path consists of a file that is nowhere.
    """
    _check_place(store, manifest)
    if manifest.base is not None:
        require(manifest.base, store)
    paths = manifest.store_paths()
    known = store.valid(paths) - store.damaged
    listed = zip(paths, manifest.paths, strict=True)
    trees = tuple((path, each) for path, each in listed if path not in known)
    wanted = _missing(store, _variants(trees, manifest, extra))
    homes = {sha256: blob.group for sha256, blob in manifest.blobs.items()}
    homes |= {sha256: patch.group for sha256, patch in manifest.patches.items()}
    _check_homes(wanted, homes)
    waits = tuple(frozenset(_groups(each, wanted, homes)) for _, each in trees)
    patched = {of.group: of.base for each, of in manifest.patches.items() if each in wanted}
    size = sum(file.size for files in wanted.values() for file in files)
    return Lacking(trees, _slices(manifest, wanted), waits, patched, size)


def check_room(store: LocalStore, todo: Lacking) -> None:
    """Refuse what will not fit, before anything is written.

    Raises:
        DiskFullError: bytes or inodes do not suffice.
    """
    status = os.statvfs(store.store_dir)
    own = sum(isinstance(row, Enter | Link) for _, manifest in todo.trees for row in manifest.rows)
    nodes = todo.files + own + _INODES
    size = todo.size + nodes * status.f_frsize + SPARE
    free = status.f_bavail * status.f_frsize
    if size > free or (status.f_files and nodes > status.f_favail):
        raise DiskFullError(
            "the disk has no room for the bundle",
            where=str(store.store_dir),
            expected=f"{megabytes(size)} and {nodes} inodes",
            got=f"{megabytes(free)} and {status.f_favail} inodes",
            hint=_cure(store),
        )


def _cure(store: LocalStore) -> str:
    """Say what frees room here: the collector alone lets no received release go."""
    first = "sealift gc removes what nothing needs, also of bundles that are not received yet"
    folder = store.var_dir / "gcroots"
    words = (each.name.removeprefix(ROOT) for each in folder.glob(f"{ROOT}*"))
    kept = sorted(int(word) for word in words if word.isdecimal())[:-1]
    if not kept:
        return first
    links = " ".join(shlex.quote(str(folder / f"{ROOT}{number}")) for number in kept)
    return (
        f"{first}. Releases that came before stay for deltas; to let them go: rm {links}; then "
        "sealift gc, and take a new receipt to the builder"
    )


def _check_place(store: LocalStore, manifest: BundleManifest) -> None:
    if manifest.store != str(store.store_dir):
        raise OtherStoreError(
            "the bundle was made for a store in another folder",
            where=str(store.store_dir),
            expected=manifest.store,
            hint="store_dir is one setting, the same for builder and site",
        )


def _variants(
    trees: Sequence[tuple[StorePath, Manifest]], manifest: BundleManifest, extra: Iterable[str]
) -> dict[str, dict[bool, File]]:
    """Return each distinct file that is not empty, by hash and by whether it is a program."""
    found: dict[str, dict[bool, File]] = {}
    for _, listed in trees:
        for row in listed.rows:
            if isinstance(row, File) and row.size:
                found.setdefault(row.sha256, {}).setdefault(row.executable, row)
    for sha256 in extra:
        file = File(b"", _size(manifest, sha256), sha256, executable=False)
        found.setdefault(sha256, {}).setdefault(False, file)
    return found


def _size(manifest: BundleManifest, sha256: str) -> int:
    """Return the bytes of a file that is told of, be it carried whole, in part, or not at all."""
    carried = manifest.blobs.get(sha256) or manifest.patches.get(sha256)
    return lists.blobs(manifest.paths)[sha256].size if carried is None else carried.size


def _missing(
    store: LocalStore, files: Mapping[str, dict[bool, File]]
) -> dict[str, tuple[File, ...]]:
    """Return what is not here; one listing tells of nearly all, and only the rest is read."""
    links = os.fsencode(store.links_dir)
    there = {name[:_DIGITS].decode("ascii", "replace") for name in os.listdir(links)}  # noqa: PTH208
    blobs = Blobs(store.links_dir)
    found = {}
    for sha256, both in files.items():
        lost = tuple(file for file in both.values() if sha256 not in there or not blobs.find(file))
        if lost:
            found[sha256] = lost
    return found


def _check_homes(wanted: Iterable[str], homes: Mapping[str, int]) -> None:
    """See that each file that is not here comes with the bundle."""
    lost = [sha256 for sha256 in wanted if sha256 not in homes]
    if lost:
        raise ClosureIncompleteError(
            f"neither the store nor the bundle has {counted(len(lost), 'file')} of it",
            expected=lost[0],
            hint="is what is here in order? sealift store verify; then a new receipt",
        )


def _slices(
    manifest: BundleManifest, wanted: Mapping[str, tuple[File, ...]]
) -> dict[int, tuple[Slice, ...]]:
    """Say by group which of the files that begin in it are wanted."""
    found = {
        group: tuple(
            Slice(slot.sha256, slot.offset, slot.size, wanted[slot.sha256])
            for slot in slots
            if slot.sha256 in wanted
        )
        for group, slots in manifest.layout().items()
    }
    return {group: slices for group, slices in found.items() if slices}


def _groups(
    manifest: Manifest, wanted: Mapping[str, tuple[File, ...]], homes: Mapping[str, int]
) -> Iterator[int]:
    """Yield the groups that a tree waits for."""
    for row in manifest.rows:
        if isinstance(row, File) and row.sha256 in wanted:
            yield homes[row.sha256]
