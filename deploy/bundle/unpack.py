"""One worker's part in taking a bundle in: groups into shared files, shared files into trees.

A group's bytes were compared with what was signed before they come here, and each file is
compared once more as it is written. Trees are read again from the disk and hashed as a whole.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from deploy.bundle.format import DamagedGroupError
from store.assemble import build
from store.blobs import BadBlobError
from store.errors import IntegrityError
from store.frames import PATCH_LIMIT, FrameError
from store.nar import open_file, write_all
from store.seal import EPOCH, FILE, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deploy.bundle.pieces import Pieces
    from deploy.bundle.quarantine import Quarantine
    from store.add import Ready
    from store.blobs import Blobs
    from store.manifest import File, Manifest
    from store.path import StorePath

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LostFileError(IntegrityError):
    """A file of the store that should be there, and is not."""

    slug = "store-damaged"


class Slice(NamedTuple):
    """One file's place in a group, in bytes of what was compressed, and the names it gets."""

    sha256: str
    offset: int
    size: int
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Fill:
    """The task to share the files of one group that are not here yet."""

    group: int


@dataclass(frozen=True, slots=True)
class Build:
    """The task to build one tree, all of whose files are here."""

    number: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The task to keep a group of a large file, other groups of which are not at hand."""

    group: int


Task = Fill | Build | Hold


@dataclass(frozen=True, slots=True)
class Filled:
    """A group whose files are shared now; `size` is what was written, in bytes."""

    group: int
    size: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A group that is not what was signed, or one of those that follow it in a large file."""

    group: int
    error: IntegrityError


@dataclass(frozen=True, slots=True)
class Built:
    """A tree that stands and is right; `size` is that of its NAR, in bytes."""

    number: int
    ready: Ready


Result = Filled | Damaged | Built


@dataclass(frozen=True, slots=True)
class Work:
    """All that a worker needs to know: what each group holds of use, and which trees there are.

    `patched` says of groups that hold a difference which file, by its SHA-256, it differs from.
    """

    pieces: Pieces
    quarantine: Quarantine
    blobs: Blobs
    area: Path
    slices: Mapping[int, tuple[Slice, ...]]
    patched: Mapping[int, str]
    trees: Sequence[tuple[StorePath, Manifest]]

    def do(self, task: Task) -> Result:
        """Do one task.

        Raises:
            Error: nothing can be done about it here.
        """
        if isinstance(task, Build):
            path, manifest = self.trees[task.number]
            ready = build(path, manifest, self.area / str(task.number), self.blobs)
            return Built(task.number, replace(ready, nodes=()))
        try:
            if isinstance(task, Hold):
                self.quarantine.keep(task.group, self.pieces.stored(task.group))
                return Filled(task.group, 0)
            return Filled(task.group, self._fill(task.group))
        except (DamagedGroupError, FrameError, BadBlobError) as error:
            return Damaged(task.group, error)

    def _fill(self, group: int) -> int:
        slices = self.slices[group]
        if group in self.patched:
            before = self._before(self.patched[group])
            return self._share(slices[0], self.pieces.patched(group, before))
        data = self.pieces.contents(group)
        if len(data) < slices[0].size:
            return self._large(slices[0], _Following(self.pieces, group, data))
        view = memoryview(data)
        return sum(
            self._share(each, view[each.offset : each.offset + each.size]) for each in slices
        )

    def _before(self, sha256: str) -> bytes:
        """Return a file of the store that another one differs from.

        Raises:
            LostFileError: it is not there, or not what it should be.
        """
        for executable in (False, True):
            with suppress(FileNotFoundError):
                descriptor = open_file(self.blobs.key(sha256, executable=executable))
                with os.fdopen(descriptor, "rb") as stream:
                    data = stream.read(PATCH_LIMIT + 1)
                if hashlib.sha256(data).hexdigest() == sha256:
                    return data
        raise LostFileError(
            "a file that the bundle builds on is damaged or gone",
            where=sha256,
            hint="sealift store verify; then a new receipt: sealift receipt -o FILE",
        )

    def _large(self, one: Slice, stream: _Following) -> int:
        """Share a file that takes several groups, and maybe does not fit into memory."""
        self.blobs.add(one.files[0], stream)
        for file in one.files[1:]:
            self.blobs.find(file)
        return one.size * len(one.files)

    def _share(self, one: Slice, data: memoryview | bytes) -> int:
        if hashlib.sha256(data).hexdigest() != one.sha256:
            raise BadBlobError("a file is not what its hash says", where=one.sha256)
        for file in one.files:
            self._write(file, data)
        return one.size * len(one.files)

    def _write(self, file: File, data: memoryview | bytes) -> None:
        """Make a shared file under its own name: nobody believes it before it has a second one.

        That saves a rename and a change of mode for each file, of which there are many; so a
        worker must have the mask that takes nothing from modes.
        """
        key = self.blobs.key(file.sha256, executable=file.executable)
        try:
            descriptor = os.open(key, _CREATE, PROGRAM if file.executable else FILE)
        except FileExistsError:  # somebody pushes the same files to this very store
            self.blobs.add(file, io.BytesIO(data))
            return
        try:
            write_all(descriptor, data)
            os.utime(descriptor, ns=(EPOCH, EPOCH))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(key)  # noqa: PTH108 - bytes
            raise
        finally:
            os.close(descriptor)


class _Following:
    """A group and those behind it as something to read from."""

    __slots__ = ("_data", "_group", "_pieces")

    def __init__(self, pieces: Pieces, group: int, data: bytes) -> None:
        self._pieces = pieces
        self._group = group
        self._data = memoryview(data)

    def read(self, size: int, /) -> bytes:
        if not self._data:
            self._group += 1
            self._data = memoryview(self._pieces.contents(self._group))
        taken, self._data = self._data[:size], self._data[size:]
        return bytes(taken)
