from __future__ import annotations

import os
import signal
import stat
import time
from typing import TYPE_CHECKING

from store.local import LocalStore
from store.remove import remove
from store.temporary import spare, sweep, temporary
from tests.store.children import child, running, wait
from tests.store.trees import ODD, deep, lay

if TYPE_CHECKING:
    from pathlib import Path


def test_it_lies_in_the_store_is_private_and_goes(store: LocalStore) -> None:
    with store.temporary() as one, store.temporary() as two:
        assert one != two
        assert one.parent == store.store_dir
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
        lay(one / "tree", ODD)
        (one / "tree").chmod(0o555)
    assert not one.exists()
    assert not two.exists()


def test_those_of_the_living_stay_and_those_of_the_dead_go(tmp_path: Path) -> None:
    place = tmp_path.resolve() / "store"

    def work(opened: LocalStore) -> None:
        with opened.temporary() as mine:
            (mine / "ready").write_text("x")
            time.sleep(60)

    pid = child(place, work)
    while not list(place.glob(".tmp-*/ready")):
        time.sleep(0.005)
    assert sweep(place) == []
    os.kill(pid, signal.SIGKILL)
    wait(pid)
    left = list(place.glob(".tmp-*"))
    assert len(left) == 1
    assert sweep(place, dry_run=True) == left
    with LocalStore.open(place) as opened, opened.temporary() as mine:
        assert list(place.glob(".tmp-*")) == [mine]


def test_sweeping_and_making_do_not_meet(tmp_path: Path) -> None:
    """A sweep may come between making a directory and locking it."""

    def work(opened: LocalStore) -> None:
        for _ in range(300):
            with temporary(opened.store_dir) as mine:
                (mine / "file").write_text("x")
                assert (mine / "file").exists()

    pids = [child(tmp_path.resolve() / "store", work) for _ in range(2)]
    while any(running(pid) for pid in pids):
        if (tmp_path / "store").exists():
            sweep(tmp_path / "store")
    assert [wait(pid) for pid in pids] == [0, 0]


def test_what_is_moved_aside_is_swept(store: LocalStore) -> None:
    aside = spare(store.store_dir)
    lay(aside, {b"a": ODD})
    assert sweep(store.store_dir) == [aside]
    assert not aside.exists()


def test_removing_takes_everything_and_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep").write_text("x")
    lay(tmp_path / "tree", {b"odd": ODD, b"out": str(tmp_path / "outside"), b"deep": deep(300)})
    for folder, _, _ in os.walk(tmp_path / "tree", topdown=False):
        os.chmod(folder, 0o555)  # noqa: PTH101, S103 - as walk gives it
    remove(tmp_path / "tree")
    assert [each.name for each in tmp_path.iterdir()] == ["outside"]
    assert (tmp_path / "outside" / "keep").exists()
    (tmp_path / "link").symlink_to("outside")
    remove(tmp_path / "link")
    assert (tmp_path / "outside" / "keep").exists()
    remove(tmp_path / "nothing")


def test_bytes_set_free_are_those_nobody_else_names(tmp_path: Path) -> None:
    lay(tmp_path / "tree", {b"alone": bytes(8192), b"shared": bytes(8192)})
    os.link(tmp_path / "tree" / "shared", tmp_path / "other")
    alone = (tmp_path / "tree" / "alone").stat().st_blocks * 512
    assert remove(tmp_path / "tree") == alone
