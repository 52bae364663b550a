"""Two stores that bear one name, and the pipes between who sends and who receives."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from store.database import Database
from store.local import LocalStore
from store.receive import Received, receive
from store.send import Progress, Sent, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from store.path import StorePath


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
    failed: list[Exception] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Give both ends of a pipe."""
    out, into = os.pipe()
    with ExitStack() as stack:
        yield stack.enter_context(os.fdopen(out, "rb")), stack.enter_context(os.fdopen(into, "wb"))


def push(
    source: LocalStore,
    target: LocalStore,
    tops: Sequence[StorePath],
    *,
    root: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Push within this process; raise what the sender raises.

    Each end lets go of the connection when it is done, as processes do.
    """
    pushed = Pushed()
    down, up = os.pipe(), os.pipe()

    def head() -> None:
        with os.fdopen(down[0], "rb") as reader, os.fdopen(up[1], "wb") as writer:
            try:
                pushed.received = receive(target, reader=reader, writer=writer, root=root)
            except Exception as error:  # noqa: BLE001 - looked at by the test
                pushed.failed.append(error)

    thread = threading.Thread(target=head)
    thread.start()
    try:
        with os.fdopen(up[0], "rb") as reader, os.fdopen(down[1], "wb") as writer:
            pushed.sent = send(
                source,
                tops,
                reader=reader,
                writer=writer,
                observe=pushed.progress.append,
                dry_run=dry_run,
            )
    finally:
        thread.join()
    return pushed
