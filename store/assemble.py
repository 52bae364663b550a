"""Building the tree of a manifest from shared files, and hashing it before anyone sees it.

What stands on the disk is hashed, not what was received, so neither a damaged shared file nor a
manifest that lies gets past. Putting trees in place is `store.add`'s business.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from store.add import Ready
from store.blobs import is_right
from store.errors import IntegrityError
from store.info import PathInfo
from store.manifest import Enter, File, Leave, Link, Manifest
from store.nar import hash_tree
from store.seal import EPOCH, FILE, PROGRAM, settle

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from store.blobs import Blobs
    from store.nar import NarHash
    from store.path import StorePath


class BadPathError(IntegrityError):
    """A tree that came out other than its hash says."""

    slug = "bad-path"


class Assembly:
    """Trees that are built below one folder, in a thread of their own.

    Hashing lets go of the interpreter lock, so that the next files come in meanwhile.
    """

    def __init__(self, area: Path, blobs: Blobs) -> None:
        self._area = area
        self._blobs = blobs
        self._pool = ThreadPoolExecutor(1)
        self._trees: list[Future[Ready]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def build(self, path: StorePath, manifest: Manifest) -> None:
        """Begin to build a path all of whose files are there."""
        tree = self._area / str(len(self._trees))
        self._trees.append(self._pool.submit(build, path, manifest, tree, self._blobs))

    def finish(self) -> list[Ready]:
        """Return all trees, in the order in which they were begun.

        Raises:
            BadPathError: one is not what its hash says; bad files it had are dropped.
            OSError: one could not be written.
        """
        return [tree.result() for tree in self._trees]


def build(path: StorePath, manifest: Manifest, tree: Path, blobs: Blobs) -> Ready:
    """Build one tree at `tree`, all of whose files are there, and hash what stands on the disk.

    Raises:
        BadPathError: it is not what its hash says; bad files it had are dropped.
        OSError: it could not be written.
    """
    directories: list[bytes] = []
    files: list[bytes] = []
    _lay(manifest, os.fsencode(tree), blobs, directories, files)
    found = hash_tree(tree)
    if not _same(found, manifest):
        raise _bad(path, manifest, found.sha256.hex(), blobs)
    for directory in reversed(directories[1:]):
        settle(directory)
    references = manifest.references
    info = PathInfo(path, manifest.nar_sha256, manifest.nar_size, references, time.time())
    return Ready(tree, info, (*files, *directories))


def _same(found: NarHash, manifest: Manifest) -> bool:
    return (found.sha256.hex(), found.size) == (manifest.nar_sha256, manifest.nar_size)


def _lay(
    manifest: Manifest, tree: bytes, blobs: Blobs, directories: list[bytes], files: list[bytes]
) -> None:
    """Create the nodes; names were checked, so that none leads out of the tree."""
    inside: list[bytes] = []
    for row in manifest.rows:
        match row:
            case Leave():
                inside.pop()
            case Enter(name):
                inside.append(inside[-1] + b"/" + name if inside else tree)
                os.mkdir(inside[-1], 0o755)  # noqa: PTH102 - bytes
                directories.append(inside[-1])
            case Link(name, target):
                place = inside[-1] + b"/" + name if inside else tree
                os.symlink(target, place)  # noqa: PTH211 - bytes
                os.utime(place, ns=(EPOCH, EPOCH), follow_symlinks=False)
            case File(name):
                place = inside[-1] + b"/" + name if inside else tree
                _file(row, place, blobs)
                files.append(place)


def _file(file: File, place: bytes, blobs: Blobs) -> None:
    """Give a shared file its place; an empty one is not shared, and a twin may have come."""
    if file.size == 0:
        _empty(place, PROGRAM if file.executable else FILE)
        return
    try:
        blobs.link(file, place)
    except FileNotFoundError:
        if not blobs.find(file):
            raise
        blobs.link(file, place)


def _empty(place: bytes, mode: int) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(EPOCH, EPOCH))
    finally:
        os.close(descriptor)


def _bad(path: StorePath, manifest: Manifest, got: str, blobs: Blobs) -> BadPathError:
    """Drop the files that are to blame, so that they are sent when the push is repeated."""
    dropped = 0
    for _, file in manifest.files():
        key = blobs.key(file.sha256, executable=file.executable)
        if file.size and os.path.lexists(key) and not is_right(key, file):
            blobs.drop(file)
            dropped += 1
    again = f"{dropped} damaged files were taken away here: push again; then: sealift store verify"
    return BadPathError(
        f"{path} did not become what its hash says",
        where=str(path),
        expected=manifest.nar_sha256,
        got=got,
        hint=again if dropped else "where it came from: sealift store verify",
    )
