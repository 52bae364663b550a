"""Receiving: the head's end of a push.

Files come into `.links` one by one, each checked as it is written; trees are built of them in a
temporary, hashed as a whole, and put in place and registered together at the end. So a push that
is cut off shows nowhere, and the next one finds what had arrived. `store.send` is the other end.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from store.add import put
from store.ahead import Ahead
from store.amounts import megabytes
from store.assemble import Assembly
from store.basis import HAVE, PATCH, WANT, Base, bases, departed, patches, spell
from store.blobs import Blobs, is_right
from store.database import DiskFullError
from store.errors import Error
from store.manifest import (
    BadManifestError,
    Enter,
    File,
    Link,
    Manifest,
    Shared,
    blobs,
    parse,
)
from store.path import NotAStorePathError, StorePath
from store.temporary import disk
from store.wire import FORMAT, PATIENCE, UnwritableError, Wire, WireError, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from store.blobs import Stream
    from store.local import LocalStore

SPARE = 32 * 1024 * 1024
"""Bytes of the file system that a push leaves free."""

_INODES = 64
"""Inodes that it leaves."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a push brought: paths now valid that were not, files, and bytes of those."""

    paths: tuple[StorePath, ...] = ()
    blobs: int = 0
    raw: int = 0


def receive(store: LocalStore, *, reader: BinaryIO, writer: BinaryIO, root: str | None) -> Received:
    """Take what the other end sends; with `root`, let `gcroots/<root>` keep it.

    Several tops get roots named `<root>-1`, `<root>-2`… An error is told to the other end, too.

    Raises:
        CutError: the connection ended.
        WireError: the other end does not keep to the order of messages.
        BadManifestError: a list of files is not that of a path that was offered.
        IntegrityError: contents are not what they should be.
        DiskFullError: there is no room; nothing was registered.
        UnwritableError: the file system failed in another way.
    """
    wire = Wire(reader, writer, patience=PATIENCE)
    try:
        with store.session(), disk(), store.temporary() as area:
            return _Receiver(store, wire, area).run(root)
    except Error as error:
        wire.fail(error)
        raise
    except OSError as error:
        failed = UnwritableError(
            f"cannot receive: {error.strerror}",
            where=error.filename and os.fsdecode(error.filename),
        )
        wire.fail(failed)
        raise failed from error


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the other end offers; `known` is the closure of ours that it has as well."""

    tops: tuple[StorePath, ...]
    paths: frozenset[StorePath]
    names: bytes
    known: Base | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Files that are to come, by hash: as what differs from another one, and whole."""

    patched: Mapping[str, File]
    whole: Mapping[str, File]


class _Receiver:
    """The state of one push, as seen by who receives it."""

    def __init__(self, store: LocalStore, wire: Wire, area: Path) -> None:
        self._store = store
        self._wire = wire
        self._area = area
        self._blobs = Blobs(store.links_dir)
        self._before: Mapping[str, File] = {}
        self._places: dict[str, bytes] = {}
        """Where files lie that others came from, by hash."""

    def run(self, root: str | None) -> Received:
        offer = self._offered()
        manifests = self._listed(offer)
        wanted = self._want(manifests)
        header = self._wire.hear("patch" if wanted.patched else "contents", "stop")
        if header["say"] == "stop":
            return Received()
        self._room(manifests, wanted)
        with Assembly(self._area, self._blobs) as assembly:
            self._patches(header, wanted)
            with Ahead(self._store.store_dir) as ahead:
                self._contents(manifests, wanted, assembly, ahead)
            put(self._store, assembly.finish(), durable=True)
        self._keep(root, offer.tops)
        self._wire.say("done")
        files = (*wanted.patched.values(), *wanted.whole.values())
        return Received(tuple(manifests), len(files), sum(file.size for file in files))

    def _offered(self) -> _Offer:
        """Say what is here, and hear what shall be.

        Raises:
            WireError: the offer is not one.
        """
        known = {str(each.top): each for each in bases(self._store)}
        self._wire.say(
            "hello",
            format=FORMAT,
            store=str(self._store.store_dir),
            bases=list(known),
            digests=[each.digest for each in known.values()],
        )
        header = self._wire.hear("offer")
        base = known.get(str(header.get("base")))
        names = self._wire.body(header, dictionary=base.names if base else b"")
        paths = frozenset(_parse(name) for name in names.decode(errors="replace").split("\n"))
        tops = tuple(_parse(name) for name in texts(header, "tops"))
        if not tops or not paths.issuperset(tops):
            raise WireError("the offer does not hold what it is for")
        return _Offer(tops, paths, names, base)

    def _listed(self, offer: _Offer) -> dict[StorePath, Manifest]:
        """Say what is lacking, and hear what it consists of.

        Raises:
            BadManifestError: it is not exactly what is lacking.
        """
        valid = self._store.valid(offer.paths)
        shared = Shared(self._store.links_dir)
        old = departed(self._store, offer.known, offer.paths, shared) if offer.known else []
        marks = bytes(HAVE if path in valid else WANT for path in sorted(offer.paths, key=str))
        digest = hashlib.sha256(spell(old)).hexdigest()
        self._wire.say("lacks", body=marks, departed=digest)
        header = self._wire.hear("files")
        if header.get("against") is not True:
            old = []
        text = self._wire.body(header, dictionary=spell(old) + offer.names)
        manifests = self._parse(text, offer.paths - valid)
        self._note(manifests.values(), old)
        return manifests

    def _parse(self, text: bytes, lacking: frozenset[StorePath]) -> dict[StorePath, Manifest]:
        place = str(self._store.store_dir)
        found: dict[StorePath, Manifest] = {}
        for line in text.splitlines():
            manifest = parse(line.decode(errors="replace"))
            path = manifest.path(place)
            if path not in lacking or path in found:
                raise BadManifestError("files of a path that is not lacking", where=str(path))
            found[path] = manifest
        if len(found) < len(lacking):
            missing = min(lacking.difference(found))
            raise BadManifestError(
                "a path that is lacking has no list of files", where=str(missing)
            )
        return found

    def _note(self, new: Iterable[Manifest], old: Sequence[Manifest]) -> None:
        """Remember which file each new one came from, and where that lies."""
        self._before = patches(list(new), old)
        for manifest in old:
            root = os.fsencode(self._store.real(manifest.path(str(self._store.store_dir))))
            for inside, file in manifest.files():
                self._places.setdefault(file.sha256, root + b"/" + inside if inside else root)

    def _want(self, manifests: Mapping[StorePath, Manifest]) -> _Wanted:
        """Say which files are to come, and how; what lies about unregistered is used first."""
        files = blobs(manifests.values())
        missing = {sha256: file for sha256, file in files.items() if not self._blobs.find(file)}
        self._adopt(manifests, missing)
        patched = {sha256: file for sha256, file in missing.items() if self._has_before(sha256)}
        marks = bytes(
            PATCH if each in patched else WANT if each in missing else HAVE for each in files
        )
        self._wire.say("wants", body=marks)
        whole = {sha256: file for sha256, file in missing.items() if sha256 not in patched}
        return _Wanted(patched, whole)

    def _adopt(self, manifests: Mapping[StorePath, Manifest], missing: dict[str, File]) -> None:
        """Take what is missing from trees that lie in the store and were never registered."""
        for path, manifest in manifests.items():
            root = os.fsencode(self._store.real(path))
            if not missing or not os.path.lexists(root):
                continue
            for inside, file in manifest.files():
                if file.sha256 in missing:
                    self._blobs.adopt(root + b"/" + inside if inside else root, file)
                    if self._blobs.has(file):
                        del missing[file.sha256]

    def _has_before(self, sha256: str) -> bool:
        before = self._before.get(sha256)
        return before is not None and is_right(self._places[before.sha256], before)

    def _room(self, manifests: Mapping[StorePath, Manifest], wanted: _Wanted) -> None:
        """Refuse what will not fit, before anything is sent.

        Raises:
            DiskFullError: bytes or inodes do not suffice.
        """
        status = os.statvfs(self._store.store_dir)
        files = (*wanted.patched.values(), *wanted.whole.values())
        size = sum(file.size + status.f_frsize for file in files)
        nodes = len(files) + sum(_own_nodes(manifest) for manifest in manifests.values())
        free = status.f_bavail * status.f_frsize
        if size + SPARE > free or (status.f_files and nodes + _INODES > status.f_favail):
            raise DiskFullError(
                "the disk has no room for what is to come",
                where=str(self._store.store_dir),
                expected=f"{megabytes(size + SPARE)} and {nodes + _INODES} inodes",
                got=f"{megabytes(free)} and {status.f_favail} inodes",
                hint="sealift gc",
            )

    def _patches(self, header: dict[str, Any], wanted: _Wanted) -> None:
        """Receive what differs, for each file that is patched."""
        for number, (sha256, file) in enumerate(wanted.patched.items()):
            told = header if number == 0 else self._wire.hear("patch")
            before = self._places[self._before[sha256].sha256]
            with open(before, "rb") as stream:  # noqa: PTH123 - bytes
                data = self._wire.body(told, dictionary=stream.read(), limit=file.size)
            self._add(file, io.BytesIO(data))
        if wanted.patched:
            self._wire.hear("contents")

    def _contents(
        self,
        manifests: Mapping[StorePath, Manifest],
        wanted: _Wanted,
        assembly: Assembly,
        ahead: Ahead,
    ) -> None:
        """Receive whole files, and begin with each tree as soon as its files are there."""
        stream = self._wire.contents()
        waiting = dict(wanted.whole)
        for path, manifest in manifests.items():
            for sha256 in blobs([manifest]):
                if file := waiting.pop(sha256, None):
                    self._add(file, stream)
                    ahead.wrote(file.size)
            assembly.build(path, manifest)
        stream.finish()

    def _add(self, file: File, stream: Stream) -> None:
        try:
            self._blobs.add(file, stream)
        except EOFError:
            raise WireError("the contents end before the files do") from None

    def _keep(self, root: str | None, tops: Sequence[StorePath]) -> None:
        """Let roots keep what was pushed, before the collector may come."""
        if root is None:
            return
        names = [root] if len(tops) == 1 else [f"{root}-{n}" for n in range(1, len(tops) + 1)]
        for name, top in zip(names, tops, strict=True):
            self._store.add_root(name, top)


def _parse(name: str) -> StorePath:
    try:
        return StorePath.parse(name)
    except NotAStorePathError as error:
        raise WireError("the offer names what is no store path", got=repr(name)) from error


def _own_nodes(manifest: Manifest) -> int:
    """Return how many inodes a tree takes that no other shares: directories and links."""
    return sum(1 for row in manifest.rows if isinstance(row, Enter | Link))
