"""Build one step: lay its inputs, call its builder, put the output into the store.

Called from many threads. Which step, and when, is for `builders.schedule`.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders import logs
from builders.build import Build, BuildError
from builders.events import Event, EventKind
from builders.explain import remember_source
from builders.lay import lay
from builders.provenance import Run, keep, statement
from builders.revision import look
from store.errors import Error
from store.lock import LockedError, hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builders.command import Children
    from builders.events import Observer
    from builders.kinds import Builder
    from builders.sandbox import SandboxMode
    from builders.step import Step
    from store.derivation import Derivation
    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath

_POLL = 0.1
"""Seconds between two looks at a lock that another build holds."""


class OutputError(BuildError):
    """A builder that left no output, or one that the store cannot take."""

    slug = "bad-output"


@dataclass(frozen=True, slots=True)
class Task:
    """A step whose inputs are all there."""

    step: Step
    derivation: Derivation
    digest: str
    inputs: Mapping[str, StorePath]
    """Role → path."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a task; `cached` if another build made it meanwhile."""

    path: StorePath
    seconds: float = 0.0
    cached: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every build shares."""

    store: LocalStore
    builders: Mapping[str, Builder]
    mode: SandboxMode
    children: Children
    observe: Observer

    def make(self, task: Task) -> Made:
        """Build a task, unless somebody else does it at this moment; then wait for that.

        Raises:
            Error: whatever went wrong; nothing is registered then.
        """
        with claim(self.store, task, self.children, self.observe):
            known = self.store.realisation(task.digest)
            if known is not None:
                return Made(known, cached=True)
            return self._make(task)

    def _make(self, task: Task) -> Made:
        step, began, moment = task.step, time.monotonic(), time.time()
        self._tell(EventKind.STARTED, task, log=str(logs.log_file(self.store, task.digest)))
        revision = look(step.source) if step.source is not None else None
        with self.building(task) as (build, closure):
            self.children.pause(0)
            info = self.add(task, build, closure)
        seconds = time.monotonic() - began
        run = Run(self.children.mark, self.mode, moment, moment + seconds, revision)
        said = statement(task, info, closure, run, str(self.store.store_dir))
        keep(self.store, info.path, said)
        if step.source is not None:
            remember_source(self.store, step.source)
        self.store.realise(
            task.digest,
            info.path,
            key=step.key,
            derivation=task.derivation.to_json(),
            seconds=seconds,
        )
        return Made(info.path, seconds)

    def add(self, task: Task, build: Build, closure: Sequence[PathInfo]) -> PathInfo:
        """Put a finished build's output into the store."""
        return self.store.add(
            build.out,
            task.step.name,
            candidates=[each.path for each in closure],
            references=[task.inputs[role] for role in task.step.runtime],
        )

    @contextmanager
    def building(self, task: Task) -> Iterator[tuple[Build, Sequence[PathInfo]]]:
        """Run a task's builder in a place of its own; its output lasts as long as the block.

        Gives the build and what it could read.
        """
        closure = self.store.closure(task.inputs.values())
        with ExitStack() as stack:
            log = stack.enter_context(logs.writing(self.store, task.step.key, task.digest))
            area = stack.enter_context(self.store.temporary())
            work = area / "work"
            work.mkdir()
            build = Build(
                step=task.step,
                inputs={role: self.store.real(path) for role, path in task.inputs.items()},
                source=_source(task.step, work),
                out=work / "out",
                work=work,
                log=log,
                log_file=logs.log_file(self.store, task.digest),
                closure=[self.store.real(info.path) for info in closure],
                mode=self.mode,
                children=self.children,
            )
            with _faults(build):
                self._builder(task.step)(build)
                _check_output(build)
            yield build, closure

    def _builder(self, step: Step) -> Builder:
        if step.builder not in self.builders:
            raise BuildError(f"{step.title}: nothing is known to build {step.builder!r}")
        return self.builders[step.builder]

    def _tell(self, kind: EventKind, task: Task, *, log: str) -> None:
        step, now = task.step, time.time()
        title = step.title if step.title != step.key else ""
        self.observe(Event(kind, step.key, step.name, log=log, time=now, title=title))


@contextmanager
def claim(store: LocalStore, task: Task, children: Children, observe: Observer) -> Iterator[None]:
    """Hold the lock of a derivation, so that no two builds make the same thing.

    Raises:
        StoppedError: if the build is stopped while another one holds it.
    """
    file = store.var_dir / "locks" / f"{task.digest}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(file, wait=0, remove=True))
        except LockedError as held:
            detail = f"another build of the same ({held.got or 'here'})"
            observe(Event(EventKind.WAITING, task.step.key, task.step.name, detail=detail))
            stack.enter_context(_claim_later(file, children))
        yield


def drop_stale_locks(store: LocalStore) -> None:
    """Remove the lock files that builds left behind when they were killed."""
    for file in (store.var_dir / "locks").glob("*.lock"):
        with suppress(LockedError), hold(file, wait=0, remove=True):
            pass


@contextmanager
def _claim_later(file: Path, children: Children) -> Iterator[None]:
    with ExitStack() as stack:
        while True:
            children.pause(_POLL)
            with suppress(LockedError):
                stack.enter_context(hold(file, wait=0, remove=True))
                break
        yield


def _source(step: Step, work: Path) -> Path | None:
    if step.source is None:
        return None
    lay(step.source, work / "source")
    return work / "source"


@contextmanager
def _faults(build: Build) -> Iterator[None]:
    """Turn what the system refuses into the error of a failed build; let bugs be bugs."""
    try:
        yield
    except OSError as fault:
        if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        where = os.fsdecode(fault.filename) if fault.filename else "the build"
        raise build.error(f"{where}: {fault.strerror or fault}") from fault
    except Error:
        raise
    except Exception as fault:
        fault.add_note(f"while building {build.step.key}; log: {build.log_file}")
        raise


def _check_output(build: Build) -> None:
    if not os.path.lexists(build.out):  # a link to nowhere is an output too
        raise OutputError(
            f"{build.step.title}: the builder ended well but made nothing",
            where=str(build.log_file),
            expected=build.inside(build.out),
        )


def estimate(store: LocalStore, default: float = 1.0) -> Callable[[str], float]:
    """Give a function that tells how long a step took last time."""

    def seconds(key: str) -> float:
        known = store.duration(key)
        return default if known is None else known

    return seconds
