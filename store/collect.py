"""Collecting: removing what no root reaches.

Under the exclusive lock, so that nothing is being added or built meanwhile. Paths become invalid
together, in one commit, and only then go from the disk: a crash in between leaves garbage, which
the next run takes away, and never a valid path without its files.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.closure import order
from store.database import DatabaseError
from store.journal import rewrite
from store.lock import LockedError, hold, holders
from store.path import NotAStorePathError, StorePath
from store.remove import remove
from store.temporary import spare, sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from store.info import PathInfo
    from store.local import LocalStore

_SHARED_FILE = re.compile(r"[0-9a-f]{64}(-x)?")


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What went, or with `dry_run` would go.

    Attributes:
        removed: paths that no root reaches.
        kept: how many paths stay.
        freed: bytes on the disk; with `dry_run` the paths' sizes, an upper bound.
        swept: names of leftovers in the store directory that were never registered.
        links: shared files that nobody used any more.
        failed: what could not be removed, and why; it is no longer valid all the same.
        dry_run: whether all this only would be.
    """

    removed: tuple[PathInfo, ...]
    kept: int
    freed: int
    swept: tuple[str, ...]
    links: int
    failed: tuple[str, ...]
    dry_run: bool


def collect(
    store: LocalStore, *, dry_run: bool = False, keep: Collection[StorePath] = (), wait: float = 0.0
) -> CollectReport:
    """Remove what neither a root nor `keep` reaches; wait `wait` seconds for builds to end.

    Raises:
        LockedError: something is being built or added.
        DatabaseError: a root leads to a path on the disk that the database does not know, so
            that the database cannot be what decides.
    """
    with _alone(store, dry_run=dry_run, wait=wait):
        return _Collection(store, dry_run=dry_run).run(keep)


@contextmanager
def _alone(store: LocalStore, *, dry_run: bool, wait: float) -> Iterator[None]:
    try:
        with hold(store.lock_file, shared=dry_run, wait=wait):
            yield
    except LockedError as error:
        pids = ", ".join(str(pid) for pid in holders(store.lock_file))
        raise LockedError(
            "something is being built or added, so nothing can be collected",
            where=str(store.store_dir),
            got=f"busy: pid {pids}" if pids else None,
            hint="try again when it has ended",
        ) from error


class _Collection:
    """The state of one run."""

    def __init__(self, store: LocalStore, *, dry_run: bool) -> None:
        self._store = store
        self._dry_run = dry_run
        self._freed = 0
        self._failed: list[str] = []

    def run(self, keep: Collection[StorePath]) -> CollectReport:
        registered = self._store.paths()
        live = self._live(keep)
        dead = [info for info in registered if info.path not in live]
        if not self._dry_run and dead:
            self._invalidate(dead)
        unknown = self._unregistered({info.path for info in registered})
        if not self._dry_run:
            for path in (*(info.path for info in dead), *unknown):
                self._remove(path)
        stale = sweep(self._store.store_dir, dry_run=self._dry_run)
        links = self._sweep_links()
        self._store.database.keep_reserve()
        return CollectReport(
            removed=tuple(dead),
            kept=len(registered) - len(dead),
            links=links,
            freed=sum(info.nar_size for info in dead) if self._dry_run else self._freed,
            swept=tuple(sorted([*map(str, unknown), *(path.name for path in stale)])),
            failed=tuple(self._failed),
            dry_run=self._dry_run,
        )

    def _live(self, keep: Collection[StorePath]) -> set[StorePath]:
        roots = {root.path for root in self._store.roots()} | set(keep)
        live = {info.path for info in self._store.database.closure(roots)}
        lost = [path for path in sorted(roots - live) if os.path.lexists(self._store.real(path))]
        if lost:
            raise DatabaseError(
                f"a root leads to {lost[0]}, which the database does not know",
                where=str(self._store.var_dir),
                hint="if the database and its journal were lost, bring them back, or drop the root",
            )
        return live

    def _invalidate(self, dead: Sequence[PathInfo]) -> None:
        """Forget the dead in one commit; on a full disk that takes space kept back for it."""
        self._store.database.spend_reserve()
        with self._store.database.writing(durable=True):
            self._store.database.unregister([info.path for info in dead])
        with suppress(OSError):  # lines too many do no harm
            rewrite(self._store.journal, order({i.path: i for i in self._store.paths()}))

    def _unregistered(self, registered: Collection[StorePath]) -> list[StorePath]:
        """Return what looks like a path of ours and is not; nothing else is ever touched."""
        found = []
        for name in os.listdir(self._store.store_dir):  # noqa: PTH208 - names are all we need
            with suppress(NotAStorePathError):
                path = StorePath.parse(name)
                if path not in registered:
                    found.append(path)
        return sorted(found)

    def _remove(self, path: StorePath) -> None:
        """Take a path away at once, then its files one after another."""
        aside = spare(self._store.store_dir)
        try:
            self._store.real(path).rename(aside)
            self._freed += remove(aside)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed.append(f"{path}: {error.strerror}")

    def _sweep_links(self) -> int:
        """Remove shared files that only `.links` names, and what is no shared file."""
        swept = 0
        with os.scandir(self._store.links_dir) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink == 1 or not _SHARED_FILE.fullmatch(entry.name):
                    swept += 1
                    if not self._dry_run:
                        self._freed += remove(entry.path)
        return swept
