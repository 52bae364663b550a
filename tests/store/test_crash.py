"""Processes killed at any moment, and processes that want the same thing at once."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest

import store.add
from store.local import Addition, LocalStore
from store.lock import LockedError
from store.sync import sync_directory, sync_tree
from tests.store.children import child, die_before, running, wait
from tests.store.trees import ODD, Tree, added, lay, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.store.children import Work

T = TypeVar("T")
TREE: Tree = {b"a": b"same", b"b": {b"c": b"same", b"p": (b"run",)}, b"l": "a", b"e": {}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Name where a store may come to be."""
    return tmp_path.resolve() / "site" / "store"


def _dying(number: int) -> Work:
    def work(opened: LocalStore) -> None:
        die_before(number)
        added(opened, TREE, durable=True)

    return work


def sound(place: Path) -> LocalStore:
    """Open the store after a death and see that nothing of it can be noticed."""
    opened = LocalStore.open(place)
    assert opened.verify().clean
    for info in opened.paths():
        assert opened.info(info.path) == info
    path = added(opened, TREE).path
    assert read(opened.real(path)) == TREE
    assert opened.verify().clean
    return opened


def test_death_before_every_single_change(place: Path) -> None:
    """Each addition has some forty moments between two changes; die in each of them."""
    moments = 0
    while wait(child(place, _dying(moments))) == -signal.SIGKILL:
        with sound(place) as opened:
            report = opened.collect()
            assert len(report.removed) == 1
            assert sorted(each.name for each in opened.store_dir.iterdir()) == [".links"]
        moments += 1
    assert moments > 25


def test_negative_control_registering_first_is_noticed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nix's order, registration before the files are in place: the same deaths do harm."""

    def register_first(
        opened: LocalStore,
        new: Sequence[store.add.Ready],
        *,
        durable: bool,
    ) -> list[Path]:
        with opened.database.writing(durable=durable):
            for each in new:
                opened.database.register(each.info)
        return [store.add._rename(opened, each.tree, opened.real(each.info.path)) for each in new]

    monkeypatch.setattr(store.add, "_place", register_first)
    harmed, moments = 0, 0
    while wait(child(place, _dying(moments))) == -signal.SIGKILL:
        with LocalStore.open(place) as opened:
            harmed += not opened.verify().clean
            opened.collect()
        moments += 1
    assert harmed > 0


def test_death_at_random_moments(place: Path) -> None:
    """Fifty processes that add without end, one object or many, each killed at some moment."""
    dice = random.Random(2)  # noqa: S311 - not a secret

    def work(opened: LocalStore) -> None:
        for _ in range(10_000):
            with opened.temporary() as area:
                for number in range(4):
                    lay(area / str(number), {b"x": os.urandom(2000), b"same": b"s", b"d": ODD})
                opened.add(area / "0", "one")
                items = [Addition(area / str(each), f"n{each}") for each in (1, 2, 3)]
                infos = opened.add_many(items)
                opened.realise(
                    os.urandom(8).hex(), infos[0].path, key="k", derivation="", seconds=1
                )

    with LocalStore.open(place):
        pass
    moments, registered = 0, 0
    while moments < 50 or registered < 10:
        moments += 1
        pid = child(place, work)
        time.sleep(dice.uniform(0.002, 0.05))
        os.kill(pid, signal.SIGKILL)
        assert wait(pid) == -signal.SIGKILL
        with LocalStore.open(place) as opened:
            report = opened.verify()
            assert report.clean, report
            registered = report.checked
    with sound(place) as opened:
        assert all(info.path.name for info in opened.closure(i.path for i in opened.paths()))
        opened.collect()
        assert sorted(each.name for each in opened.store_dir.iterdir()) == [".links"]


def test_death_while_collecting(place: Path) -> None:
    def prepare() -> None:
        with LocalStore.open(place) as opened:
            for number in range(3):
                added(opened, {b"x": b"%d" % number, b"d": TREE}, f"p{number}")

    moments = 0
    prepare()
    while wait(child(place, partial(_collect, death=moments))) != 0:
        sound(place).close()
        prepare()
        moments += 1
    assert moments > 10
    sound(place).close()


def _collect(opened: LocalStore, death: int) -> None:
    die_before(death)
    opened.collect()


def test_two_processes_add_the_same_at_once(place: Path) -> None:
    with LocalStore.open(place):
        pass
    for round_ in range(8):
        start = time.time() + 0.02

        def work(opened: LocalStore, number: int = round_, start: float = start) -> None:
            with opened.temporary() as area:
                lay(area / "tree", {b"f%d" % each: b"%d" % number for each in range(40)})
                time.sleep(max(0.0, start - time.time()))
                opened.add(area / "tree", "same")

        assert [wait(pid) for pid in [child(place, work) for _ in range(3)]] == [0, 0, 0]
    with LocalStore.open(place) as opened:
        assert len(opened.paths()) == 8
        assert opened.verify().clean
        assert opened.verify().unregistered == ()
        assert sorted(each.name for each in opened.store_dir.iterdir() if each.name[0] == ".") == [
            ".links"
        ]


def test_many_processes_open_a_store_that_is_not_there(place: Path) -> None:
    pids = [child(place, lambda opened: opened.memo_put("t", "k", b"v")) for _ in range(8)]
    assert [wait(pid) for pid in pids] == [0] * 8


def test_the_collector_and_builders_do_not_meet(place: Path) -> None:
    """Builders add, and look whether all is still there before their session ends."""
    assert _race(place, sessions=True) == [0, 0]


def test_negative_control_without_sessions_they_do(place: Path) -> None:
    assert 1 in _race(place, sessions=False)


def _race(place: Path, *, sessions: bool) -> list[int]:
    """Build and collect at once; a builder that lost something ends with 1."""

    def build(opened: LocalStore) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for number in range(6):
            with opened.session() if sessions else nullcontext():
                path = added(opened, b"%d %d" % (os.getpid(), number), "one").path
                end = time.monotonic() + (0.03 if sessions else 10)
                while time.monotonic() < end:
                    assert opened.valid([path]) == {path}
                    time.sleep(0.005)
            time.sleep(0.03)

    collected = 0
    with LocalStore.open(place) as opened:
        builders = [child(place, build) for _ in range(2)]
        while any(running(pid) for pid in builders):
            with suppress(LockedError):
                collected += len(opened.collect(wait=0.05).removed)
    assert collected > 0
    return [wait(pid) for pid in builders]


def test_data_is_synced_before_it_is_put_in_place_and_that_before_it_is_registered(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut needs. The steps are the real ones, with a note taken of each."""
    steps: list[str] = []

    def noted(name: str, step: Callable[..., T]) -> Callable[..., T]:
        def run(*arguments: object, **options: object) -> T:
            steps.append(name)
            return step(*arguments, **options)

        return run

    monkeypatch.setattr(store.add, "sync_tree", noted("data", sync_tree))
    monkeypatch.setattr(store.add, "_rename", noted("rename", store.add._rename))
    monkeypatch.setattr(store.add, "sync_directory", noted("directory", sync_directory))
    with LocalStore.open(place) as opened:
        register = noted("register", opened.database.register)
        monkeypatch.setattr(opened.database, "register", register)
        added(opened, TREE, durable=True)
        assert steps == ["data", "rename", "directory", "register"]
        steps.clear()
        added(opened, TREE, durable=True)
        assert steps == []
        added(opened, b"other", durable=False)
        assert steps == ["rename", "register"]
