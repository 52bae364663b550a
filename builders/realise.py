"""From a plan to store paths: the one call that the command line makes.

Resolving, scheduling, explaining and checking are modules of their own; this one joins them
under one lock and one set of children.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builders.command import Children
from builders.derive import platform_of
from builders.events import Event, EventKind, ignore
from builders.kinds import BUILDERS
from builders.resolve import Resolver
from builders.sandbox import SandboxMode
from builders.schedule import Failure, Schedule, Tally
from builders.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.cache_source import Cache
    from builders.events import Observer
    from builders.explain import Decision
    from builders.fetch import Fetcher
    from builders.kinds import Builder
    from builders.plan import Plan
    from store.local import LocalStore
    from store.path import StorePath


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a plan.

    Attributes:
        outputs: key → path, of every step that is there.
        built: key → seconds.
        fetched: key → bytes.
        cached: keys that needed nothing.
        taken: keys whose outputs came from shared caches, or were in the store as caches say.
        failures: each cause once.
        skipped: key → the failed key that it needs.
        checked: keys whose second build gave the same bytes.
        decisions: of a dry run: what would be done, and why.
    """

    outputs: Mapping[str, StorePath]
    built: Mapping[str, float]
    fetched: Mapping[str, int]
    cached: tuple[str, ...]
    failures: tuple[Failure, ...]
    skipped: Mapping[str, str]
    checked: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    taken: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def realise(
    plan: Plan,
    store: LocalStore,
    *,
    jobs: int | None = None,
    keep_going: bool = False,
    sandbox_mode: SandboxMode = SandboxMode.BUBBLEWRAP,
    observe: Observer = ignore,
    check: bool = False,
    dry_run: bool = False,
    builders: Mapping[str, Builder] = BUILDERS,
    fetcher: Fetcher | None = None,
    caches: Sequence[Cache] = (),
) -> Result:
    """Fetch and build what is missing; failures are in the result, each once.

    Without `keep_going` nothing is started after the first failure, but what runs may end; a
    recipe that could not be planned counts as one.
    `check` builds once more what is not fetched and compares. `dry_run` only says what would be
    done, and why. `jobs` builds run at once, by default one per core. `caches` are asked first for
    what is missing; not for `check`, which wants everything from here, nor for `dry_run`.

    Raises:
        KeyboardInterrupt: after all children are dead; nothing half done is registered.
        SandboxError: if builds are needed and this machine cannot make a sandbox.
    """
    platform = platform_of(bare=sandbox_mode is SandboxMode.OFF)
    total = len(plan.order) + len(plan.failed) + len(plan.blocked)
    observe(Event(EventKind.PLANNED, total=total, time=time.time()))
    with store.session(), Children() as children:
        workshop = Workshop(store, builders, sandbox_mode, children, observe)
        jobs = jobs or os.cpu_count() or 1
        known = None
        if caches and not check:
            # Loaded here because it brings along what a build without caches does not need.
            from builders.substitute import Substitutes  # noqa: PLC0415

            known = Substitutes(plan, store, caches, platform=platform, observe=observe, jobs=jobs)
            (known.recall if dry_run else known.take)()
        lookup = store.realisations if known is None else known.lookup
        resolver = Resolver(plan, str(store.store_dir), lookup, platform=platform)
        if dry_run:
            return _explain(plan, resolver, store)
        schedule = Schedule(
            plan,
            resolver,
            workshop,
            fetcher=fetcher,
            jobs=jobs,
            keep_going=keep_going,
        )
        tally = schedule.run()
        taken = () if known is None else tuple(known.taken)
        result = replace(_result(resolver, tally, store), taken=taken)
        return _check(schedule, workshop, result) if check else result


def _explain(plan: Plan, resolver: Resolver, store: LocalStore) -> Result:
    from builders.explain import explain  # noqa: PLC0415 - only a dry run needs it

    found, missing = resolver.advance()
    decisions = explain(plan, resolver, store, missing)
    tally = Tally(cached=found, failed=dict(plan.failed), skipped=dict(plan.blocked))
    return replace(_result(resolver, tally, store), decisions=decisions)


def _check(schedule: Schedule, workshop: Workshop, result: Result) -> Result:
    """Build again what is there; what was fetched is pinned by its hash already."""
    from builders.check import Verdict, check  # noqa: PLC0415 - only asked for now and then

    checked: list[str] = []
    failures = [*result.failures]

    def told(verdict: Verdict) -> None:
        key, error = verdict.task.step.key, verdict.error
        if error is None:
            checked.append(key)
        else:
            failures.append(Failure(key, error, (key,)))
        kind = EventKind.CHECKED if error is None else EventKind.FAILED
        detail = "" if error is None else error.reason
        step, now = verdict.task.step, time.time()
        title = step.title if step.title != key else ""
        workshop.observe(
            Event(kind, key, step.name, verdict.seconds, detail, time=now, title=title)
        )

    check(workshop, schedule.finished_builds(), jobs=schedule.jobs, told=told)
    return replace(result, checked=tuple(checked), failures=tuple(failures))


def _result(resolver: Resolver, tally: Tally, store: LocalStore) -> Result:
    # Of what caches told, not all had to come.
    outputs = {key: path for key, path in resolver.paths.items() if store.present(path)}
    return Result(
        outputs=outputs,
        built=tally.built,
        fetched=tally.fetched,
        cached=tuple(tally.cached),
        failures=tally.failures(),
        skipped=tally.skipped,
    )
