"""Senders that lie, and receivers that do: one table each; refused, and nothing is left of it."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from store.assemble import BadPathError
from store.basis import names, spell
from store.blobs import BadBlobError
from store.closure import MissingReferenceError
from store.errors import Error, InputError
from store.frames import compress
from store.local import LocalStore
from store.manifest import BadManifestError, File, Manifest, Shared, blobs, describe
from store.receive import receive
from store.send import send
from store.wire import CutError, FormatError, Wire, WireError
from tests.store.ends import BEFORE, Platform, between, platform, push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Step = Callable[["Script"], None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Platform]:
    made = platform(tmp_path.resolve() / "site")
    yield made
    made.source.close()


@pytest.fixture
def head(site: Platform) -> Iterator[LocalStore]:
    with LocalStore.open(site.place) as opened:
        yield opened


@dataclass(slots=True)
class Script:
    """A sender that says what it was given to say, which is right until a test changes it."""

    wire: Wire
    tops: list[object]
    names: bytes
    manifests: list[Manifest]
    contents: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        self.wire.hear("hello")
        self.wire.say("offer", body=self.names, tops=self.tops, base=None)
        self.wire.body(self.wire.hear("lacks"))
        self.wire.say("files", body=spell(self.manifests), dictionary=self.names, against=False)
        self.wire.body(self.wire.hear("wants"))
        list(self.wire.pour("contents", self.contents))
        self.wire.hear("done")


def _honest(site: Platform, wire: Wire) -> Script:
    infos = site.source.closure([site.first])
    shared = Shared(site.source.links_dir)
    manifests = [describe(info, site.source.real(info.path), shared) for info in infos]
    data: dict[str, bytes] = {}
    for manifest, info in zip(manifests, infos, strict=True):
        for place, file in manifest.files():
            inside = site.source.real(info.path) / os.fsdecode(place)
            data.setdefault(file.sha256, inside.read_bytes())
    contents = [data[sha256] for sha256 in blobs(manifests)]
    return Script(wire, [str(site.first)], names(i.path for i in infos), manifests, contents)


def _talk(site: Platform, head: LocalStore, change: Step) -> Error | None:
    """Let a sender talk to a real receiver; return what the receiver made of it."""
    caught: list[Error] = []

    def listen(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            receive(head, reader=reader, writer=writer, root="pushed")
        except Error as error:
            caught.append(error)

    def speak(reader: BinaryIO, writer: BinaryIO) -> None:
        script = _honest(site, Wire(reader, writer))
        with suppress(Error):
            change(script)
            script.run()

    between(listen, speak)
    return caught[0] if caught else None


def test_who_does_not_lie_is_believed(site: Platform, head: LocalStore) -> None:
    assert _talk(site, head, lambda _: None) is None
    assert len(head.closure([site.first])) == len(site.source.closure([site.first]))


def _no_names(script: Script) -> None:
    script.names = b""


def _climbing_name(script: Script) -> None:
    script.names += b"\n" + b"0" * 32 + b"-../../etc"


def _no_name(script: Script) -> None:
    script.names += b"\n../x"


def _name_not_text(script: Script) -> None:
    script.names += b"\n\xff\xfe"


def _no_tops(script: Script) -> None:
    script.tops = []


def _tops_no_text(script: Script) -> None:
    script.tops = [7]


def _other_top(script: Script) -> None:
    script.tops = ["0" * 32 + "-other"]


def _climbing_top(script: Script) -> None:
    script.tops = ["../../etc"]


def _too_few(script: Script) -> None:
    script.manifests.pop()


def _too_many(script: Script) -> None:
    extra = script.manifests[0]
    script.manifests.append(replace(extra, name="extra"))


def _doubled(script: Script) -> None:
    script.manifests.append(script.manifests[0])


def _other_hash(script: Script) -> None:
    script.manifests[0] = replace(script.manifests[0], nar_sha256="0" * 64)


def _fewer_references(script: Script) -> None:
    script.manifests[-1] = replace(script.manifests[-1], references=())


def _other_size(script: Script) -> None:
    script.manifests[0] = replace(script.manifests[0], nar_size=script.manifests[0].nar_size + 8)


def _file(script: Script, change: Callable[[File], File]) -> None:
    """Change the program of the backend, and only that."""
    number = next(n for n, each in enumerate(script.manifests) if each.name == "backend")
    rows = tuple(
        change(row) if isinstance(row, File) and row.name == b"app.py" else row
        for row in script.manifests[number].rows
    )
    script.manifests[number] = replace(script.manifests[number], rows=rows)


def _climbing_file(script: Script) -> None:
    _file(script, lambda row: row._replace(name=b"../../../escaped"))


def _huge_file(script: Script) -> None:
    _file(script, lambda row: row._replace(size=1 << 39))


def _other_contents(script: Script) -> None:
    """A file that is what its hash says, in a path that is not."""
    size = len(BEFORE)
    lie = hashlib.sha256(bytes(size)).hexdigest()
    _file(script, lambda row: row._replace(sha256=lie))
    _fill(script, bytes(size))


def _other_name(script: Script) -> None:
    """A list that is in order, whose sizes add up."""
    _file(script, lambda row: row._replace(name=b"app.pz"))


def _other_mode(script: Script) -> None:
    """A program that is none, by a list whose sizes add up thanks to another lie."""
    _file(script, lambda row: row._replace(executable=True))
    number = next(n for n, each in enumerate(script.manifests) if each.name == "backend")
    rows = tuple(
        row._replace(executable=False) if isinstance(row, File) and row.name == b"run" else row
        for row in script.manifests[number].rows
    )
    script.manifests[number] = replace(script.manifests[number], rows=rows)
    _fill(script)


def _referrers_first(script: Script) -> None:
    script.manifests.reverse()
    _fill(script)


def _fill(script: Script, *more: bytes) -> None:
    """Put contents into the order of the lists."""
    data = {hashlib.sha256(each).hexdigest(): each for each in (*script.contents, *more)}
    script.contents = [data[sha256] for sha256 in blobs(script.manifests)]


def _wrong_contents(script: Script) -> None:
    script.contents[3] = bytes(len(script.contents[3]))


def _swapped_contents(script: Script) -> None:
    script.contents[0], script.contents[1] = script.contents[1], script.contents[0]


def _doubled_contents(script: Script) -> None:
    script.contents.insert(0, script.contents[0])


def _extra_contents(script: Script) -> None:
    script.contents.append(b"more")


def _too_little(script: Script) -> None:
    script.contents.pop()


def _bomb(script: Script) -> None:
    script.contents.append(bytes(200_000_000))


def _endless_header(script: Script) -> None:
    script.wire._write(b"\xff" * 4)


def _no_json(script: Script) -> None:
    script.wire._write(b"\x00\x00\x00\x02{{")


def _wrong_order(script: Script) -> None:
    script.wire.say("contents")


def _says_error(script: Script) -> None:
    script.wire.fail(InputError("the sender thought better of it"))


def _lying_body(script: Script) -> None:
    frame = compress(bytes(50_000_000))
    fields = {"say": "offer", "tops": [""], "base": None, "size": len(frame), "raw": 100}
    data = json.dumps(fields).encode()
    script.wire._write(len(data).to_bytes(4, "big") + data + frame)


def _gone(_: Script) -> None:
    raise CutError("the sender goes")


HOSTILE: dict[str, tuple[Step, type[Error]]] = {
    "offers nothing": (_no_names, WireError),
    "offers a name that climbs": (_climbing_name, WireError),
    "offers what is no name": (_no_name, WireError),
    "offers what is no text": (_name_not_text, WireError),
    "offers for nothing": (_no_tops, WireError),
    "offers for numbers": (_tops_no_text, WireError),
    "offers for something else": (_other_top, WireError),
    "offers for what climbs": (_climbing_top, WireError),
    "lists too few paths": (_too_few, BadManifestError),
    "lists a path more": (_too_many, BadManifestError),
    "lists a path twice": (_doubled, BadManifestError),
    "lies about a path's hash": (_other_hash, BadManifestError),
    "lies about references": (_fewer_references, BadManifestError),
    "lies about a path's size": (_other_size, BadManifestError),
    "names a file that climbs": (_climbing_file, BadManifestError),
    "lies about a file's size": (_huge_file, BadManifestError),
    "lies about a file's hash": (_other_contents, BadPathError),
    "lies about a file's name": (_other_name, BadPathError),
    "lies about a file's mode": (_other_mode, BadPathError),
    "lists referrers first": (_referrers_first, MissingReferenceError),
    "sends other contents": (_wrong_contents, BadBlobError),
    "sends contents in another order": (_swapped_contents, BadBlobError),
    "sends contents twice": (_doubled_contents, BadBlobError),
    "sends a file more": (_extra_contents, WireError),
    "sends a file less": (_too_little, WireError),
    "sends a bomb": (_bomb, WireError),
    "sends an endless header": (_endless_header, WireError),
    "sends what is no JSON": (_no_json, WireError),
    "sends a body that lies": (_lying_body, WireError),
    "sends messages out of order": (_wrong_order, WireError),
    "says that it failed": (_says_error, InputError),
    "goes": (_gone, CutError),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_senders_are_refused(
    site: Platform, head: LocalStore, tmp_path: Path, case: str
) -> None:
    before = sorted(each.name for each in tmp_path.iterdir())
    change, kind = HOSTILE[case]
    assert type(_talk(site, head, change)) is kind
    assert head.paths() == []
    assert head.roots() == []
    assert head.verify().clean
    assert sorted(each.name for each in head.store_dir.iterdir()) == [".links"]
    assert sorted(each.name for each in tmp_path.iterdir()) == before
    assert push(site.source, head, [site.first]).failed == []
    assert head.verify().clean


Answers = dict[str, Any]

LIES: dict[str, tuple[Answers, type[Error]]] = {
    "another format": ({"hello": {"format": 99}}, FormatError),
    "no format": ({"hello": {"format": None}}, FormatError),
    "another store": ({"hello": {"store": "/elsewhere"}}, InputError),
    "bases that are none": ({"hello": {"bases": "x"}}, WireError),
    "bases that are numbers": ({"hello": {"bases": [1], "digests": [2]}}, WireError),
    "more files wanted than listed": ({"wants": b"1" * 1000}, WireError),
    "fewer files": ({"wants": b"1"}, WireError),
    "patches of what has no forerunner": ({"wants": b"2"}, WireError),
}


@pytest.mark.parametrize("case", LIES)
def test_hostile_receivers_are_refused(site: Platform, case: str) -> None:
    answers, kind = LIES[case]
    with pytest.raises(Error) as caught:
        _ask(site, answers)
    assert type(caught.value) is kind


def _ask(site: Platform, answers: Answers) -> None:
    """Send to who gives these answers."""

    def listen(reader: BinaryIO, writer: BinaryIO) -> None:
        with suppress(Error):
            _answer(Wire(reader, writer), str(site.place), answers)

    def speak(reader: BinaryIO, writer: BinaryIO) -> None:
        send(site.source, [site.first], reader=reader, writer=writer, observe=lambda _: None)

    between(listen, speak)


def _answer(wire: Wire, store: str, answers: Answers) -> None:
    hello = {"format": 1, "store": store, "bases": [], "digests": []}
    wire.say("hello", **(hello | answers.get("hello", {})))
    offer = wire.hear("offer")
    count = wire.body(offer).count(b"\n") + 1
    wire.say("lacks", body=b"1" * count, departed="")
    wire.hear("files")
    wire.say("wants", body=answers.get("wants", b""))


def test_a_base_that_is_no_path_is_passed_over(site: Platform) -> None:
    hello = {"bases": ["../x", "0" * 32 + "-gone"], "digests": ["", ""]}
    with pytest.raises(WireError, match="not listed"):
        _ask(site, {"hello": hello, "wants": b"1"})
