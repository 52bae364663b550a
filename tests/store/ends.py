"""Two stores that bear one name, and the pipes between who sends and who receives."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from store.database import Database
from store.errors import Error
from store.local import LocalStore
from store.receive import Received, receive
from store.send import Progress, Sent, send
from store.wire import CutError
from tests.store.children import child, wait
from tests.store.trees import ODD, added, lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from store.path import StorePath
    from tests.store.children import Work
    from tests.store.trees import Tree

    End = Callable[[BinaryIO, BinaryIO], None]


class Elsewhere(LocalStore):
    """A store that was moved after it was filled: it goes by the directory it was made for.

    So on one machine there can be another at that place, as there is on another machine.
    """

    def __init__(self, bears: Path, lies: Path) -> None:
        var = lies.parent / "var"
        super().__init__(bears, var, Database(var / "db.sqlite"))
        self.lies = lies
        self.links_dir = lies / ".links"

    def real(self, path: StorePath) -> Path:
        return self.lies / str(path)

    def present(self, path: StorePath) -> bool:
        return os.path.lexists(self.real(path))


@dataclass(frozen=True, slots=True)
class Platform:
    """Two releases in a store that was moved away, so that its place is free for another.

    The second differs from the first by one line of one file of `backend`; a description that
    quotes its hash, and the release itself, follow.
    """

    source: Elsewhere
    place: Path
    first: StorePath
    second: StorePath


BEFORE = b"".join(b"line %d of a program that does something\n" % each for each in range(400))
AFTER = BEFORE.replace(b"line 200 of", b"line 200, changed, of")


def platform(site: Path, *, wheels: int = 3) -> Platform:
    """Fill a store with two releases, and move it away."""
    with LocalStore.open(site / "store") as store:
        shared = [
            added(store, {b"w%d.py" % each: b"%d" % each * 9, b"same": b"s"}, f"wheel-{each}").path
            for each in range(wheels)
        ]
        releases = [_release(store, shared, code) for code in (BEFORE, AFTER)]
        return Platform(moved(store, "away"), site / "store", *releases)


def _release(store: LocalStore, wheels: Sequence[StorePath], code: bytes) -> StorePath:
    tree: Tree = {
        b"app.py": code,
        b"run": (b"#!/bin/sh\n",),
        b"lib": {b"f%d.py" % each: b"def f%d(): ...\n" % each for each in range(20)},
        b"odd": ODD,
    }
    backend = _add(store, "backend", tree, wheels)
    bill: Tree = b"a bill of materials\n" * 200 + str(backend).encode()
    described = _add(store, "backend.cdx.json", bill, ())
    top: Tree = {b"backend": f"{store.store_dir}/{backend}", b"copy.py": (code,)}
    return _add(store, "release", top, [backend, described])


def _add(store: LocalStore, name: str, tree: Tree, references: Sequence[StorePath]) -> StorePath:
    with store.temporary() as area:
        lay(area / "tree", tree)
        return store.add(area / "tree", name, references=references).path


def moved(store: LocalStore, name: str) -> Elsewhere:
    """Move a store aside, to a folder of this name beside its own; its place is free then."""
    store.close()
    site = store.store_dir.parent
    aside = site.with_name(name)
    site.rename(aside)
    return Elsewhere(store.store_dir, aside / store.store_dir.name)


@dataclass(slots=True)
class Pushed:
    """How both ends of a push came out."""

    sent: Sent | None = None
    received: Received | None = None
    failed: list[Error] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)


def push(
    source: LocalStore,
    target: LocalStore,
    tops: Sequence[StorePath],
    *,
    root: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Push within this process; raise what the sender raises."""
    pushed = Pushed()

    def head(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            pushed.received = receive(target, reader=reader, writer=writer, root=root)
        except Error as error:
            pushed.failed.append(error)

    def operator(reader: BinaryIO, writer: BinaryIO) -> None:
        watch = pushed.progress.append
        pushed.sent = send(
            source, tops, reader=reader, writer=writer, observe=watch, dry_run=dry_run
        )

    between(head, operator)
    return pushed


def between(head: End, operator: End) -> None:
    """Let two ends talk, the first in a thread of its own; raise what the second raises.

    Each end lets go of the connection when it is done, as processes do.
    """
    down, up = os.pipe(), os.pipe()

    def listen() -> None:
        with _open(down[0], up[1]) as (reader, writer):
            head(reader, writer)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        with _open(up[0], down[1]) as (reader, writer):
            operator(reader, writer)
    finally:
        thread.join()


def push_to_child(
    source: LocalStore, place: Path, tops: Sequence[StorePath], work: Work | None = None
) -> int:
    """Push to a process of its own, which first does `work`; return how that ended.

    That the connection was cut is no error: that is what these children are for.
    """
    down, up = os.pipe(), os.pipe()

    def head(opened: LocalStore) -> None:
        os.close(down[1])
        os.close(up[0])
        with _open(down[0], up[1]) as (reader, writer):
            if work is not None:
                work(opened)
            receive(opened, reader=reader, writer=writer, root=None)

    pid = child(place, head)
    os.close(down[0])
    os.close(up[1])
    with suppress(CutError), _open(up[0], down[1]) as (reader, writer):
        send(source, tops, reader=reader, writer=writer, observe=lambda _: None)
    return wait(pid)


@contextmanager
def _open(reader: int, writer: int) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Take both ends of a connection, and let go of them; writing is not held back."""
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb", buffering=0) as target:
        yield source, target
