"""Pushes that end early: cut at every message and at random, killed, and robbed of their power.

Afterwards nothing of them is registered, what is registered is whole, and the next push finishes
with what had arrived.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import pytest

import store.add
import store.assemble
import store.blobs
from store.errors import Error, IntegrityError
from store.local import LocalStore
from store.receive import receive
from store.send import send
from store.sync import sync_directory, sync_tree
from store.wire import CutError
from tests.store.children import die_before
from tests.store.ends import Platform, between, moved, platform, push, push_to_child
from tests.store.trees import added, lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from store.path import StorePath
    from tests.store.children import Work
    from tests.store.ends import Elsewhere

T = TypeVar("T")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Platform]:
    made = platform(tmp_path.resolve() / "site", wheels=1)
    yield made
    made.source.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Elsewhere, StorePath]]:
    """Give a store with two small paths, of which the second refers to the first."""
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as filled:
        first = added(filled, {b"x": b"same", b"p": (b"run",), b"d": {b"e": b""}}, "first").path
        with filled.temporary() as area:
            lay(area / "tree", {b"l": "x", b"y": b"other", b"z": b"same"})
            top = filled.add(area / "tree", "top", references=[first]).path
        source = moved(filled, "away")
    yield source, top
    source.close()


def _unharmed(place: Path) -> LocalStore:
    """Open a head after a push that failed, and see that nothing of it shows."""
    head = LocalStore.open(place)
    assert head.verify().clean
    for info in head.paths():
        assert head.closure([info.path])
    return head


class _Recorder:
    """A writer that keeps what goes through it, and where each write ended."""

    def __init__(self, writer: BinaryIO) -> None:
        self.writer = writer
        self.data = b""
        self.ends: list[int] = []

    def write(self, data: bytes) -> int:
        taken = self.writer.write(data)
        self.data += bytes(data[:taken])
        self.ends.append(len(self.data))
        return taken

    def flush(self) -> None:
        self.writer.flush()


def _record(site: Platform) -> _Recorder:
    """Push once to an empty head, and return all that the sender sent."""
    kept: list[_Recorder] = []

    def speak(reader: BinaryIO, writer: BinaryIO) -> None:
        kept.append(_Recorder(writer))
        recorder: BinaryIO = kept[0]  # type: ignore[assignment]
        send(site.source, [site.first], reader=reader, writer=recorder, observe=lambda _: None)

    with LocalStore.open(site.place) as head:

        def listen(reader: BinaryIO, writer: BinaryIO) -> None:
            receive(head, reader=reader, writer=writer, root=None)

        between(listen, speak)
    return kept[0]


def _replay(site: Platform, data: bytes) -> Error | None:
    """Let an empty head hear so much of a push and no more; return what it made of that."""
    shutil.rmtree(site.place.parent)
    caught: list[Error] = []
    with LocalStore.open(site.place) as head:

        def listen(reader: BinaryIO, writer: BinaryIO) -> None:
            try:
                receive(head, reader=reader, writer=writer, root=None)
            except Error as error:
                caught.append(error)

        def speak(reader: BinaryIO, writer: BinaryIO) -> None:
            with suppress(BrokenPipeError):
                writer.write(data)
            writer.close()
            reader.read()

        between(listen, speak)
    return caught[0] if caught else None


def test_cut_at_every_message_and_at_random(site: Platform) -> None:
    told = _record(site)
    dice = random.Random(4)  # noqa: S311 - not a secret
    places = {0, *told.ends[:-1], *(end - 1 for end in told.ends), *(end + 1 for end in told.ends)}
    places |= {dice.randrange(len(told.data)) for _ in range(30)}
    for cut in sorted(place for place in places if place < len(told.data)):
        assert isinstance(_replay(site, told.data[:cut]), CutError), cut
        with _unharmed(site.place) as head:
            assert head.paths() == []
            assert sorted(each.name for each in head.store_dir.iterdir()) == [".links"]
            assert push(site.source, head, [site.first]).failed == []
            assert head.verify().clean
    assert _replay(site, told.data) is None


def test_a_push_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    """Cut at half of the contents: about half of them are not sent again."""
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as filled:
        tree = {b"f%d" % each: os.urandom(4000) for each in range(100)}
        path = added(filled, tree).path
        source = moved(filled, "away")
    made = Platform(source, source.store_dir, path, path)
    with source:
        told = _record(made)
        assert isinstance(_replay(made, told.data[: len(told.data) // 2]), CutError)
        with LocalStore.open(made.place) as head:
            sent = push(source, head, [path]).sent
            assert sent is not None
            assert 45 <= sent.blobs <= 55
            assert head.verify().clean


def _dying(number: int) -> Work:
    def work(_: LocalStore) -> None:
        die_before(number)

    return work


def test_a_receiver_that_dies_before_any_of_its_changes(
    small: tuple[Elsewhere, StorePath],
) -> None:
    source, top = small
    place = source.store_dir
    moments = 0
    while push_to_child(source, place, [top], _dying(moments)) == -signal.SIGKILL:
        with _unharmed(place) as head:
            assert push(source, head, [top]).failed == []
            assert head.verify().clean
            assert len(head.closure([top])) == 2
            head.collect()
            assert sorted(each.name for each in head.store_dir.iterdir()) == [".links"]
        moments += 1
    assert moments > 30


def test_negative_control_registering_first_is_noticed(
    small: tuple[Elsewhere, StorePath], monkeypatch: pytest.MonkeyPatch
) -> None:
    def register_first(
        opened: LocalStore, new: Sequence[store.add.Ready], *, durable: bool
    ) -> list[Path]:
        with opened.database.writing(durable=durable):
            for each in new:
                opened.database.register(each.info)
        return [store.add._rename(opened, each.tree, opened.real(each.info.path)) for each in new]

    monkeypatch.setattr(store.add, "_place", register_first)
    source, top = small
    place = source.store_dir
    harmed, moments = 0, 0
    while push_to_child(source, place, [top], _dying(moments)) == -signal.SIGKILL:
        with LocalStore.open(place) as head:
            harmed += not head.verify().clean
            head.collect()
        moments += 1
    assert harmed > 0


def _cut_power(place: Path) -> int:
    """Do what the worst disk may: what was never synced keeps its name and size, not its bytes.

    What is in place was synced before it got there. Return how many files were lost.
    """
    kept = {
        each.stat().st_ino
        for path in place.glob("[!.]*")
        for each in (path, *path.rglob("*"))
        if each.is_file() and not each.is_symlink()
    }
    lost = 0
    for parent, _, files in os.walk(place):
        for name in files:
            file = os.path.join(parent, name)  # noqa: PTH118 - as os.walk gives it
            status = os.lstat(file)
            if os.path.islink(file) or status.st_ino in kept or not status.st_size:  # noqa: PTH114
                continue
            os.chmod(file, 0o644)  # noqa: PTH101
            with open(file, "wb") as stream:  # noqa: PTH123
                stream.write(bytes(status.st_size))
            os.chmod(file, status.st_mode)  # noqa: PTH101
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
            lost += 1
    return lost


def _lose_power(site: Platform, rounds: int) -> int:
    """Kill receivers before random changes and take their bytes; return how many were lost.

    Each push begins with nothing, or with the first release in place.
    """
    dice = random.Random(5)  # noqa: S311 - not a secret
    lost = 0
    for number in range(rounds):
        top = site.second if number % 2 else site.first

        push_to_child(site.source, site.place, [top], _dying(dice.randrange(200)))
        lost += _cut_power(site.place)
        with _unharmed(site.place) as head:
            push(site.source, head, [top])
            assert head.verify().clean
            if number % 2:
                head.collect()
    return lost


def test_power_cuts_at_random_moments(site: Platform) -> None:
    assert _lose_power(site, 40) > 50


def test_negative_control_believing_what_was_left(
    site: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.blobs, "_ENOUGH", 1)
    with pytest.raises(IntegrityError, match="did not become"):
        _lose_power(site, 40)


def test_all_is_synced_before_it_is_put_in_place_and_that_before_it_is_registered(
    small: tuple[Elsewhere, StorePath], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(name: str, step: Callable[..., T]) -> Callable[..., T]:
        def run(*arguments: object, **options: object) -> T:
            steps.append(name)
            return step(*arguments, **options)

        return run

    monkeypatch.setattr(store.add, "sync_tree", noted("data", sync_tree))
    monkeypatch.setattr(store.add, "_rename", noted("rename", store.add._rename))
    monkeypatch.setattr(store.add, "sync_directory", noted("directory", sync_directory))
    source, top = small
    with LocalStore.open(source.store_dir) as head:
        register = noted("register", head.database.register)
        monkeypatch.setattr(head.database, "register", register)
        push(source, head, [top])
    assert steps == ["data", "rename", "rename", "directory", "register", "register"]
