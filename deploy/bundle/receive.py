"""Receiving: what lies on a medium becomes paths of the store, all of them or none.

The bundle was verified before it comes here. Its files go into `.links` one by one, so that what
came stays when it is interrupted; trees are built in a temporary and hashed as a whole; put in
place and registered is everything together, at the end and once it is on the disk. Who may send
what is for `deploy.bundle.numbers` and `deploy.signing` to say.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from deploy.bundle import numbers
from deploy.bundle.crew import Crew, hands
from deploy.bundle.pieces import Pieces, missing, span
from deploy.bundle.quarantine import Quarantine
from deploy.bundle.resume import ROOT, check_room, lacking
from deploy.bundle.unpack import Build, Built, Damaged, Fill, Filled, Hold, Work
from store.add import put
from store.ahead import Ahead
from store.amounts import counted
from store.blobs import Blobs
from store.errors import IntegrityError
from store.lock import hold
from store.nar import open_file
from store.sync import sync_filesystem
from store.temporary import disk
from store.wire import UnwritableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from deploy.bundle.read import Bundle
    from deploy.bundle.resume import Lacking
    from deploy.bundle.unpack import Result, Task
    from store.add import Ready
    from store.local import LocalStore
    from store.path import StorePath

WAIT = 60.0
"""Seconds to wait for another `receive`; one that was killed leaves workers that end soon."""
KEPT = 3
"""Bundles whose releases stay, so that the next delta finds what it builds on."""
FEW = 4
"""Up to so many tasks are done by one worker."""


class DamagedBundleError(IntegrityError):
    """A bundle of which groups are not what was signed; no path was registered."""

    slug = "bundle-damaged"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, in bytes of files."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Received:
    """What came: paths that are valid now and were not, files, their bytes, and how long it took.

    `documents` are the files that tell of the release, `trust` those with the builder's keys.
    """

    paths: tuple[StorePath, ...]
    files: int
    size: int
    seconds: float
    documents: Mapping[str, bytes]
    trust: Mapping[str, bytes]


def receive(store: LocalStore, bundle: Bundle, observe: Callable[[Progress], None]) -> Received:
    """Take a bundle in, and go on where an earlier call was interrupted; to be called `alone`.

    Raises:
        PartMissingError: parts are not at hand; what came is kept, and nothing registered.
        DamagedBundleError: groups are damaged; the others are kept, and nothing registered.
        MediumError: the medium does not give what is on it.
        BaseMissingError: it builds on what is not here.
        DiskFullError: there is no room.
        BadPathError: a path did not become what its hash says.
    """
    began = time.monotonic()
    with store.temporary() as area:
        return _Receiver(store, bundle, area, observe).run(began)


@contextmanager
def alone(store: LocalStore) -> Iterator[None]:
    """Keep others who receive out, and the collector; say what the disk refuses.

    What is decided and written down of a bundle belongs into the same block: else one that is
    older could become the release after a newer one. Workers inherit both locks, so who comes
    after one that was killed waits for its workers.

    Raises:
        LockedError: somebody else receives, and goes on for long.
        UnwritableError: the disk refuses something.
    """
    lock = store.var_dir / "locks" / numbers.FOLDER
    try:
        with hold(lock, wait=WAIT), store.session(), disk():
            yield
    except OSError as error:
        where = error.filename and os.fsdecode(error.filename)
        raise UnwritableError(f"cannot receive: {error.strerror}", where=where) from error


class _Receiver:
    """The state of one call."""

    def __init__(
        self,
        store: LocalStore,
        bundle: Bundle,
        area: Path,
        observe: Callable[[Progress], None],
    ) -> None:
        self._store = store
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._area = area
        self._observe = observe
        self._blobs = Blobs(store.links_dir)
        self._quarantine = Quarantine(store.var_dir, bundle.manifest.digest)
        self._pieces = Pieces(bundle.manifest, bundle.parts, self._quarantine)

    def run(self, began: float) -> Received:
        manifest = self._manifest
        todo = lacking(self._store, manifest, self._extra())
        check_room(self._store, todo)
        put(self._store, self._work(todo), durable=True)
        if manifest.repairs is None:
            self._keep()
            self._quarantine.clear()
        return Received(
            tuple(path for path, _ in todo.trees),
            todo.files,
            todo.size,
            time.monotonic() - began,
            {name: self._file(each) for name, each in manifest.documents.items()},
            {name: self._file(each) for name, each in manifest.trust.items()},
        )

    def _extra(self) -> Iterable[str]:
        """Return the files that are wanted although no path has them."""
        manifest = self._manifest
        if manifest.repairs is not None:
            return [*manifest.blobs, *manifest.patches]
        return {*manifest.documents.values(), *manifest.trust.values()}

    def _work(self, todo: Lacking) -> list[Ready]:
        """Do all that is to be done, and see that it is on the disk; return the trees.

        Raises:
            PartMissingError: not all of it can be done now.
            DamagedBundleError: some of it cannot be done with these files.
        """
        work = Work(
            self._pieces,
            self._quarantine,
            self._blobs,
            self._area,
            todo.slices,
            todo.patched,
            todo.trees,
        )
        agenda = Agenda(todo, self._pieces, self._observe)
        with (
            Crew(work.do, hands() if agenda.is_much else 1) as crew,
            Ahead(self._store.store_dir) as ahead,
        ):
            crew.run(agenda.following, lambda result: ahead.wrote(agenda.done(result)))
        if todo.trees or todo.slices:
            sync_filesystem(self._store.store_dir)
        if agenda.damaged:
            raise _damaged(agenda.damaged, todo)
        if agenda.waiting:
            raise missing(agenda.waiting, len(self._manifest.parts))
        return agenda.ready()

    def _file(self, sha256: str) -> bytes:
        """Return a file that no path has, and that was shared all the same."""
        key = self._blobs.key(sha256, executable=False)
        with os.fdopen(open_file(key), "rb") as stream:
            return stream.read()

    def _keep(self) -> None:
        """Let roots keep the release, and what the next deltas build on."""
        manifest, store = self._manifest, self._store
        store.add_root(manifest.root, manifest.top)
        store.add_root(f"{ROOT}{manifest.number}", manifest.top)
        folder = store.var_dir / "gcroots"
        words = (name.removeprefix(ROOT) for name in os.listdir(folder) if name.startswith(ROOT))  # noqa: PTH208
        known = sorted(int(word) for word in words if word.isdecimal())
        for number in known[:-KEPT]:
            if number != manifest.number:
                store.remove_root(f"{ROOT}{number}")


class Agenda:
    """Which task comes next: a tree as soon as its files are there, else a group.

    Nothing is built that could not be registered in the end.
    """

    def __init__(self, todo: Lacking, pieces: Pieces, observe: Callable[[Progress], None]) -> None:
        self._observe = observe
        self._total = todo.size
        self._written = 0
        self.damaged: list[Damaged] = []
        self._ready: dict[int, Ready] = {}
        self.waiting: set[int] = set()
        """Parts without which not all can be done."""
        self._groups: deque[Task] = deque()
        for group, slices in sorted(todo.slices.items()):
            self._plan(pieces, group, slices[0].size)
        self._trees: deque[Task] = deque()
        self._needed = {number: set(groups) for number, groups in enumerate(todo.needed)}
        self._users: dict[int, list[int]] = {}
        for number, groups in self._needed.items():
            for group in groups:
                self._users.setdefault(group, []).append(number)
        self._trees.extend(Build(n) for n, groups in self._needed.items() if not groups)

    @property
    def is_much(self) -> bool:
        """Whether it is worth a second worker."""
        return len(self._groups) + len(self._trees) > FEW

    def ready(self) -> list[Ready]:
        """Return the trees in the order of the bundle: references before referrers."""
        return [ready for _, ready in sorted(self._ready.items(), key=itemgetter(0))]

    def following(self) -> Task | None:
        """Return what can be done now, if there is anything."""
        if self._trees and not self.damaged and not self.waiting:
            return self._trees.popleft()
        return self._groups.popleft() if self._groups else None

    def done(self, result: Result) -> int:
        """Take note of what was done; return how many bytes that wrote."""
        match result:
            case Damaged():
                self.damaged.append(result)
                return 0
            case Built():
                self._ready[result.number] = result.ready
                return 0
            case Filled(group, size):
                self._filled(group)
                self._written += size
                self._observe(Progress(self._written, self._total))
                return size

    def _filled(self, group: int) -> None:
        for number in self._users.get(group, ()):
            needed = self._needed[number]
            needed.discard(group)
            if not needed:
                self._trees.append(Build(number))

    def _plan(self, pieces: Pieces, group: int, size: int) -> None:
        """Plan to read a group, with those that follow it if a large file begins in it."""
        groups = span(group, size)
        lacking = [each for each in groups if not pieces.at_hand(each)]
        if not lacking:
            self._groups.append(Fill(group))
            return
        self.waiting.update(pieces.part(each) for each in lacking)
        new = (each for each in groups if pieces.on_medium(each) and not pieces.is_kept(each))
        self._groups.extend(Hold(each) for each in new)


def _damaged(found: Sequence[Damaged], todo: Lacking) -> DamagedBundleError:
    """Say which files of the medium have damage, and where the first of it is."""
    places = sorted({each.error.where or "" for each in found})
    first = found[0].error
    files = sum(len(todo.slices[each.group]) for each in found if each.group in todo.slices)
    return DamagedBundleError(
        f"the bundle is damaged, in {counted(len(found), 'group')} with {counted(files, 'file')}: "
        f"{first.reason}",
        where="\n".join(places),
        expected=first.expected,
        got=first.got,
        hint="what is good was kept. Copy the file again, or have just that replaced: "
        "sealift repair-request",
    )
