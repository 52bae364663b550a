"""Messages: what is said is heard, and nothing else is taken for a message."""

from __future__ import annotations

import io
import json
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

import pytest
import zstandard

from store import wire
from store.database import DiskFullError
from store.errors import Error, InputError, IntegrityError
from store.frames import PATCH_LIMIT, FrameError, compress, decompress
from store.lock import LockedError
from store.told import retell
from store.wire import CutError, PeerError, Wire, WireError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.wire import Contents

NOISE = os.urandom(300_000)


def _length(number: int) -> bytes:
    return struct.pack(">I", number)


def _header(**fields: object) -> bytes:
    data = json.dumps(fields).encode()
    return _length(len(data)) + data


def _said(data: bytes) -> Wire:
    return Wire(io.BytesIO(data), io.BytesIO())


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    out, into = os.pipe()
    with os.fdopen(out, "rb") as reader, os.fdopen(into, "wb", buffering=0) as writer:
        yield reader, writer


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 5000, NOISE])
@pytest.mark.parametrize("dictionary", [b"", b"x", NOISE])
def test_what_is_said_is_heard(body: bytes, dictionary: bytes) -> None:
    out = io.BytesIO()
    said = Wire(io.BytesIO(), out)
    said.say("files", body=body, dictionary=dictionary, number=7)
    heard = _said(out.getvalue())
    header = heard.hear("offer", "files")
    assert header["number"] == 7
    assert heard.body(header, dictionary=dictionary, limit=len(body)) == body
    assert heard.received == said.sent == len(out.getvalue())


def test_what_both_know_costs_nothing() -> None:
    changed = NOISE[:150_000] + b"changed" + NOISE[150_007:]
    assert len(compress(changed, NOISE)) < 100
    assert decompress(compress(changed, NOISE), len(changed), NOISE) == changed


def test_a_file_as_large_as_may_be_is_patched_well() -> None:
    whole = os.urandom(PATCH_LIMIT)
    changed = b"changed" + whole[7:]
    assert len(compress(changed, whole)) < 1000


def _poured(*pieces: bytes) -> bytes:
    out = io.BytesIO()
    sizes = list(Wire(io.BytesIO(), out).pour("contents", pieces))
    assert sizes == [len(each) for each in pieces]
    return out.getvalue()


def _contents(data: bytes) -> Contents:
    heard = _said(data)
    heard.hear("contents")
    return heard.contents()


def test_contents_are_read_as_they_were_poured() -> None:
    stream = _contents(_poured(b"one", NOISE, b"", b"three"))
    assert stream.read(3) == b"one"
    assert stream.read(len(NOISE)) == NOISE
    assert stream.read(5) == b"three"
    stream.finish()


def test_what_follows_contents_is_a_message_again() -> None:
    heard = _said(_poured(b"one") + _header(say="done", size=0, raw=0))
    heard.hear("contents")
    stream = heard.contents()
    assert stream.read(3) == b"one"
    stream.finish()
    assert heard.hear("done")["say"] == "done"


def test_contents_that_go_on_are_refused() -> None:
    for data in (_poured(b"one", b"more"), _poured(b"one")[:-4] + _length(1) + b"x" + _length(0)):
        stream = _contents(data)
        assert stream.read(3) == b"one"
        with pytest.raises(WireError, match="contents"):
            stream.finish()


def test_contents_that_are_cut_or_damaged_are_noticed() -> None:
    whole = _poured(NOISE)
    for cut in range(40, len(whole) - 4, 9999):
        with pytest.raises(CutError):
            _contents(whole[:cut]).read(len(NOISE))
    start = len(_header(say="contents")) - 2  # its JSON has no spaces
    for chunk in (b"not zstd at all", NOISE[:100]):
        with pytest.raises(WireError):
            _contents(whole[:start] + _length(len(chunk)) + chunk + _length(0)).read(10)


NO_MESSAGE = {
    "a shell's complaint": b"bash: line 1: sealift: command not found\n",
    "a banner": b"Welcome to head1\n" * 5,
    "a length too long": _length(wire.HEADER_LIMIT + 1),
    "no JSON": _length(3) + b"{{{",
    "no object": _length(2) + b"[]",
    "nothing said": _header(size=0),
    "something else said": _header(say="offer"),
    "a number said": _header(say=7),
    "deep JSON": _length(60_000) + b"[" * 60_000,
}


@pytest.mark.parametrize("case", NO_MESSAGE)
def test_what_is_no_message_is_refused(case: str) -> None:
    with pytest.raises(WireError):
        _said(NO_MESSAGE[case]).hear("hello")


def test_every_cut_of_a_message_is_a_cut() -> None:
    out = io.BytesIO()
    Wire(io.BytesIO(), out).say("files", body=b"body" * 100)
    for cut in range(len(out.getvalue())):
        heard = _said(out.getvalue()[:cut])
        with pytest.raises(CutError):
            heard.body(heard.hear("files"))


BAD_BODY: dict[str, dict[str, object]] = {
    "size missing": {"raw": 4},
    "raw missing": {"size": 13},
    "size negative": {"size": -1, "raw": 4},
    "size no number": {"size": "13", "raw": 4},
    "size true": {"size": True, "raw": 4},
    "size beyond the limit": {"size": 1 << 40, "raw": 4},
    "raw beyond the limit": {"size": 13, "raw": 1 << 40},
    "raw not what it is": {"size": 13, "raw": 5},
    "raw nothing": {"size": 13, "raw": 0},
}


@pytest.mark.parametrize("case", BAD_BODY)
def test_bodies_that_lie_are_refused(case: str) -> None:
    frame = compress(b"body")
    assert len(frame) == 13
    heard = _said(_header(say="files", **BAD_BODY[case]) + frame + bytes(100))
    with pytest.raises(WireError):
        heard.body(heard.hear("files"))


def test_a_bomb_is_not_unpacked() -> None:
    """A frame that says it holds little, one that says it holds much, one that does not say."""
    bomb = zstandard.compress(bytes(50_000_000))
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))
    assert len(bomb) < 10_000
    for frame, said in ((bomb, 100), (unsaid, 1000), (compress(b"x") + b"trailing", 1)):
        with pytest.raises(FrameError):
            decompress(frame, said)
    heard = _said(_header(say="files", size=len(bomb), raw=50_000_000) + bomb)
    with pytest.raises(WireError):
        heard.body(heard.hear("files"), limit=1_000_000)


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError("full", where="/opt", expected="a", got="b", hint="c"),
        InputError("bad"),
        LockedError("held"),
        IntegrityError("changed"),
    ],
)
def test_an_error_is_told_in_kind(error: Error) -> None:
    out = io.BytesIO()
    Wire(io.BytesIO(), out).fail(error)
    with pytest.raises(type(error)) as caught:
        _said(out.getvalue()).hear("lacks")
    assert {key: getattr(caught.value, key) for key in wire.FIELDS} == {
        key: getattr(error, key) for key in wire.FIELDS
    }


def test_an_error_of_a_kind_unknown_is_told_as_well() -> None:
    assert isinstance(retell({"slug": "from-the-future", "reason": "why"}), PeerError)
    assert retell({"slug": 7, "reason": None, "where": 8}).where == "8"


def test_who_is_gone_said_why(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """Writing fails first; what the other end said before it went is what counts."""
    reader, writer = pipe
    reader.close()
    out = io.BytesIO()
    Wire(io.BytesIO(), out).fail(DiskFullError("full"))
    with pytest.raises(DiskFullError):
        Wire(io.BytesIO(out.getvalue()), writer).say("files", body=b"x")
    with pytest.raises(CutError):
        Wire(io.BytesIO(), writer).say("files", body=b"x")
    with pytest.raises(CutError):
        list(Wire(io.BytesIO(), writer).pour("contents", [NOISE]))


def test_silence_has_an_end(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = pipe
    heard = Wire(reader, io.BytesIO(), patience=0.05)
    writer.write(_header(say="offer"))
    assert heard.hear("offer")["say"] == "offer"
    with pytest.raises(CutError):
        heard.hear("files")


def test_who_has_patience_hears_slow_ones(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = pipe
    heard = Wire(reader, io.BytesIO(), patience=5)
    for piece in _header(say="offer"):
        writer.write(bytes([piece]))
    assert heard.hear("offer")["say"] == "offer"


class Trickle(io.RawIOBase):
    """A writer without a buffer, which takes few bytes at once."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(memoryview(data)[:7])  # type: ignore[arg-type]
        self.taken += piece
        return len(piece)


def test_a_writer_may_take_less() -> None:
    trickle = Trickle()
    Wire(io.BytesIO(), trickle).say("files", body=NOISE)  # type: ignore[arg-type]
    heard = _said(trickle.taken)
    assert heard.body(heard.hear("files")) == NOISE
