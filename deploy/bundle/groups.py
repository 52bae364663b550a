"""Making groups: which files go together, and their bytes, compressed by several threads.

Reading, hashing and compressing let go of the interpreter's lock, so threads are enough. Each has
one buffer of a group's size, and few groups are under way at once; that is all the memory there
is to it. Groups depend on nothing but the files and their order.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from deploy.bundle.format import GROUP
from store.errors import IntegrityError
from store.frames import CLOSELY, compress
from store.nar import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from zstandard import ZstdCompressor

    from store.local import LocalStore
    from store.manifest import File, Manifest

LEVEL = 3
MOST = 19
"""The level for little: what a fifth less of it saves on the medium costs no time to speak of."""
LITTLE = 16 * 1024 * 1024
"""Bytes up to which a bundle is little."""
MOST_THREADS = 8
"""Threads beyond which the medium is what all wait for; each takes some 12 MB."""
_AHEAD = 2
"""Groups that are made, or waited for, beyond those that threads work on."""


@dataclass(frozen=True, slots=True)
class Together:
    """Files of at most 4 MiB in sum."""

    files: tuple[File, ...]

    @property
    def raw(self) -> int:
        """Bytes that the group holds."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Piece:
    """`raw` bytes of a larger file, from `offset`."""

    file: File
    offset: int
    raw: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A file as what differs from an older one."""

    file: File
    before: File

    @property
    def raw(self) -> int:
        """Bytes of the file that it makes."""
        return self.file.size


Plan: TypeAlias = Together | Piece | Difference


class Frame(NamedTuple):
    """A group as it is stored; `raw` is the bytes that it holds."""

    data: bytes
    raw: int
    sha256: str


def plan(files: Iterable[File], patched: Mapping[str, tuple[File, File]]) -> Iterator[Plan]:
    """Divide files into groups in their order; `patched` has new and old file by hash."""
    waiting: list[File] = []
    size = 0
    for file in files:
        if waiting and size + file.size > GROUP:
            yield Together(tuple(waiting))
            waiting, size = [], 0
        if file.size > GROUP:
            yield from _pieces(file)
        else:
            waiting.append(file)
            size += file.size
    if waiting:
        yield Together(tuple(waiting))
    for new, before in patched.values():
        yield Difference(new, before)


def _pieces(file: File) -> Iterator[Piece]:
    for offset in range(0, file.size, GROUP):
        yield Piece(file, offset, min(GROUP, file.size - offset))


class Files:
    """The contents of files by hash: shared ones, those of a store's paths, and a few at hand."""

    def __init__(
        self, store: LocalStore, manifests: Iterable[Manifest], extra: Mapping[str, bytes]
    ) -> None:
        self._store = store
        self._links = os.fsencode(store.links_dir) + b"/"
        self._manifests = manifests
        self._extra = extra
        self._places: dict[str, bytes] | None = None
        self._lock = threading.Lock()

    def read(self, file: File, view: memoryview, offset: int = 0) -> None:
        """Fill `view` with a file's bytes from `offset`.

        Raises:
            IntegrityError: the file has fewer.
            OSError: it is not there, or cannot be read.
        """
        if file.sha256 in self._extra:
            view[:] = self._extra[file.sha256][offset : offset + len(view)]
            return
        descriptor = self._open(file)
        try:
            done = 0
            while done < len(view):
                count = os.preadv(descriptor, [view[done:]], offset + done)
                if not count:
                    raise changed(file.sha256)
                done += count
        finally:
            os.close(descriptor)

    def check(self, file: File) -> None:
        """Read a file and compare it with its hash, without keeping it.

        Raises:
            IntegrityError: it is another.
        """
        with os.fdopen(self._open(file), "rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                raise changed(file.sha256)

    def whole(self, file: File) -> bytes:
        """Return a small file, which must be what its hash says.

        Raises:
            IntegrityError: it is not.
        """
        data = bytearray(file.size)
        self.read(file, memoryview(data))
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise changed(file.sha256)
        return bytes(data)

    def _open(self, file: File) -> int:
        """Open a file under the name by which all share it; with that gone, in its path."""
        name = self._links + file.sha256.encode()
        for key in (name + b"-x", name) if file.executable else (name, name + b"-x"):
            try:
                return open_file(key)
            except FileNotFoundError:
                continue
        return open_file(self._place(file))

    def _place(self, file: File) -> bytes:
        with self._lock:
            if self._places is None:
                self._places = dict(self._find())
        try:
            return self._places[file.sha256]
        except KeyError:
            raise changed(file.sha256) from None

    def _find(self) -> Iterator[tuple[str, bytes]]:
        for manifest in self._manifests:
            path = manifest.path(str(self._store.store_dir))
            root = os.fsencode(self._store.real(path))
            for inside, file in manifest.files():
                yield file.sha256, root + b"/" + inside if inside else root


def changed(sha256: str) -> IntegrityError:
    """Return the error of a file that is not what the store says."""
    return IntegrityError(
        "a file of the store was changed",
        expected=sha256,
        hint="sealift store verify --repair",
    )


def frames(plans: Sequence[Plan], files: Files, *, threads: int = 0) -> Iterator[Frame]:
    """Yield the groups in order, made by several threads; by default as there are processors.

    Raises:
        IntegrityError: a file is not what its hash says.
        OSError: one cannot be read.
    """
    count = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
    packer = _Packer(files, little=sum(each.raw for each in plans) <= LITTLE)
    under_way = deque[Future[Frame]]()
    pool = ThreadPoolExecutor(count, thread_name_prefix="group")
    try:
        for each in plans:
            under_way.append(pool.submit(packer.pack, each))
            if len(under_way) > count + _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Packer:
    """Makes groups; each thread has a buffer and a compressor of its own."""

    def __init__(self, files: Files, *, little: bool) -> None:
        self._files = files
        self._level, self._patch_level = (MOST, MOST) if little else (LEVEL, CLOSELY)
        self._own = threading.local()

    def pack(self, plan: Plan) -> Frame:
        if isinstance(plan, Difference):
            before, after = self._files.whole(plan.before), self._files.whole(plan.file)
            data = compress(after, before, level=self._patch_level)
        else:
            view = self._buffer()[: plan.raw]
            if isinstance(plan, Together):
                self._fill(plan, view)
            else:
                self._cut(plan, view)
            data = self._compressor().compress(view)
        return Frame(data, plan.raw, hashlib.sha256(data).hexdigest())

    def _fill(self, plan: Together, view: memoryview) -> None:
        offset = 0
        for file in plan.files:
            place = view[offset : offset + file.size]
            self._files.read(file, place)
            if hashlib.sha256(place).hexdigest() != file.sha256:
                raise changed(file.sha256)
            offset += file.size

    def _cut(self, plan: Piece, view: memoryview) -> None:
        """Read a piece; with the first one, the whole file is compared with its hash."""
        if plan.offset == 0:
            self._files.check(plan.file)
        self._files.read(plan.file, view, plan.offset)

    def _buffer(self) -> memoryview:
        found: memoryview | None = getattr(self._own, "buffer", None)
        if found is None:
            found = self._own.buffer = memoryview(bytearray(GROUP))
        return found

    def _compressor(self) -> ZstdCompressor:
        found: ZstdCompressor | None = getattr(self._own, "compressor", None)
        if found is None:
            import zstandard  # noqa: PLC0415 - as in store.frames

            found = self._own.compressor = zstandard.ZstdCompressor(level=self._level)
        return found
