"""Run what has to be done: many steps at once, the longest chain first, each as soon as it can.

One thread decides (the caller's); builds and fetches run in threads of their own and report to
it. A step that fails stops all that needs it, and is reported once.
"""

from __future__ import annotations

import errno
import heapq
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from builders import sandbox
from builders.derive import FETCH
from builders.downloads import Downloads
from builders.events import Event, EventKind
from builders.resolve import Resolver, longest_first
from builders.sandbox import SandboxMode
from builders.workshop import Made, Task, Workshop, estimate
from store.database import DiskFullError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.fetch import Fetcher
    from builders.plan import Plan
    from store.path import StorePath


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed, and why; `keys` are all steps that failed of the very same cause."""

    key: str
    error: Error
    keys: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What has been done so far, by key."""

    built: dict[str, float] = field(default_factory=dict)
    """Key → seconds."""
    fetched: dict[str, int] = field(default_factory=dict)
    """Key → bytes."""
    cached: list[str] = field(default_factory=list)
    failed: dict[str, Error] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Key → the failed key that it needs."""

    def failures(self) -> tuple[Failure, ...]:
        """Give each cause once: a full disk or a dead registry fails many steps alike."""
        causes: dict[tuple[str, str, str | None], list[str]] = {}
        for key, error in self.failed.items():
            causes.setdefault((error.slug, error.reason, error.where), []).append(key)
        return tuple(
            Failure(keys[0], self.failed[keys[0]], tuple(keys)) for keys in causes.values()
        )


class Schedule:
    """One run over a plan."""

    def __init__(
        self,
        plan: Plan,
        resolver: Resolver,
        workshop: Workshop,
        *,
        fetcher: Fetcher | None,
        jobs: int,
        keep_going: bool,
    ) -> None:
        """Start nothing yet; without a fetcher one is made when it is needed."""
        self.tally = Tally(failed=dict(plan.failed), skipped=dict(plan.blocked))
        self._plan = plan
        self._resolver = resolver
        self._shop = workshop
        self._given_fetcher = fetcher
        self.jobs = jobs
        self._keep_going = keep_going
        self._ended: SimpleQueue[tuple[Task, Made | BaseException]] = SimpleQueue()
        self._waiting: list[tuple[float, str]] = []
        self._fetching: set[str] = set()
        self._building: set[str] = set()
        self._weights: dict[str, float] = {}
        self._downloads: Downloads | None = None
        self._threads: ThreadPoolExecutor | None = None

    def run(self) -> Tally:
        """Do all that is to be done.

        Raises:
            KeyboardInterrupt: after all children are dead.
            Exception: a bug in a builder, after all others have ended.
        """
        self._report_unplanned()
        found, missing = self._resolver.advance()
        self._report_cached(found)
        if missing and not self._stopping:
            self._prepare()
            self._enqueue(missing)
            self._work()
        return self.tally

    def finished_builds(self) -> list[tuple[Task, StorePath]]:
        """Give each step that is there and was built, not fetched; the longest first."""
        keys = [key for key in self._resolver.paths if self._plan.steps[key].builder != FETCH]
        seconds = estimate(self._shop.store)
        keys.sort(key=seconds, reverse=True)
        return [(self._task(key), self._resolver.paths[key]) for key in keys]

    def _work(self) -> None:
        try:
            self._start_builds()
            while self._building or self._fetching:
                self._take(*self._ended.get())
                self._start_builds()
        except BaseException:
            self._shop.children.stop()
            raise
        finally:
            if self._downloads is not None:
                self._downloads.close()
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)

    def _prepare(self) -> None:
        """Look at all that may have to be built.

        Raises:
            SandboxError: if it cannot be, before anything is fetched for it.
        """
        keys = [key for key in self._plan.order if key not in self._resolver.paths]
        builds = [key for key in keys if self._plan.steps[key].builder != FETCH]
        if builds and self._shop.mode is SandboxMode.BUBBLEWRAP:
            sandbox.probe()
        self._weights = longest_first(self._plan, builds, estimate(self._shop.store))
        for key in builds:
            self._report_waiting(key)

    def _enqueue(self, keys: Sequence[str]) -> None:
        """Start fetches at once, the heaviest chain's first; let builds wait for a free job."""
        for key in sorted(keys, key=lambda key: (-self._weights[key], key)):
            if self._plan.steps[key].builder == FETCH:
                self._fetching.add(key)
                self._open_downloads().start(self._task(key))
            else:
                heapq.heappush(self._waiting, (-self._weights[key], key))

    def _open_downloads(self) -> Downloads:
        if self._downloads is None:
            # Loading an HTTP client takes longer than a build with nothing to do.
            from builders.fetch import Fetcher  # noqa: PLC0415

            fetcher = self._given_fetcher or Fetcher(pause=self._shop.children.pause)
            self._downloads = Downloads(
                self._shop, fetcher, lambda task, outcome: self._ended.put((task, outcome))
            )
        return self._downloads

    def _start_builds(self) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.jobs, "build")
        while self._waiting and len(self._building) < self.jobs and not self._stopping:
            _, key = heapq.heappop(self._waiting)
            self._building.add(key)
            self._threads.submit(self._build, self._task(key))

    @property
    def _stopping(self) -> bool:
        return bool(self.tally.failed) and not self._keep_going

    def _build(self, task: Task) -> None:
        try:
            outcome: Made | BaseException = self._shop.make(task)
        except BaseException as fault:  # noqa: BLE001 - the deciding thread raises it
            outcome = fault
        self._ended.put((task, outcome))

    def _take(self, task: Task, outcome: Made | BaseException) -> None:
        key = task.step.key
        self._building.discard(key)
        self._fetching.discard(key)
        if isinstance(outcome, Made):
            self._take_made(task, outcome)
        else:
            self._take_fault(task, outcome)

    def _take_made(self, task: Task, made: Made) -> None:
        key = task.step.key
        if made.cached:
            self.tally.cached.append(key)
            self._tell(EventKind.CACHED, key, path=made.path)
        elif task.step.builder == FETCH:
            self.tally.fetched[key] = made.size
            self._tell(EventKind.FETCHED, key, made.seconds, path=made.path, size=made.size)
        else:
            self.tally.built[key] = made.seconds
            self._tell(EventKind.FINISHED, key, made.seconds, path=made.path)
        self._resolver.settle(key, made.path)
        for user in self._resolver.users(key):
            if len(self._resolver.unsettled(user)) == 1:
                self._report_waiting(user)
        found, missing = self._resolver.advance()
        self._report_cached(found)
        if not self._stopping:
            self._enqueue(missing)

    def _take_fault(self, task: Task, fault: BaseException) -> None:
        error = _as_error(fault)
        key = task.step.key
        self.tally.failed[key] = error
        self._tell(EventKind.FAILED, key, detail=error.reason)
        for user in self._resolver.downstream(key):
            if user not in self.tally.skipped:
                self.tally.skipped[user] = key
                self._tell(EventKind.SKIPPED, user, detail=self._resolver.title(key))
        if self._stopping and self._downloads is not None:
            self._fetching -= {each.step.key for each in self._downloads.cancel()}

    def _task(self, key: str) -> Task:
        step = self._plan.steps[key]
        return Task(
            step=step,
            derivation=self._resolver.derivations[key],
            digest=self._resolver.digests[key],
            inputs={role: self._resolver.paths[each] for role, each in step.inputs.items()},
        )

    def _report_cached(self, keys: Sequence[str]) -> None:
        for key in keys:
            path = self._resolver.paths[key]
            self.tally.cached.append(key)
            # Shared caches tell of paths that nothing here needs.
            self._tell(EventKind.CACHED, key, path=path if self._shop.store.present(path) else None)

    def _report_unplanned(self) -> None:
        for key, error in self._plan.failed.items():
            self._tell(EventKind.FAILED, key, detail=error.reason)
        for key, cause in self._plan.blocked.items():
            self._tell(EventKind.SKIPPED, key, detail=cause)

    def _report_waiting(self, key: str) -> None:
        first, *others = [*self._resolver.unsettled(key), ""]
        if first:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            self._tell(EventKind.WAITING, key, detail=self._resolver.title(first) + more)

    def _tell(
        self,
        kind: EventKind,
        key: str,
        seconds: float = 0.0,
        *,
        detail: str = "",
        size: int = 0,
        path: StorePath | None = None,
    ) -> None:
        step = self._plan.steps.get(key)
        self._shop.observe(
            Event(
                kind,
                key,
                step.name if step is not None else key,
                seconds,
                detail,
                size=size,
                path=str(self._shop.store.real(path)) if path is not None else None,
                title=step.title if step is not None and step.title != key else "",
                time=time.time(),
            )
        )


def _as_error(fault: BaseException) -> Error:
    """See what an operator can act on; raise what is a bug."""
    if isinstance(fault, Error):
        return fault
    if not isinstance(fault, OSError):
        raise fault
    if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError("the disk is full", where=fault.filename, hint="sealift store gc")
    return Error(f"the system refuses: {fault.strerror or fault}", where=fault.filename)
