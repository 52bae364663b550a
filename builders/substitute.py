"""Taking from shared caches what need not be built, before anything is.

Of most steps it is enough to know what path they gave: then what needs them can be derived, and
asked for in turn. Taken is only what was asked for, and what something has to be built from; so a
release comes without its thousand downloads. What a cache said is remembered, so that a build with
nothing to do asks nobody.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from builders.cache_record import Record
from builders.cache_source import Source
from builders.cache_urls import Patience
from builders.events import Event, EventKind
from builders.resolve import Resolver
from store.database import Realised
from store.path import StorePath

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from builders.cache_source import Cache
    from builders.events import Observer
    from builders.plan import Plan
    from store.cache_read import Taken
    from store.local import LocalStore

Found = TypeVar("Found")
PATIENCE = Patience()
_ROUNDS = 12
"""Times that a build is thought over again because a cache has not what it said."""


class Substitutes:
    """What caches know of a plan's steps; `lookup` gives outputs as `Resolver` wants them."""

    def __init__(
        self,
        plan: Plan,
        store: LocalStore,
        caches: Sequence[Cache],
        *,
        platform: str,
        observe: Observer,
        jobs: int = 1,
        patience: Patience | None = None,
    ) -> None:
        """Ask nobody yet."""
        self.taken: dict[str, StorePath] = {}
        self._plan = plan
        self._store = store
        self._platform = platform
        self._observe = observe
        self._jobs = jobs
        self._patience = patience or PATIENCE
        self._sources = [Source(each, store, self._patience) for each in caches]
        self._memo = _table(caches)
        self._known: dict[str, tuple[Record, Source]] = {}
        self._tried: dict[str, set[Source]] = {}
        self._lost: set[str] = set()
        self._online = False

    def lookup(self, digests: Collection[str]) -> dict[str, StorePath]:
        """Return outputs by derivation: those of the store, and those that caches told of.

        The latter need not be in the store.
        """
        found = dict(self._store.realisations(digests))
        if not self._sources:
            return found
        self._recall([each for each in digests if each not in found])
        if self._online:
            self._ask([each for each in digests if each not in found and self._unknown(each)])
        told = {each: self._known[each] for each in digests if each in self._known}
        return found | {
            digest: record.path
            for digest, (record, _) in told.items()
            if digest not in found and digest not in self._lost
        }

    def recall(self) -> None:
        """Make `lookup` give what is remembered, without asking; nothing is taken."""
        resolver = self._resolved()
        wanted, _ = self._needed(resolver)
        self._lost.update(resolver.digests[key] for key in wanted)

    def take(self) -> None:
        """Take what is wanted and can be had; afterwards `lookup` asks nobody.

        No failure of a cache is raised: each is told to the observer, once.
        """
        resolver = self._resolved()
        wanted, lacking = self._needed(resolver)
        if not wanted and not lacking:
            return
        with ExitStack() as stack:
            for source in self._sources:
                stack.callback(source.close)
            self._online = True
            try:
                self._take_rounds()
            finally:
                self._online = False
                self._tell_faults()

    def _take_rounds(self) -> None:
        for _ in range(_ROUNDS):
            resolver = self._resolved()
            wanted, _ = self._needed(resolver)
            if not wanted:
                return
            self._take(resolver, wanted)
            if not any(source.usable for source in self._sources):
                break
        # What cannot be had now is built; so is all that only its absence makes necessary.
        while wanted := self._needed(resolver := self._resolved())[0]:
            self._lost.update(resolver.digests[key] for key in wanted)

    def _resolved(self) -> Resolver:
        store_dir = str(self._store.store_dir)
        resolver = Resolver(self._plan, store_dir, self.lookup, platform=self._platform)
        resolver.advance()
        return resolver

    def _needed(self, resolver: Resolver) -> tuple[list[str], list[str]]:
        """Give the steps whose outputs must come, and those that nobody knows and must be built."""
        valid = self._store.valid(set(resolver.paths.values()))
        wanted: list[str] = []
        lacking: list[str] = []
        waiting = list(self._plan.targets)
        seen = set(waiting)
        while waiting:
            key = waiting.pop()
            path = resolver.paths.get(key)
            if path is not None:
                wanted += [] if path in valid else [key]
                continue
            lacking.append(key)
            inputs = set(self._plan.steps[key].inputs.values()) - seen
            seen |= inputs
            waiting += inputs
        return wanted, lacking

    def _take(self, resolver: Resolver, wanted: Sequence[str]) -> None:
        """Take outputs, each from the cache that told of it; forget what does not come."""
        by_source: dict[Source, set[StorePath]] = {}
        for key in wanted:
            record, source = self._known[resolver.digests[key]]
            by_source.setdefault(source, set()).add(record.path)
        for source, paths in by_source.items():
            self._take_from(source, paths)
        self._keep(resolver)
        valid = self._store.valid({resolver.paths[key] for key in wanted})
        for key in wanted:
            if resolver.paths[key] not in valid:
                _, source = self._known.pop(resolver.digests[key])
                self._tried.setdefault(resolver.digests[key], set()).add(source)

    def _take_from(self, source: Source, paths: Collection[StorePath]) -> None:
        def told(taken: Taken) -> None:
            if taken.added:
                count, size = len(taken.added), taken.compressed
                self._tell(EventKind.TAKEN, source, total=count, size=size)

        seconds = self._allowed()
        _patiently(source, lambda: source.take(paths, seconds, told))

    def _allowed(self) -> float:
        """Return how many seconds taking may last: what building would, and a little."""
        spent = sum(record.seconds for record, _ in self._known.values())
        return self._patience.grace + spent / self._jobs

    def _keep(self, resolver: Resolver) -> None:
        """Remember the outputs that are here now as if they had been built here."""
        keys = {
            key: self._known[digest][0]
            for key, digest in resolver.digests.items()
            if digest in self._known and key not in self.taken
        }
        valid = self._store.valid({record.path for record in keys.values()})
        here = {key: record for key, record in keys.items() if record.path in valid}
        self._store.realise_many(
            Realised(
                record.derivation,
                record.path,
                key,
                resolver.derivations[key].to_json(),
                record.seconds,
            )
            for key, record in here.items()
        )
        self.taken |= {key: record.path for key, record in here.items()}

    def _unknown(self, digest: str) -> bool:
        return digest not in self._known and digest not in self._lost

    def _ask(self, digests: Sequence[str]) -> None:
        """Ask one cache after the other; the first that knows a derivation is believed."""
        for source in self._sources:
            left = [
                each
                for each in digests
                if each not in self._known and source not in self._tried.get(each, ())
            ]
            if not left or not source.usable:
                continue
            for digest in left:
                self._tried.setdefault(digest, set()).add(source)
            found: dict[str, Record] = _patiently(source, lambda: source.ask(left))  # noqa: B023
            for digest, record in found.items():
                self._known[digest] = record, source
                self._remember(record, source)

    def _remember(self, record: Record, source: Source) -> None:
        said = {"url": str(source.cache.url), "path": str(record.path), "seconds": record.seconds}
        self._store.memo_put(self._memo, record.derivation, json.dumps(said).encode())

    def _recall(self, digests: Sequence[str]) -> None:
        """Find what a cache told an earlier build."""
        sources = {str(source.cache.url): source for source in self._sources}
        for digest in digests:
            if digest in self._tried or not self._unknown(digest):
                continue
            value = self._store.memo_get(self._memo, digest)
            if value is not None:
                said = json.loads(value)
                path = StorePath.parse(said["path"])
                record = Record(digest, path, str(self._store.store_dir), said["seconds"])
                self._known[digest] = record, sources[said["url"]]

    def _tell_faults(self) -> None:
        for source in self._sources:
            for error in source.said:
                kind = EventKind.CACHE_FAULT
                facts = (error.reason, error.got, error.hint)
                self._tell(kind, source, detail="; ".join(fact for fact in facts if fact))
            source.said.clear()

    def _tell(
        self, kind: EventKind, source: Source, *, detail: str = "", total: int = 0, size: int = 0
    ) -> None:
        name = str(source.cache.url)
        now = time.time()
        self._observe(Event(kind, name=name, detail=detail, total=total, size=size, time=now))


def _patiently(source: Source, work: Callable[[], Found]) -> Found:
    """Wait for a cache in such a way that Ctrl-C does not have to."""
    with ThreadPoolExecutor(1, "cache") as pool:
        try:
            return pool.submit(work).result()
        except BaseException:
            source.stop()
            raise


def _table(caches: Sequence[Cache]) -> str:
    """Name the memo of what these caches said: with other keys, nothing of it is believed."""
    said = [[str(each.url), sorted(map(str, each.keys))] for each in caches]
    return f"caches-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}"
