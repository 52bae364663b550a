"""Make damaged store paths again, from the steps of a plan that once gave them.

A path's name is its contents: what is made again either is the same, and takes the damaged one's
place, or it is another path and repairs nothing. Finding the damage is for `store.verify`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from builders.command import Children
from builders.derive import FETCH, platform_of
from builders.events import Event, EventKind, ignore
from builders.fetch import Fetcher
from builders.kinds import BUILDERS
from builders.resolve import Resolver
from builders.sandbox import SandboxMode
from builders.workshop import Task, Workshop
from store.errors import Error
from store.nar import BadTreeError, hash_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builders.events import Observer
    from builders.kinds import Builder
    from builders.plan import Plan
    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath


@contextmanager
def repairing(
    plan: Plan,
    store: LocalStore,
    *,
    sandbox_mode: SandboxMode = SandboxMode.BUBBLEWRAP,
    observe: Observer = ignore,
    builders: Mapping[str, Builder] = BUILDERS,
    fetcher: Fetcher | None = None,
) -> Iterator[Callable[[PathInfo], bool]]:
    """Give the callback that `LocalStore.verify` asks to make a path again.

    It tells whether it could. What it fetches and builds, and why that fails, goes to `observe`.
    """
    # What the database remembers, whether it is still on the disk or not.
    platform = platform_of(bare=sandbox_mode is SandboxMode.OFF)
    lookup = store.database.realisations
    resolver = Resolver(plan, str(store.store_dir), lookup, platform=platform)
    resolver.advance()
    with Children() as children:
        shop = Workshop(store, builders, sandbox_mode, children, observe)
        client = fetcher or Fetcher(pause=children.pause)
        try:
            yield _Repair(plan, resolver, shop, client).again
        finally:
            client.close()


class _Repair:
    def __init__(self, plan: Plan, resolver: Resolver, shop: Workshop, fetcher: Fetcher) -> None:
        self._plan = plan
        self._resolver = resolver
        self._shop = shop
        self._store = shop.store
        self._fetcher = fetcher
        self._keys = {path: key for key, path in resolver.paths.items()}
        self._sound: set[StorePath] = set()

    def again(self, info: PathInfo) -> bool:
        """Make one path again, after all damaged ones that are needed for it."""
        key = self._keys.get(info.path)
        if key is None:
            return False
        began = time.monotonic()
        try:
            done = self._inputs_sound(key) and self._make(key, info.path)
        except Error as error:
            self._tell(EventKind.FAILED, key, began, error.reason)
            return False
        self._tell(EventKind.FINISHED if done else EventKind.FAILED, key, began)
        return done

    def _inputs_sound(self, key: str) -> bool:
        inputs = [self._resolver.paths[each] for each in self._plan.steps[key].inputs.values()]
        infos = sorted(self._store.database.closure(inputs), key=lambda info: info.registered)
        return all(self._is_sound(info) or self.again(info) for info in infos)

    def _is_sound(self, info: PathInfo) -> bool:
        if info.path not in self._sound:
            try:
                digest, _ = hash_tree(self._store.real(info.path))
            except (OSError, BadTreeError):
                return False
            if digest.hex() != info.nar_sha256:
                return False
            self._sound.add(info.path)
        return True

    def _make(self, key: str, path: StorePath) -> bool:
        step = self._plan.steps[key]
        with self._store.replacing(path):
            info = self._fetch(key) if step.builder == FETCH else self._build(key)
        return info.path == path

    def _fetch(self, key: str) -> PathInfo:
        step = self._plan.steps[key]
        if step.download is None:
            raise TypeError(f"{key} has nothing to fetch")
        with self._store.temporary() as area:
            self._fetcher.fetch(step.download, area / "part", name=step.name)
            return self._store.add(area / "part", step.name)

    def _build(self, key: str) -> PathInfo:
        step = self._plan.steps[key]
        task = Task(
            step=step,
            derivation=self._resolver.derivations[key],
            digest=self._resolver.digests[key],
            inputs={role: self._resolver.paths[each] for role, each in step.inputs.items()},
        )
        with self._shop.building(task) as (build, closure):
            return self._shop.add(task, build, closure)

    def _tell(self, kind: EventKind, key: str, began: float, detail: str = "") -> None:
        seconds = time.monotonic() - began
        name = self._plan.steps[key].name
        detail = detail or ("it comes out differently" if kind is EventKind.FAILED else "")
        self._shop.observe(Event(kind, key, name, seconds, detail, time=time.time()))
