"""Fetch all that is missing at once, in threads of its own, beside the builds.

What has arrived is put into the store in batches: one sync and one commit for all that came
while the batch before was being written. A part that a killed build leaves is gone on with.
"""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, TypeVar

from builders.events import Event, EventKind
from builders.workshop import Made, Task, Workshop, claim
from store.database import Realised
from store.local import Addition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builders.fetch import Fetcher

    Done = Callable[[Task, Made | BaseException], None]

Item = TypeVar("Item")
_UNREGISTERED = 200
"""So many may wait to be put into the store; each holds an open lock file."""
_STOPPED = 0.2
"""Seconds that a stopped build gives each fetch to notice."""
_WEEK = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A whole file with the right hash, and the lock that keeps others from fetching it."""

    task: Task
    part: Path
    size: int
    seconds: float
    claim: ExitStack


class Downloads:
    """Fetches that run; each ends in one call of `done`, from another thread.

    The threads are daemons: one that waits for a server that says nothing must not keep a
    stopped build from ending.
    """

    def __init__(self, workshop: Workshop, fetcher: Fetcher, done: Done) -> None:
        """Start the threads, with nothing to do yet."""
        self._shop = workshop
        self._fetcher = fetcher
        self._done = done
        self._parts = workshop.store.var_dir / "partial"
        self._parts.mkdir(exist_ok=True)
        _sweep(self._parts)
        self._asked: SimpleQueue[Task | None] = SimpleQueue()
        self._arrived: SimpleQueue[_Arrived | None] = SimpleQueue()
        self._room = BoundedSemaphore(_UNREGISTERED)
        self._fetching = [_thread(self._fetch_all, f"fetch-{n}") for n in range(fetcher.threads)]
        self._registrar = _thread(self._register_all, "register")

    def start(self, task: Task) -> None:
        """Fetch a task's download as soon as a thread is free."""
        self._asked.put(task)

    def cancel(self) -> list[Task]:
        """Give back what has not begun; nobody is called for it."""
        return [task for task in _drain(self._asked) if task is not None]

    def close(self) -> None:
        """Wait until all that runs has ended, but not long once the build was stopped."""
        self.cancel()
        patience = _STOPPED if self._shop.children.stopped else None
        for _ in self._fetching:
            self._asked.put(None)
        for thread in self._fetching:
            thread.join(patience)
        self._arrived.put(None)
        self._registrar.join()
        self._fetcher.close()

    def _fetch_all(self) -> None:
        while (task := self._asked.get()) is not None:
            self._run(task)

    def _run(self, task: Task) -> None:
        self._room.acquire()
        try:
            with ExitStack() as stack:
                stack.enter_context(
                    claim(self._shop.store, task, self._shop.children, self._shop.observe)
                )
                known = self._shop.store.realisation(task.digest)
                if known is None:
                    self._arrived.put(self._fetch(task, stack))
                    return
            self._end(task, Made(known, cached=True))
        except BaseException as fault:  # noqa: BLE001 - `done` tells whoever asked
            self._end(task, fault)

    def _fetch(self, task: Task, stack: ExitStack) -> _Arrived:
        step, began = task.step, time.monotonic()
        if step.download is None:
            raise TypeError(f"{step.key} has nothing to fetch")
        self._tell(EventKind.STARTED, task, size=step.download.size or 0)
        part = self._parts / task.digest
        size = self._fetcher.fetch(
            step.download,
            part,
            name=step.name,
            hint=f"if the new file is right: sealift lock {step.recipe}",
            gone=f"pin what there is now: sealift lock {step.recipe}; or, if it is only the "
            "mirror that lacks it, name another under `mirrors:`",
        )
        return _Arrived(task, part, size, time.monotonic() - began, stack.pop_all())

    def _register_all(self) -> None:
        going = True
        while going:
            batch = [self._arrived.get(), *_drain(self._arrived)]
            going = None not in batch
            arrived = [each for each in batch if each is not None]
            try:
                self._register(arrived)
            except BaseException as fault:  # noqa: BLE001 - `done` tells whoever asked
                for each in arrived:
                    each.claim.close()
                    self._end(each.task, fault)

    def _register(self, batch: Sequence[_Arrived]) -> None:
        if not batch:
            return
        store = self._shop.store
        with store.temporary() as area:
            trees = [area / str(number) for number in range(len(batch))]
            for tree, each in zip(trees, batch, strict=True):
                _move(each.part, tree)
            infos = store.add_many(
                [
                    Addition(tree, each.task.step.name)
                    for tree, each in zip(trees, batch, strict=True)
                ]
            )
        store.realise_many(
            [
                Realised(
                    each.task.digest,
                    info.path,
                    each.task.step.key,
                    each.task.derivation.to_json(),
                    each.seconds,
                )
                for each, info in zip(batch, infos, strict=True)
            ]
        )
        for each, info in zip(batch, infos, strict=True):
            each.claim.close()
            self._end(each.task, Made(info.path, each.seconds, size=each.size))

    def _end(self, task: Task, outcome: Made | BaseException) -> None:
        self._room.release()
        self._done(task, outcome)

    def _tell(self, kind: EventKind, task: Task, *, size: int) -> None:
        event = Event(kind, task.step.key, task.step.name, size=size, time=time.time())
        self._shop.observe(event)


def _move(part: Path, tree: Path) -> None:
    """Rename; only where `var` is another file system than the store, copy."""
    try:
        part.rename(tree)
    except OSError as fault:
        if fault.errno != errno.EXDEV:
            raise
        shutil.move(part, tree)


def _thread(target: Callable[[], None], name: str) -> Thread:
    thread = Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def _drain(queue: SimpleQueue[Item]) -> list[Item]:
    items = []
    with suppress(Empty):
        while True:
            items.append(queue.get_nowait())
    return items


def _sweep(parts: Path) -> None:
    """Remove what nobody has gone on with for a week."""
    for part in parts.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _WEEK:
                part.unlink()
