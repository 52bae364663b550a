"""Sending: the operator's end of a push.

Five exchanges on one connection: what the other side has as a whole, which paths it lacks, which
files of those it lacks, the files, and that all is in place. `store.receive` is the other end,
and `store.basis` what both know beforehand.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from store.basis import PATCH, WANT, Base, base, departed, names, patches, spell
from store.errors import InputError, IntegrityError
from store.manifest import File, Manifest, Shared, blobs, describe
from store.nar import contents, open_file
from store.path import NotAStorePathError, StorePath
from store.patience import SENDER, patient
from store.wire import FORMAT, FormatError, Wire, WireError, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from store.info import PathInfo
    from store.local import LocalStore

_PIECE = 1 << 20
"""Bytes read and compressed at once; many small files go in one piece."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a push is: bytes of files read, bytes of all that are wanted, bytes sent."""

    done: int
    total: int
    wire: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What a push moved; of a dry run, what it would.

    Attributes:
        paths: those that were missing, references first.
        blobs: how many files.
        raw: bytes of those files.
        sent: bytes on the wire to the other side.
        received: bytes on the wire from there.
        seconds: from the first message to the last.
    """

    paths: tuple[StorePath, ...]
    blobs: int
    raw: int
    sent: int
    received: int
    seconds: float

    @property
    def wire(self) -> int:
        """Bytes on the wire in both directions."""
        return self.sent + self.received


def send(
    store: LocalStore,
    tops: Sequence[StorePath],
    *,
    reader: BinaryIO,
    writer: BinaryIO,
    observe: Callable[[Progress], None],
    dry_run: bool = False,
    patience: float = SENDER,
) -> Sent:
    """Bring `tops` and all they refer to into the store at the other end.

    With `dry_run` it ends when the other side has said what it lacks. After `patience` seconds in
    which that neither says nor takes anything it is given up.

    Raises:
        MissingReferenceError: one of them is not valid here.
        InputError: the other side has its store in another place.
        IntegrityError: a file here is not what its name says.
        SilentError: the other side was given up; what arrived is kept over there.
        CutError: the connection ended; what arrived is kept over there.
        Error: the other side could not take it, and why.
    """
    with store.session(), patient(reader, writer, patience) as ends:
        try:
            return _Push(store, Wire(*ends), observe).run(tops, dry_run=dry_run)
        except OSError as error:
            raise IntegrityError(
                f"a path of the store cannot be read: {error.strerror}",
                where=error.filename and os.fsdecode(error.filename),
                hint="sealift store verify --repair",
            ) from error


@dataclass(frozen=True, slots=True)
class _Offer:
    """A closure as it was offered: what is known of it, and what the other side lacks."""

    infos: tuple[PathInfo, ...]
    names: bytes
    known: Base | None
    lacking: tuple[PathInfo, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Files that are to be sent: as what differs from another one, and whole."""

    patched: tuple[tuple[File, File], ...]
    whole: tuple[File, ...]

    @property
    def count(self) -> int:
        return len(self.patched) + len(self.whole)

    @property
    def size(self) -> int:
        return sum(file.size for file in (*self.whole, *(new for new, _ in self.patched)))


class _Push:
    """The state of one push."""

    def __init__(self, store: LocalStore, wire: Wire, observe: Callable[[Progress], None]) -> None:
        self._store = store
        self._wire = wire
        self._observe = observe
        self._places: dict[str, bytes] = {}
        """Where files lie, by hash."""

    def run(self, tops: Sequence[StorePath], *, dry_run: bool) -> Sent:
        start = time.monotonic()
        offer = self._offer(tops)
        wanted = self._list(offer)
        if dry_run:
            self._wire.say("stop")
        else:
            self._send(wanted)
            self._wire.hear("done")
        return Sent(
            paths=tuple(info.path for info in offer.lacking),
            blobs=wanted.count,
            raw=wanted.size,
            sent=self._wire.sent,
            received=self._wire.received,
            seconds=time.monotonic() - start,
        )

    def _offer(self, tops: Sequence[StorePath]) -> _Offer:
        """Offer a closure; learn what the other side lacks of it."""
        infos = tuple(self._store.closure(tops))
        known = self._choose(self._wire.hear("hello"))
        text = names(info.path for info in infos)
        self._wire.say(
            "offer",
            body=text,
            dictionary=known.names if known else b"",
            tops=[str(top) for top in tops],
            base=str(known.top) if known else None,
        )
        answer = self._wire.hear("lacks")
        marks = dict(zip(text.decode().split("\n"), self._wire.body(answer), strict=False))
        lacking = tuple(info for info in infos if marks.get(str(info.path)) == WANT)
        return _Offer(infos, text, known, lacking, str(answer.get("departed")))

    def _choose(self, hello: dict[str, Any]) -> Base | None:
        """Take the first of the other side's closures that is the same here.

        Raises:
            InputError: its store lies in another place, which enters every address.
            FormatError: it is another version of sealift.
        """
        if hello.get("format") != FORMAT:
            raise FormatError(
                "the other side pushes in another format",
                expected=str(FORMAT),
                got=str(hello.get("format")),
            )
        place = str(self._store.store_dir)
        if hello.get("store") != place:
            raise InputError(
                "the other side has its store in another place",
                expected=place,
                got=str(hello.get("store")),
                hint="store_dir is one setting, the same for all",
            )
        for name, digest in zip(texts(hello, "bases"), texts(hello, "digests"), strict=False):
            found = self._base(name)
            if found is not None and found.digest == digest:
                return found
        return None

    def _base(self, name: str) -> Base | None:
        try:
            return base(self._store, StorePath.parse(name))
        except NotAStorePathError:
            return None

    def _list(self, offer: _Offer) -> _Wanted:
        """List the files of what is lacking; learn which of them are wanted, and how."""
        shared = Shared(self._store.links_dir)
        new = [describe(each, self._store.real(each.path), shared) for each in offer.lacking]
        old = departed(self._store, offer.known, {info.path for info in offer.infos}, shared)
        if hashlib.sha256(spell(old)).hexdigest() != offer.digest:
            old = []
        self._wire.say(
            "files", body=spell(new), dictionary=spell(old) + offer.names, against=bool(old)
        )
        marks = self._wire.body(self._wire.hear("wants"))
        self._note_places([*new, *old])
        return _sort(blobs(new), patches(new, old), marks)

    def _note_places(self, manifests: Sequence[Manifest]) -> None:
        for manifest in manifests:
            root = os.fsencode(self._store.real(manifest.path(str(self._store.store_dir))))
            for inside, file in manifest.files():
                self._places.setdefault(file.sha256, root + b"/" + inside if inside else root)

    def _send(self, wanted: _Wanted) -> None:
        """Send what differs of some files, and all of the others."""
        done, total = 0, wanted.size
        for new, before in wanted.patched:
            self._wire.say("patch", body=self._whole(new), dictionary=self._whole(before))
            done += new.size
            self._observe(Progress(done, total, self._wire.sent))
        for size in self._wire.pour("contents", self._pieces(wanted.whole)):
            done += size
            self._observe(Progress(done, total, self._wire.sent))

    def _whole(self, file: File) -> bytes:
        """Return a small file, which must be what its hash says: the other side builds on it.

        Raises:
            IntegrityError: it is not.
        """
        data = b"".join(self._read(file))
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise IntegrityError(
                "a file of the store was changed",
                where=os.fsdecode(self._places[file.sha256]),
                expected=file.sha256,
                hint="sealift store verify --repair",
            )
        return data

    def _pieces(self, files: Sequence[File]) -> Iterator[bytes]:
        """Yield the contents of files, one after another; small ones come together."""
        waiting: list[bytes] = []
        size = 0
        for file in files:
            for piece in self._read(file):
                waiting.append(piece)
                size += len(piece)
                if size >= _PIECE:
                    yield b"".join(waiting)
                    waiting, size = [], 0
        yield b"".join(waiting)

    def _read(self, file: File) -> Iterator[bytes]:
        """Yield a file in pieces, and exactly as many bytes as it is said to have."""
        place = self._places[file.sha256]
        descriptor = open_file(place)
        try:
            for piece in contents(descriptor, place, file.size, os.read):
                yield bytes(piece)
        finally:
            os.close(descriptor)


def _sort(files: Mapping[str, File], before: Mapping[str, File], marks: bytes) -> _Wanted:
    """Divide files by what the other side says of each.

    Raises:
        WireError: it speaks of files that were not listed.
    """
    asked = [file for file, mark in zip(files.values(), marks, strict=False) if mark == PATCH]
    if len(marks) != len(files) or not all(file.sha256 in before for file in asked):
        raise WireError("the other side asks for files that were not listed")
    whole = (file for file, mark in zip(files.values(), marks, strict=True) if mark == WANT)
    return _Wanted(tuple((file, before[file.sha256]) for file in asked), tuple(whole))
