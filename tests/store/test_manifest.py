"""Lists of files: inverse to their text, true to the NAR, and as strict as it."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from store.info import PathInfo
from store.manifest import (
    EMPTY,
    BadManifestError,
    File,
    Manifest,
    Shared,
    blobs,
    describe,
    forerunners,
    parse,
)
from store.nar import Limits, hash_tree
from store.path import StorePath
from tests.store.trees import ODD, Tree, added, deep, lay, trees

if TYPE_CHECKING:
    from pathlib import Path

    from store.local import LocalStore

HASH = hashlib.sha256(b"x").hexdigest()


def _described(place: Path, tree: Tree) -> Manifest:
    """Describe a tree that was laid without a store."""
    (place / "links").mkdir(parents=True)
    lay(place / "tree", tree)
    nar = hash_tree(place / "tree")
    info = PathInfo(StorePath("0" * 32, "thing"), nar.sha256.hex(), nar.size)
    return describe(info, place / "tree", Shared(place / "links"))


@given(tree=trees)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_text_and_value_are_inverse_and_sizes_add_up(tmp_path: Path, tree: Tree) -> None:
    manifest = _described(tmp_path / os.urandom(8).hex(), tree)
    assert parse(str(manifest)) == manifest


@pytest.mark.parametrize("tree", [ODD, deep(100), b"", b"x", (b"x",), "link", {}])
def test_odd_trees_too(tmp_path: Path, tree: Tree) -> None:
    manifest = _described(tmp_path / "place", tree)
    assert parse(str(manifest)) == manifest


def test_shared_files_are_known_without_a_look_inside(store: LocalStore) -> None:
    info = added(store, {b"a": b"one", b"b": (b"one",), b"c": b""})
    place = store.real(info.path)
    for name in ("a", "b"):
        (place / name).chmod(0o644 if name == "a" else 0o755)
        (place / name).write_bytes(b"two")
    digest = hashlib.sha256(b"one").hexdigest()
    manifest = describe(info, place, Shared(store.links_dir))
    assert [file for _, file in manifest.files()] == [
        File(b"a", 3, digest, executable=False),
        File(b"b", 3, digest, executable=True),
        File(b"c", 0, EMPTY, executable=False),
    ]


def test_files_that_are_not_shared_are_read(store: LocalStore) -> None:
    info = added(store, {b"a": b"one"})
    next(store.links_dir.iterdir()).unlink()
    manifest = describe(info, store.real(info.path), Shared(store.links_dir))
    assert blobs([manifest]).keys() == {hashlib.sha256(b"one").hexdigest()}


def test_an_inode_alone_is_not_believed(store: LocalStore) -> None:
    """File systems in layers may tell a number in a folder that another file has."""
    info = added(store, {b"a": b"one"})
    shared = Shared(store.links_dir)
    place = os.fsencode(store.real(info.path) / "a")
    link = next(store.links_dir.iterdir())
    link.unlink()
    link.write_bytes(b"another file of this name")
    assert shared.digest(place, os.lstat(place)) == hashlib.sha256(b"one").hexdigest()


def test_paths_of_files(tmp_path: Path) -> None:
    manifest = _described(tmp_path / "p", {b"a": {b"b": {b"c": b"1"}, b"d": b"2"}, b"e": b"3"})
    assert [place for place, _ in manifest.files()] == [b"a/b/c", b"a/d", b"e"]
    assert [place for place, _ in _described(tmp_path / "q", b"1").files()] == [b""]


SIZE = 872
A_PATH = "1" * 32 + "-a"
GOOD: list[Any] = [[""], ["a", 1, HASH], ["b"], ["c", 1, HASH, 1], [], ["d", "target"], []]


def _text(rows: object, **other: object) -> str:
    """Spell a list of files; its size is right if its rows are `GOOD`."""
    data = {
        "name": "thing",
        "nar_sha256": "0" * 64,
        "nar_size": SIZE,
        "references": [],
        "rows": rows,
    } | other
    return json.dumps(list(data.values()))


def test_the_grammar_used_here_is_right() -> None:
    assert len(parse(_text(GOOD)).rows) == len(GOOD)


HOSTILE: dict[str, tuple[str, str]] = {
    "nothing": ("", "not a list"),
    "not JSON": ("{", "not a list"),
    "not a list": ("7", "not a list"),
    "too few": ("[1, 2]", "not a list"),
    "deep JSON": ("[" * 100_000, "not a list"),
    "a number too long": ("[" + "9" * 10_000 + "]", "not a list"),
    "name that is a number": (_text(GOOD, name=7), "contradicts"),
    "hash too short": (_text(GOOD, nar_sha256="00"), "contradicts"),
    "hash in capitals": (_text(GOOD, nar_sha256="A" * 64), "contradicts"),
    "hash that is a number": (_text(GOOD, nar_sha256=7), "contradicts"),
    "size that is text": (_text(GOOD, nar_size=str(SIZE)), "contradicts"),
    "size too small": (_text(GOOD, nar_size=SIZE - 8), "add up"),
    "size too large": (_text(GOOD, nar_size=1 << 40), "add up"),
    "references out of order": (
        _text(GOOD, references=["1" * 32 + "-a", "0" * 32 + "-a"]),
        "contradicts",
    ),
    "reference twice": (_text(GOOD, references=[A_PATH, A_PATH]), "contradicts"),
    "reference that is none": (_text(GOOD, references=["../a"]), "not a list"),
    "reference that is a number": (_text(GOOD, references=[7]), "not a list"),
    "no rows": (_text([]), "whole tree"),
    "rows that are no list": (_text(7), "not a list"),
    "row that is no list": (_text([7]), "no file"),
    "row of a kind unknown": (_text([["", 1]]), "no file"),
    "lone surrogate": (_text([[""], ["\ud800", 1, HASH], []]), "not a list"),
    "two roots": (_text([["", 1, HASH], ["", 1, HASH]]), "more than one root"),
    "root with a name": (_text([["a", 1, HASH]]), "more than one root"),
    "never ends": (_text(GOOD[:-1]), "whole tree"),
    "ends twice": (_text([*GOOD, []]), "never began"),
    "ends before it begins": (_text([[], *GOOD]), "never began"),
    "empty name": (_text([[""], ["", 1, HASH], []]), "name"),
    "dot": (_text([[""], [".", 1, HASH], []]), "file's name"),
    "dot dot": (_text([[""], ["..", 1, HASH], []]), "file's name"),
    "dot dot as a folder": (_text([[""], [".."], [], []]), "file's name"),
    "slash": (_text([[""], ["a/b", 1, HASH], []]), "file's name"),
    "climbing": (_text([[""], ["../../etc/passwd", 1, HASH], []]), "file's name"),
    "absolute": (_text([[""], ["/etc/passwd", 1, HASH], []]), "file's name"),
    "NUL": (_text([[""], ["a\x00", 1, HASH], []]), "file's name"),
    "long name": (_text([[""], ["n" * 256, 1, HASH], []]), "file's name"),
    "unsorted": (_text([[""], ["b", 1, HASH], ["a", 1, HASH], []]), "order"),
    "twice": (_text([[""], ["a", 1, HASH], ["a", 1, HASH], []]), "order"),
    "link, then a folder through it": (_text([[""], ["a", "/etc"], ["a"], [], []]), "order"),
    "empty target": (_text([[""], ["a", ""], []]), "a link to"),
    "NUL in a target": (_text([[""], ["a", "b\x00"], []]), "a link to"),
    "long target": (_text([[""], ["a", "t" * 4096], []]), "a link to"),
    "negative size": (_text([[""], ["a", -1, HASH], []]), "a file of"),
    "size of the universe": (_text([[""], ["a", 1 << 63, HASH], []]), "a file of"),
    "file without hash": (_text([[""], ["a", 1, ""], []]), "no hash"),
    "hash that leads out": (_text([[""], ["a", 1, "../" * 21 + "x"], []]), "no hash"),
    "empty file that is not": (_text([[""], ["a", 0, HASH], []]), "empty file"),
    "full file with the empty hash": (_text([[""], ["a", 1, EMPTY], []]), "empty file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_lists_are_refused(case: str) -> None:
    text, reason = HOSTILE[case]
    with pytest.raises(BadManifestError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("limits", "tree"),
    [
        (Limits(depth=3), deep(3)),
        (Limits(entries=5), {b"%d" % each: b"" for each in range(6)}),
        (Limits(name=3), {b"four": b""}),
        (Limits(target=3), "four"),
        (Limits(path=10), {b"12345": {b"67890": {b"1": b""}}}),
        (Limits(size=999), bytes(1000)),
    ],
)
def test_limits_hold(tmp_path: Path, limits: Limits, tree: Tree) -> None:
    text = str(_described(tmp_path / "place", tree))
    with pytest.raises(BadManifestError):
        parse(text, limits)
    parse(text)


def test_one_hash_with_two_sizes_is_refused() -> None:
    rows = (File(b"a", 1, HASH, executable=False), File(b"b", 2, HASH, executable=False))
    with pytest.raises(BadManifestError, match="two sizes"):
        blobs([Manifest("thing", "0" * 64, 1, (), rows)])


def _of(tmp_path: Path, name: str, tree: Tree) -> Manifest:
    manifest = _described(tmp_path / os.urandom(4).hex(), tree)
    return Manifest(name, manifest.nar_sha256, manifest.nar_size, (), manifest.rows)


def test_a_file_comes_from_the_one_at_its_place(tmp_path: Path) -> None:
    old = [
        _of(tmp_path, "app", {b"a.py": b"old a", b"same.py": b"same", b"gone.py": b"gone"}),
        _of(tmp_path, "web", {b"assets": {b"index-BsX3kd9_.js": b"old js", b"x-1.js": b"1"}}),
    ]
    new = [
        _of(tmp_path, "app", {b"a.py": b"new a", b"same.py": b"same", b"b.py": b"new b"}),
        _of(tmp_path, "web", {b"assets": {b"index-Q7Zr0mPa.js": b"new js", b"x-2.js": b"2"}}),
        _of(tmp_path, "other", {b"a.py": b"other a"}),
    ]
    found = forerunners(new, old)
    assert {sha256: file.name for sha256, file in found.items()} == {
        hashlib.sha256(b"new a").hexdigest(): b"a.py",
        hashlib.sha256(b"new js").hexdigest(): b"index-BsX3kd9_.js",
    }
