from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.store.trees import ODD, Tree, added, lay, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.info import PathInfo
    from store.local import LocalStore

TREE: Tree = {b"a": b"first\n", b"d": {b"p": (b"#!/bin/sh\nexit\n",), b"e": {}}, b"l": "a"}


def _flip(root: Path) -> None:
    data = bytearray((root / "a").read_bytes())
    data[0] ^= 1
    _write(root / "a", bytes(data))


def _write(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


def _become(root: Path, change: Callable[[Path], object]) -> None:
    root.chmod(0o755)
    (root / "d").chmod(0o755)
    change(root)


def _move_away(root: Path) -> None:
    root.rename(root.parent / "elsewhere")


def _link_instead(root: Path) -> None:
    _move_away(root)
    root.symlink_to("elsewhere")


def _lead_elsewhere(root: Path) -> None:
    (root / "l").unlink()
    (root / "l").symlink_to("d")


def _rename(root: Path) -> None:
    (root / "a").rename(root / "A")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a changed bit": _flip,
    "truncated": lambda root: _write(root / "a", b""),
    "longer": lambda root: _write(root / "a", b"first\nsecond\n"),
    "a file gone": lambda root: (root / "a").unlink(),
    "a file more": lambda root: (root / "b").write_bytes(b""),
    "a directory gone": lambda root: (root / "d" / "e").rmdir(),
    "a link that leads elsewhere": _lead_elsewhere,
    "a program that is none": lambda root: (root / "d" / "p").chmod(0o444),
    "a file that is a program": lambda root: (root / "a").chmod(0o555),
    "another name": _rename,
    "a pipe": lambda root: os.mkfifo(root / "pipe"),
    "all gone": _move_away,
    "a link instead": _link_instead,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_repaired(store: LocalStore, damage: str) -> None:
    info = added(store, TREE)
    other = added(store, {b"other": ODD}, "other")
    assert store.verify().clean
    _become(store.real(info.path), DAMAGE[damage])

    report = store.verify()
    assert [each.info.path for each in report.damaged] == [info.path]
    assert not report.clean

    def again(wanted: PathInfo) -> bool:
        return added(store, TREE).path == wanted.path

    report = store.verify(repair=again)
    assert report.repaired == (info.path,)
    assert report.clean
    assert read(store.real(info.path)) == TREE
    assert read(store.real(other.path)) == {b"other": ODD}
    assert store.verify().clean


def test_negative_control_adding_again_without_repair_does_not_heal(store: LocalStore) -> None:
    info = added(store, TREE)
    _become(store.real(info.path), _flip)
    added(store, TREE)
    assert not store.verify().clean


@pytest.mark.parametrize("answer", ["no", "nothing", "other"])
def test_a_repair_that_does_not_repair_is_seen_through(store: LocalStore, answer: str) -> None:
    info = added(store, TREE)
    _become(store.real(info.path), _flip)

    def repair(_: PathInfo) -> bool:
        if answer == "other":
            added(store, b"something else", "thing")
        return answer != "no"

    report = store.verify(repair=repair)
    assert report.repaired == ()
    assert [each.info.path for each in report.damaged] == [info.path]


def test_one_damaged_file_damages_all_who_share_it_and_repair_heals_all(store: LocalStore) -> None:
    trees: dict[str, Tree] = {name: {b"shared": b"s" * 99, b"own": name.encode()} for name in "xyz"}
    infos = {name: added(store, tree, name) for name, tree in trees.items()}
    _write(store.real(infos["x"].path) / "shared", b"S" * 99)
    report = store.verify(
        repair=lambda info: added(store, trees[info.path.name], info.path.name).path == info.path
    )
    assert sorted(path.name for path in report.repaired) == ["x", "y", "z"]
    assert report.clean
    inodes = {(store.real(info.path) / "shared").stat().st_ino for info in infos.values()}
    assert len(inodes) == 1


def test_repairs_come_in_order(store: LocalStore) -> None:
    base = added(store, TREE, "base")
    with store.temporary() as place:
        lay(place / "t", b"app")
        app = store.add(place / "t", "app", references=[base.path])
    for info in (base, app):
        root = store.real(info.path)
        root.chmod(0o755)
        root.rename(store.store_dir / f"gone-{info.path.name}")
    asked: list[str] = []

    def repair(info: PathInfo) -> bool:
        asked.append(info.path.name)
        if info.path == base.path:
            return added(store, TREE, "base").path == base.path
        with store.temporary() as place:
            lay(place / "t", b"app")
            return store.add(place / "t", "app", references=[base.path]).path == app.path

    assert store.verify(repair=repair).clean
    assert asked == ["base", "app"]


def test_a_shared_file_that_nothing_uses_is_neither_damage_nor_believed(
    store: LocalStore,
) -> None:
    """What a power cut may leave: the right name, size, mode and time, and other bytes."""
    contents = b"what it should be"
    name = hashlib.sha256(contents).hexdigest()
    (store.links_dir / name).write_bytes(b"D" * len(contents))
    (store.links_dir / name).chmod(0o444)
    os.utime(store.links_dir / name, ns=(10**9, 10**9))
    assert store.verify().clean
    path = added(store, {b"a": contents}).path
    assert read(store.real(path)) == {b"a": contents}
    assert store.verify().clean


def test_a_damaged_shared_file_goes_when_its_path_is_repaired(store: LocalStore) -> None:
    info = added(store, b"shared")
    place = store.real(info.path)
    place.chmod(0o644)
    place.write_bytes(b"DDDDDD")
    assert store.verify().links == (hashlib.sha256(b"shared").hexdigest(),)
    assert store.verify(repair=lambda _: added(store, b"shared").path == info.path).clean


def test_a_database_that_lies_is_found_out(store: LocalStore) -> None:
    info = added(store, TREE)
    other = added(store, b"other")
    with store.database.writing(durable=False):
        store.database._query(
            "UPDATE paths SET name = 'renamed' WHERE digest = ?", (other.path.digest,)
        )
    store.store_dir.joinpath(str(other.path)).rename(
        store.store_dir / f"{other.path.digest}-renamed"
    )
    report = store.verify()
    assert [(each.info.path.name, each.reason) for each in report.damaged] == [
        ("renamed", "misnamed")
    ]
    assert store.info(info.path) == info


def test_leftovers_are_reported_and_do_no_harm(store: LocalStore) -> None:
    info = added(store, TREE)
    (store.store_dir / f"{'0' * 32}-left").mkdir()
    report = store.verify()
    assert report.unregistered == (f"{'0' * 32}-left",)
    assert report.clean
    assert (report.checked, report.size) == (1, info.nar_size)


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_progress_goes_up_to_everything(store: LocalStore, threads: int) -> None:
    infos = [added(store, bytes(size), f"p{size}") for size in (1, 5_000, 700_000)]
    seen: list[tuple[int, int]] = []
    assert store.verify(progress=lambda done, of: seen.append((done, of)), threads=threads).clean
    total = sum(info.nar_size for info in infos)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_empty_store_is_clean(store: LocalStore) -> None:
    assert store.verify().clean
