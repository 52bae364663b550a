from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from store.database import DatabaseError
from store.errors import InputError
from store.local import LocalStore
from store.lock import LockedError
from store.roots import Root
from tests.store.trees import ODD, added, lay, read

if TYPE_CHECKING:
    from pathlib import Path

    from store.path import StorePath


def user(store: LocalStore, name: str, *references: StorePath) -> StorePath:
    with store.temporary() as place:
        lay(place / "tree", {b"uses": " ".join(map(str, references)).encode(), b"own": b"x" * 5000})
        return store.add(place / "tree", name, candidates=references, durable=False).path


def test_what_no_root_reaches_goes(store: LocalStore) -> None:
    base = added(store, ODD, "base").path
    app = user(store, "app", base)
    old = user(store, "old", app)
    store.realise("a", app, key="app", derivation="{}", seconds=1)
    store.realise("o", old, key="old", derivation="{}", seconds=1)
    store.add_root("release", app)

    would = store.collect(dry_run=True)
    assert [info.path for info in would.removed] == [old]
    assert store.valid([base, app, old]) == {base, app, old}

    report = store.collect()
    assert [info.path for info in report.removed] == [old]
    assert report.kept == 2
    assert report.failed == ()
    assert not store.real(old).exists()
    assert read(store.real(base)) == ODD
    assert store.realisations(["a", "o"]) == {"a": app}
    assert store.last_derivation("old") == ("{}", old)
    assert store.verify().clean

    store.remove_root("release")
    report = store.collect()
    assert {info.path for info in report.removed} == {app, base}
    assert report.freed > 0
    assert sorted(each.name for each in store.store_dir.iterdir()) == [".links"]
    assert list(store.links_dir.iterdir()) == []
    assert store.collect().removed == ()


def test_what_is_asked_for_stays(store: LocalStore) -> None:
    base = added(store, b"1", "base").path
    app = user(store, "app", base)
    report = store.collect(keep=[app])
    assert report.removed == ()
    assert report.kept == 2


def test_profiles_and_roundabout_roots_count(store: LocalStore, tmp_path: Path) -> None:
    one, two, three, four = (added(store, b"%d" % each, f"p{each}").path for each in range(4))
    profiles = store.var_dir / "profiles"
    (profiles / "system-1-link").symlink_to(store.real(one))
    (profiles / "system").symlink_to("system-1-link")
    (tmp_path / "result").symlink_to(store.real(two) / "inside")
    (store.var_dir / "gcroots" / "auto").mkdir()
    (store.var_dir / "gcroots" / "auto" / "result").symlink_to(tmp_path / "result")
    (tmp_path / "way").symlink_to(store.store_dir)
    (store.var_dir / "gcroots" / "around").symlink_to(tmp_path / "way" / str(three))
    (store.var_dir / "gcroots" / "nowhere").symlink_to(tmp_path / "nothing")
    (store.var_dir / "gcroots" / "circle").symlink_to("circle")
    (store.var_dir / "gcroots" / "elsewhere").symlink_to("/etc")
    assert {(root.name, root.path) for root in store.roots()} == {
        ("profiles/system-1-link", one),
        ("profiles/system", one),
        ("gcroots/auto/result", two),
        ("gcroots/around", three),
    }
    assert [info.path for info in store.collect().removed] == [four]


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/etc", "a//b", "a b", ".x", "a\n"])
def test_odd_names_of_roots_are_refused(store: LocalStore, name: str) -> None:
    path = added(store, b"1").path
    with pytest.raises(InputError):
        store.add_root(name, path)
    with pytest.raises(InputError):
        store.remove_root(name)


def test_a_root_is_replaced_at_once(store: LocalStore) -> None:
    one, two = added(store, b"1", "one").path, added(store, b"2", "two").path
    store.add_root("build/app", one)
    store.add_root("build/app", two)
    assert [(root.name, root.path) for root in store.roots()] == [("gcroots/build/app", two)]
    store.remove_root("build/app")
    store.remove_root("build/app")
    assert store.roots() == []


SLEEP = (b"#!/bin/sh\nread nothing\n",)


WAYS = {
    "argument": ["sh", "-c", "read nothing", "--config={}/data"],
    "directory": ["env", "-C", "{}", "sh", "-c", "read nothing"],
    "environment": ["env", "LIBRARIES=/lib:{}:/usr/lib", "sh", "-c", "read nothing"],
    "open file": ["sh", "-c", 'exec 3<"$0"; cd /; exec env -i cat', "{}/data"],
    "program": ["{}/run"],
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_process_uses_stays(store: LocalStore, way: str) -> None:
    path = added(store, {b"run": SLEEP, b"data": b"x"}).path
    command = [word.format(store.real(path)) for word in WAYS[way]]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        root = Root(f"process {process.pid}", path)
        while root not in store.roots() and process.poll() is None:
            pass
        assert root in store.roots()
        assert store.collect().removed == ()
        process.kill()
    assert [info.path for info in store.collect().removed] == [path]


def test_nothing_is_collected_during_a_session(store: LocalStore) -> None:
    path = added(store, b"1").path
    with LocalStore.open(store.store_dir) as builder, builder.session():
        with pytest.raises(LockedError) as caught:
            store.collect()
        assert str(os.getpid()) in str(caught.value.got)
        assert [info.path for info in store.collect(dry_run=True).removed] == [path]
        assert store.valid([path]) == {path}
    assert [info.path for info in store.collect().removed] == [path]


def test_negative_control_without_a_session_it_is_collected(store: LocalStore) -> None:
    path = added(store, b"1").path
    with LocalStore.open(store.store_dir) as builder:
        store.collect()
        assert builder.valid([path]) == set()


def test_sessions_nest_and_overlap(store: LocalStore) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with store.session():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with LocalStore.open(store.store_dir) as collector:
        with store.session():
            with store.session():
                thread.start()
                inside.wait()
            with pytest.raises(LockedError):
                collector.collect()
        with pytest.raises(LockedError):
            collector.collect()
        leave.set()
        thread.join()
        assert collector.collect().failed == ()


def test_the_collector_waits_if_told_to(store: LocalStore) -> None:
    started = threading.Event()

    def build() -> None:
        with LocalStore.open(store.store_dir) as builder, builder.session():
            started.set()
            threading.Event().wait(0.2)

    thread = threading.Thread(target=build)
    thread.start()
    started.wait()
    assert store.collect(wait=20).failed == ()
    thread.join()


def test_leftovers_go_and_strangers_stay(store: LocalStore) -> None:
    path = added(store, {b"a": b"x"}).path
    with store.database.writing(durable=False):
        store.database.unregister([path])
    (store.store_dir / "README").write_text("mine")
    (store.store_dir / ".tmp-dead").mkdir()
    (store.store_dir / ".tmp-dead" / "half").write_text("written")
    (store.links_dir / ".spare-1").write_text("x")
    with store.temporary() as alive:
        would = store.collect(dry_run=True)
        report = store.collect()
        assert alive.is_dir()
    assert would.swept == report.swept == tuple(sorted([str(path), ".tmp-dead"]))
    assert sorted(each.name for each in store.store_dir.iterdir()) == [".links", "README"]
    assert list(store.links_dir.iterdir()) == []


def test_links_are_not_followed(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    added(store, {b"out": str(tmp_path / "precious")})
    (store.store_dir / ".tmp-link").symlink_to(tmp_path / "precious")
    store.collect()
    assert (tmp_path / "precious" / "file").read_text() == "keep"


def test_after_a_loss_the_collector_decides_as_before(store: LocalStore) -> None:
    base = added(store, ODD, "base").path
    app, old = user(store, "app", base), user(store, "old", base)
    store.add_root("release", app)
    store.close()
    for file in store.var_dir.glob("db.sqlite*"):
        file.unlink()
    with LocalStore.open(store.store_dir) as fresh:
        assert [info.path for info in fresh.collect().removed] == [old]
        assert fresh.valid([base, app]) == {base, app}


def test_a_lost_database_does_not_cost_the_objects(store: LocalStore) -> None:
    path = added(store, ODD).path
    store.add_root("release", path)
    store.close()
    for file in store.var_dir.glob("db.sqlite*"):
        file.unlink()
    store.journal.unlink()
    with LocalStore.open(store.store_dir) as fresh:
        with pytest.raises(DatabaseError, match="does not know"):
            fresh.collect()
        assert read(fresh.real(path)) == ODD


def test_a_reference_keeps_the_database_from_forgetting(store: LocalStore) -> None:
    """The net below the collector: a path that is referred to cannot become invalid alone."""
    base = added(store, b"1", "base").path
    app = user(store, "app", base)
    with pytest.raises(DatabaseError), store.database.writing(durable=False):
        store.database.unregister([base])
    assert store.valid([base, app]) == {base, app}
