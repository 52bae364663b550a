"""Streams that are not the NAR of a tree: one table, each refused, nothing outside touched."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.errors import Error
from store.nar import MAGIC, BadNarError, Limits, dump, word
from store.restore import restore
from tests.store.trees import ODD, Tree, deep, lay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.nix import Nix


def words(*texts: bytes) -> bytes:
    return b"".join(map(word, texts))


def file(contents: bytes = b"x") -> bytes:
    return words(b"(", b"type", b"regular", b"contents", contents, b")")


def link(target: bytes) -> bytes:
    return words(b"(", b"type", b"symlink", b"target", target, b")")


def entry(name: bytes, node: bytes) -> bytes:
    return words(b"entry", b"(", b"name", name, b"node") + node + word(b")")


def folder(*entries: bytes) -> bytes:
    return words(b"(", b"type", b"directory") + b"".join(entries) + word(b")")


def number(value: int) -> bytes:
    return value.to_bytes(8, "little")


GOOD = {
    "file": file(),
    "program": words(b"(", b"type", b"regular", b"executable", b"", b"contents", b"x", b")"),
    "link": link(b"a"),
    "empty directory": folder(),
    "directory": folder(entry(b"a", file()), entry(b"b", folder(entry(b"c", link(b"/"))))),
}

HOSTILE = {
    "nothing": b"",
    "unsorted": folder(entry(b"b", file()), entry(b"a", file())),
    "unsorted below": folder(entry(b"d", folder(entry(b"b", file()), entry(b"a", file())))),
    "twice": folder(entry(b"a", file()), entry(b"a", file())),
    "link, then through it": folder(entry(b"a", link(b"/tmp")), entry(b"a", folder())),
    "empty name": folder(entry(b"", file())),
    "dot": folder(entry(b".", file())),
    "dot dot": folder(entry(b"..", file())),
    "slash": folder(entry(b"a/b", file())),
    "climbing": folder(entry(b"../../escaped", file())),
    "absolute": folder(entry(b"/tmp/escaped", file())),
    "NUL in a name": folder(entry(b"a\x00b", file())),
    "NUL in a target": link(b"a\x00b"),
    "empty target": link(b""),
    "long name": folder(entry(b"n" * 256, file())),
    "long target": link(b"t" * 4096),
    "no contents": words(b"(", b"type", b"regular", b")"),
    "program after contents": words(
        b"(", b"type", b"regular", b"contents", b"x", b"executable", b"", b")"
    ),
    "program twice": words(
        b"(", b"type", b"regular", b"executable", b"", b"executable", b"", b"contents", b"", b")"
    ),
    "program with a value": words(
        b"(", b"type", b"regular", b"executable", b"1", b"contents", b"x", b")"
    ),
    "contents twice": words(b"(", b"type", b"regular", b"contents", b"", b"contents", b"", b")"),
    "unknown type": words(b"(", b"type", b"fifo", b")"),
    "no type": words(b"(", b")"),
    "type twice": words(b"(", b"type", b"regular", b"type", b"regular", b"contents", b"", b")"),
    "entry in a file": words(b"(", b"type", b"regular", b"entry") + file(),
    "unknown word": words(b"(", b"type", b"directory", b"entries", b")"),
    "node before name": words(b"(", b"type", b"directory", b"entry", b"(", b"node") + file(),
    "entry without node": folder(words(b"entry", b"(", b"name", b"a", b")")),
    "trailing byte": file() + b"\x00",
    "trailing word": file() + word(b")"),
    "two archives": file() + MAGIC + file(),
    "padding": words(b"(", b"type", b"regular", b"contents")
    + number(1)
    + b"x"
    + b"1" * 7
    + word(b")"),
    "padding of a name": folder(
        words(b"entry", b"(", b"name") + number(1) + b"a" + b"\x01" * 7 + word(b"node") + file()
    ),
    "size of the universe": words(b"(", b"type", b"regular", b"contents") + number(2**64 - 1),
    "size of the limit": words(b"(", b"type", b"regular", b"contents") + number(1 << 40),
    "word of the universe": number(2**64 - 1),
    "cut": file()[:-1],
    "cut in contents": words(b"(", b"type", b"regular", b"contents") + number(100) + b"x" * 50,
}


@pytest.mark.parametrize("case", GOOD)
def test_the_grammar_used_here_is_right(tmp_path: Path, case: str) -> None:
    restore(io.BytesIO(MAGIC + GOOD[case]), tmp_path / "out")
    assert b"".join(dump(tmp_path / "out")) == MAGIC + GOOD[case]


@pytest.mark.nix
@pytest.mark.parametrize("case", GOOD)
def test_nix_reads_it_too(tmp_path: Path, nix: Nix, case: str) -> None:
    nix.run("nix-store", "--restore", tmp_path / "out", data=MAGIC + GOOD[case])
    assert b"".join(dump(tmp_path / "out")) == MAGIC + GOOD[case]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_streams_are_refused(tmp_path: Path, case: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(BadNarError):
        restore(io.BytesIO(MAGIC + HOSTILE[case]), place / "out")
    assert {each.name for each in tmp_path.iterdir()} == {"place"}
    assert {each.name for each in place.iterdir()} <= {"out"}


@pytest.mark.parametrize(
    "start", [b"", b"PK\x03\x04", MAGIC[:-1], word(b"nix-archive-2"), b"x" * 99]
)
def test_what_does_not_start_so_is_no_nar(tmp_path: Path, start: bytes) -> None:
    with pytest.raises(BadNarError):
        restore(io.BytesIO(start), tmp_path / "out")


def test_the_error_says_where(tmp_path: Path) -> None:
    with pytest.raises(BadNarError) as caught:
        restore(io.BytesIO(MAGIC + HOSTILE["unsorted"]), tmp_path / "out")
    assert "order" in caught.value.reason
    assert caught.value.where == f"byte {24 + 56 + 80 + 96 + 16 + 64}"


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    for tree in (b"file", {b"a": b"b"}):
        lay(tmp_path / "out", tree)
        with pytest.raises(FileExistsError):
            restore(io.BytesIO(MAGIC + GOOD["directory"]), tmp_path / "out")
        with pytest.raises(FileExistsError):
            restore(io.BytesIO(MAGIC + GOOD["file"]), tmp_path / "out")
        (tmp_path / "out").rename(tmp_path / f"kept{type(tree).__name__}")


@pytest.mark.parametrize(
    ("limits", "tree"),
    [
        (Limits(depth=3), deep(3)),
        (Limits(entries=5), {b"%d" % each: b"" for each in range(6)}),
        (Limits(name=3), {b"four": b""}),
        (Limits(target=3), "four"),
        (Limits(path=10), {b"12345": {b"67890": {b"1": b""}}}),
        (Limits(size=1000), bytes(1000)),
    ],
)
def test_limits_hold(tmp_path: Path, limits: Limits, tree: Tree) -> None:
    lay(tmp_path / "in", tree)
    nar = b"".join(dump(tmp_path / "in"))
    with pytest.raises(BadNarError):
        restore(io.BytesIO(nar), tmp_path / "out", limits=limits)
    restore(io.BytesIO(nar), tmp_path / "again")


class Dribble:
    """A stream that gives one byte at a time, as a slow connection may."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def read(self, _size: int) -> bytes:
        return self.data.read(1)


def test_short_reads_do_not_matter(tmp_path: Path) -> None:
    lay(tmp_path / "in", ODD)
    nar = b"".join(dump(tmp_path / "in"))
    restore(Dribble(nar), tmp_path / "out")
    assert b"".join(dump(tmp_path / "out")) == nar


@given(cut=st.integers(0, 2000))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_cut_is_noticed(tmp_path: Path, cut: int) -> None:
    nar = _odd_nar(tmp_path)
    with pytest.raises(BadNarError):
        restore(io.BytesIO(nar[: cut % len(nar)]), _fresh(tmp_path))


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_refused_or_makes_another_tree(
    tmp_path: Path, place: int, flip: int
) -> None:
    """The property that matters: what is accepted is exactly what its tree would be written as."""
    nar = bytearray(_odd_nar(tmp_path))
    nar[place % len(nar)] ^= flip
    target = _fresh(tmp_path)
    try:
        found = restore(io.BytesIO(bytes(nar)), target)
    except Error:
        return
    assert b"".join(dump(target)) == nar
    assert found.size == len(nar)


def _odd_nar(tmp_path: Path) -> bytes:
    if not (tmp_path / "in").exists():
        lay(tmp_path / "in", ODD)
    return b"".join(dump(tmp_path / "in"))


def _fresh(tmp_path: Path) -> Path:
    return tmp_path / f"out{len(list(tmp_path.iterdir()))}"
