"""Pushes from one store to another: what arrives, what it costs, and what is refused."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

import store.basis
import store.receive
from store.closure import MissingReferenceError
from store.database import DiskFullError
from store.errors import InputError, IntegrityError
from store.local import LocalStore
from store.path import StorePath
from store.wire import FormatError
from tests.store.ends import AFTER, Platform, Pushed, moved, platform, push
from tests.store.trees import ODD, added, deep, lay, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Platform]:
    """Give two releases, in a store that was moved away."""
    made = platform(tmp_path.resolve() / "site")
    yield made
    made.source.close()


@pytest.fixture
def head(site: Platform) -> Iterator[LocalStore]:
    """Give an empty store at the place for which the other one was made."""
    with LocalStore.open(site.place) as opened:
        yield opened


def _backend(site: Platform) -> StorePath:
    paths = (info.path for info in site.source.closure([site.first]))
    return next(path for path in paths if path.name == "backend")


def _damage(file: Path) -> None:
    """Change a file's bytes, and nothing else that can be seen of it."""
    status = file.stat()
    file.chmod(0o644)
    file.write_bytes(b"D" * status.st_size)
    file.chmod(status.st_mode)
    os.utime(file, ns=(10**9, 10**9))


def test_what_arrives_is_what_was_sent(site: Platform, head: LocalStore) -> None:
    pushed = push(site.source, head, [site.first])
    assert pushed.failed == []
    closure = site.source.closure([site.first])
    assert [each.path for each in head.closure([site.first])] == [each.path for each in closure]
    for info in closure:
        assert read(head.real(info.path)) == read(site.source.real(info.path))
    assert head.verify().clean
    assert head.verify().unregistered == ()
    assert pushed.sent is not None
    assert pushed.received is not None
    assert pushed.sent.paths == pushed.received.paths == tuple(each.path for each in closure)
    assert (pushed.sent.blobs, pushed.sent.raw) == (pushed.received.blobs, pushed.received.raw)
    assert pushed.progress[-1].done == pushed.progress[-1].total == pushed.sent.raw


def _metadata(root: Path) -> dict[str, tuple[int, int]]:
    """Return mode and time of every node of a tree."""
    nodes = {".": root.lstat()} | {
        str(each.relative_to(root)): each.lstat() for each in root.rglob("*")
    }
    return {name: (status.st_mode, status.st_mtime_ns) for name, status in nodes.items()}


def test_files_are_what_a_build_would_have_left(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first])
    linked = {each.lstat().st_ino for each in head.links_dir.iterdir()}
    for info in head.paths():
        place = head.real(info.path)
        assert _metadata(place) == _metadata(site.source.real(info.path))
        files = [each for each in place.rglob("*") if each.is_file() and not each.is_symlink()]
        assert linked.issuperset(each.stat().st_ino for each in files if each.stat().st_size)


@pytest.mark.parametrize("tree", [b"", b"file", (b"program",), "link", {}, ODD, deep(200)])
def test_every_shape_of_path(tmp_path: Path, tree: object) -> None:
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as filled:
        path = added(filled, tree, "thing").path  # type: ignore[arg-type]
        source = moved(filled, "away")
    with source, LocalStore.open(source.store_dir) as target:
        assert push(source, target, [path]).failed == []
        assert read(target.real(path)) == tree
        assert target.verify().clean


def test_a_changed_line_is_sent_as_what_differs(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first], root="pushed")
    sent = push(site.source, head, [site.second], root="pushed").sent
    assert sent is not None
    assert {path.name for path in sent.paths} == {"backend", "backend.cdx.json", "release"}
    assert sent.wire < 2000
    assert read(head.real(site.second) / "backend")
    assert (head.real(site.second) / "backend" / "app.py").read_bytes() == AFTER
    assert head.verify().clean


def test_negative_control_without_a_root_there_is_nothing_to_differ_from(
    site: Platform, head: LocalStore
) -> None:
    push(site.source, head, [site.first])
    sent = push(site.source, head, [site.second]).sent
    assert sent is not None
    assert len(sent.paths) == 3
    assert sent.wire > 2000


def test_a_large_platform_costs_no_more(tmp_path: Path) -> None:
    made = platform(tmp_path.resolve() / "site", wheels=300)
    with made.source, LocalStore.open(made.place) as target:
        push(made.source, target, [made.first], root="pushed")
        sent = push(made.source, target, [made.second], root="pushed").sent
        assert sent is not None
        assert sent.wire < 5000


def test_what_is_there_is_not_sent_again(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.second])
    again = push(site.source, head, [site.second]).sent
    assert again is not None
    assert (again.paths, again.blobs, again.raw) == ((), 0, 0)
    back = push(site.source, head, [site.first]).sent
    assert back is not None
    assert back.blobs == 2


def test_a_dry_run_tells_and_changes_nothing(site: Platform, head: LocalStore) -> None:
    told = push(site.source, head, [site.first], root="pushed", dry_run=True)
    assert told.failed == []
    assert head.paths() == []
    assert head.roots() == []
    assert sorted(each.name for each in head.store_dir.iterdir()) == [".links"]
    done = push(site.source, head, [site.first])
    assert told.sent is not None
    assert done.sent is not None
    assert told.sent.paths == done.sent.paths
    assert (told.sent.blobs, told.sent.raw) == (done.sent.blobs, done.sent.raw)


def test_the_collector_keeps_what_was_pushed(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first], root="pushed/release")
    assert head.collect().removed == ()
    push(site.source, head, [site.second], root="pushed/release")
    gone = {info.path.name for info in head.collect().removed}
    assert gone == {"backend", "backend.cdx.json", "release"}
    assert site.second in {info.path for info in head.paths()}


def test_negative_control_without_a_root_it_does_not(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first])
    assert len(head.collect().removed) == len(site.source.closure([site.first]))


def test_several_tops_have_a_root_each(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first, site.second], root="both")
    assert {(each.name, each.path) for each in head.roots()} == {
        ("gcroots/both-1", site.first),
        ("gcroots/both-2", site.second),
    }


def test_what_is_no_root_is_refused(site: Platform, head: LocalStore) -> None:
    with pytest.raises(InputError, match="root"):
        push(site.source, head, [site.first], root="../outside")


def test_a_store_elsewhere_is_refused(site: Platform, tmp_path: Path) -> None:
    with LocalStore.open(tmp_path.resolve() / "other" / "store") as other:
        with pytest.raises(InputError) as caught:
            push(site.source, other, [site.first])
        assert caught.value.got == str(other.store_dir)
        assert other.paths() == []


def test_another_format_is_named(
    site: Platform, head: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.receive, "FORMAT", 2)
    with pytest.raises(FormatError) as caught:
        push(site.source, head, [site.first])
    assert (caught.value.expected, caught.value.got) == ("1", "2")


def test_a_path_that_is_not_here_is_not_offered(site: Platform, head: LocalStore) -> None:
    with pytest.raises(MissingReferenceError):
        push(site.source, head, [StorePath("0" * 32, "nothing")])


def test_trees_that_lie_about_are_used(site: Platform, head: LocalStore) -> None:
    """As the bootstrap leaves them: in place, right, neither registered nor shared."""
    for info in site.source.closure([site.first]):
        lay(head.real(info.path), read(site.source.real(info.path)))
    pushed = push(site.source, head, [site.first])
    assert pushed.sent is not None
    assert pushed.sent.blobs == 0
    assert head.verify().clean
    assert head.verify().unregistered == ()


def test_files_that_lie_about_are_not_written_again(site: Platform, head: LocalStore) -> None:
    backend = head.real(_backend(site))
    lay(backend, read(site.source.real(_backend(site))))
    before = (backend / "app.py").stat().st_ino
    push(site.source, head, [site.first])
    assert (backend / "app.py").stat().st_ino == before


def test_files_that_others_may_write_are_copied(site: Platform, head: LocalStore) -> None:
    backend = head.real(_backend(site))
    lay(backend, read(site.source.real(_backend(site))))
    (backend / "app.py").chmod(0o664)
    with (backend / "app.py").open("r+b") as open_still:
        push(site.source, head, [site.first])
        open_still.write(b"changed")
    assert head.verify().clean


def test_trees_that_are_wrong_give_what_is_right_of_them(site: Platform, head: LocalStore) -> None:
    backend = _backend(site)
    lay(head.real(backend), {b"app.py": b"changed", b"lib": "/etc", b"run": (b"#!/bin/sh\n",)})
    pushed = push(site.source, head, [site.first])
    assert pushed.failed == []
    assert read(head.real(backend)) == read(site.source.real(backend))
    assert head.verify().clean


def test_one_file_with_both_modes_is_sent_once(tmp_path: Path) -> None:
    code = os.urandom(50_000)
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as filled:
        path = added(filled, {b"plain": code, b"program": (code,)}).path
        only = added(filled, {b"again": code}, "only").path
        source = moved(filled, "away")
    with source, LocalStore.open(source.store_dir) as target:
        sent = push(source, target, [path]).sent
        assert sent is not None
        assert (sent.blobs, sent.raw) == (1, len(code))
        again = push(source, target, [only]).sent
        assert again is not None
        assert again.blobs == 0
        assert target.verify().clean


def test_a_file_that_only_its_link_names_is_read_before_it_is_used(
    site: Platform, head: LocalStore
) -> None:
    """What a push left that was cut off by the power: the right name and size, other bytes."""
    push(site.source, head, [site.first])
    head.collect()
    for link in site.source.links_dir.iterdir():
        left = head.links_dir / link.name
        left.write_bytes(link.read_bytes())
        left.chmod(link.stat().st_mode)
        _damage(left)
    pushed = push(site.source, head, [site.first])
    assert pushed.failed == []
    assert head.verify().clean


def test_negative_control_believing_it_fails_the_push(
    site: Platform, head: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.blobs, "_ENOUGH", 1)
    with pytest.raises(IntegrityError, match="did not become"):
        test_a_file_that_only_its_link_names_is_read_before_it_is_used(site, head)


def test_a_damaged_file_of_another_path_is_found_and_sent_again(
    site: Platform, head: LocalStore
) -> None:
    push(site.source, head, [site.first])
    _damage(head.real(site.first) / "backend" / "lib" / "f7.py")
    with pytest.raises(IntegrityError) as caught:
        push(site.source, head, [site.second])
    assert caught.value.hint is not None
    assert "1 damaged" in caught.value.hint
    assert push(site.source, head, [site.second]).failed == []
    assert [each.info.path.name for each in head.verify().damaged] == ["backend"]


def test_negative_control_without_a_hash_of_the_whole_it_is_taken(
    site: Platform, head: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.assemble._same", lambda *_: True)
    push(site.source, head, [site.first])
    _damage(head.real(site.first) / "backend" / "lib" / "f7.py")
    push(site.source, head, [site.second])
    assert len(head.verify().damaged) == 2


def test_a_damaged_file_of_the_sender_is_not_taken(site: Platform, head: LocalStore) -> None:
    _damage(site.source.real(_backend(site)) / "app.py")
    with pytest.raises(IntegrityError) as caught:
        push(site.source, head, [site.first])
    assert "sealift store verify" in (caught.value.hint or "")
    assert head.paths() == []
    assert head.verify().clean


def test_a_damaged_forerunner_of_the_sender_is_named(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first], root="pushed")
    _damage(site.source.real(_backend(site)) / "app.py")
    with pytest.raises(IntegrityError, match="was changed"):
        push(site.source, head, [site.second], root="pushed")


def test_a_damaged_forerunner_of_the_head_is_not_built_on(site: Platform, head: LocalStore) -> None:
    push(site.source, head, [site.first], root="pushed")
    _damage(head.real(_backend(site)) / "app.py")
    assert push(site.source, head, [site.second], root="pushed").failed == []
    assert (head.real(site.second) / "backend" / "app.py").read_bytes() == AFTER


def test_a_file_too_large_for_a_patch_is_sent_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.basis, "PATCH_LIMIT", 1000)
    made = platform(tmp_path.resolve() / "site")
    with made.source, LocalStore.open(made.place) as target:
        push(made.source, target, [made.first], root="pushed")
        sent = push(made.source, target, [made.second], root="pushed").sent
        assert sent is not None
        assert sent.blobs == 2
        assert (target.real(made.second) / "backend" / "app.py").read_bytes() == AFTER


def test_two_pushes_at_once(site: Platform, head: LocalStore) -> None:
    """Two operators, one head: both end well, and each path is there once."""
    with LocalStore.open(site.place) as second:
        start = threading.Barrier(2)
        outcomes: list[Pushed] = []

        def run(target: LocalStore, top: StorePath) -> None:
            start.wait()
            outcomes.append(push(site.source, target, [top]))

        runs = [
            threading.Thread(target=run, args=(head, site.first)),
            threading.Thread(target=run, args=(second, site.second)),
        ]
        for each in runs:
            each.start()
        for each in runs:
            each.join()
        assert [each.failed for each in outcomes] == [[], []]
        assert head.verify().clean
        assert site.first in {i.path for i in head.paths()} >= {site.second}


def test_a_head_without_room_says_so_before_anything_is_sent(
    site: Platform,
) -> None:
    place = site.place.parent
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(place)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.decode().strip()}")
    try:
        with LocalStore.open(site.place) as head:
            with pytest.raises(DiskFullError) as caught:
                push(site.source, head, [site.first])
            assert caught.value.where == str(head.store_dir)
            assert "inodes" in (caught.value.got or "")
            assert " MB and " in (caught.value.expected or "")
            assert " MB and " in (caught.value.got or "")
            assert head.paths() == []
            assert sorted(each.name for each in head.store_dir.iterdir()) == [".links"]
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
