"""The local store: a directory of immutable objects, its database, and the locks around them.

The one object that users of the package hold. How it adds, verifies and collects is in the
modules named so; here are the look-ups.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from store.closure import MissingReferenceError, order
from store.database import Database, Realised
from store.errors import InputError
from store.journal import read
from store.lock import Session, close_to_others
from store.path import NotAStorePathError, StorePath
from store.temporary import disk, sweep, temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from store.collect import CollectReport
    from store.info import PathInfo
    from store.roots import Root
    from store.verify import VerifyReport

_DIRECTORIES = ("", "locks", "log", "profiles", "gcroots", "tmp")


@dataclass(frozen=True, slots=True)
class Addition:
    """A finished tree to be added, and how it will be known.

    `candidates` are paths that the tree may mention and is searched for; `references` are those
    it refers to although no search can see it.
    """

    tree: Path
    name: str
    references: Collection[StorePath] = ()
    candidates: Collection[StorePath] = ()


class LocalStore:
    """A store directory, its database, and the locks around them.

    Its methods may be called from several threads, and several processes may use one store.
    """

    def __init__(self, store_dir: Path, var_dir: Path, database: Database) -> None:
        self.store_dir = store_dir
        self.var_dir = var_dir
        self.links_dir = store_dir / ".links"
        self.journal = var_dir / "journal"
        self.database = database
        self.lock_file = var_dir / "locks" / "collect"
        self._session = Session(self.lock_file)
        self.damaged: set[StorePath] = set()
        self._swept = False

    @classmethod
    def open(cls, store_dir: Path) -> LocalStore:
        """Open the store at `store_dir`, and create what is missing of it.

        A database that is lost is made anew from the journal.
        The directory enters every digest, so it has one spelling: absolute, without links.

        Raises:
            InputError: the directory is spelled in another way.
            DatabaseError: the database is damaged, or of another version.
        """
        _check_directory(store_dir)
        var_dir = store_dir.parent / "var"
        with disk():
            (store_dir / ".links").mkdir(parents=True, exist_ok=True)
            for name in _DIRECTORIES:
                (var_dir / name).mkdir(exist_ok=True)
            close_to_others(var_dir / "locks")
        journal = var_dir / "journal"
        database = Database(var_dir / "db.sqlite", lambda: read(journal, store_dir))
        return cls(store_dir, var_dir, database)

    def close(self) -> None:
        """Close the database; the store object cannot be used afterwards."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def real(self, path: StorePath) -> Path:
        """Return where the path lies."""
        return self.store_dir / str(path)

    def parse(self, text: str | Path) -> StorePath:
        """Read a full path, a base name, or a path inside an object.

        Raises:
            NotAStorePathError: it is none of these.
        """
        spelled = str(text)
        inside = spelled.removeprefix(f"{self.store_dir}/")
        if inside.startswith("/"):
            raise NotAStorePathError(
                f"{spelled!r} is not in the store", expected=f"a path below {self.store_dir}"
            )
        return StorePath.parse(inside.partition("/")[0])

    def session(self) -> AbstractContextManager[None]:
        """Keep the collector out during the block; threads of a process share it."""
        return self._session.hold()

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """Make a directory in which a tree can be finished; it goes when the block ends.

        Raises:
            DiskFullError: the file system filled up during the block.
        """
        if not self._swept:
            self._swept = True
            sweep(self.store_dir)
        with disk(), temporary(self.store_dir) as path:
            yield path

    def add(
        self,
        tree: Path,
        name: str,
        *,
        candidates: Collection[StorePath] = (),
        references: Collection[StorePath] = (),
        durable: bool = True,
    ) -> PathInfo:
        """Make `tree`, which must lie in a temporary of this store, an object; it is consumed.

        References are those declared and those of `candidates` that the tree mentions. Without
        `durable` a power cut may leave the object damaged, though a crash of the process cannot.
        What is in the store already is not written again.

        Raises:
            BadTreeError: the tree holds what no object can.
            InputError: the name is not legal.
            MissingReferenceError: a reference is not valid.
            DiskFullError: nothing was added.
        """
        from store.add import add  # noqa: PLC0415 - a run that builds nothing adds nothing

        return add(self, [Addition(tree, name, references, candidates)], durable=durable)[0]

    def add_many(self, items: Sequence[Addition]) -> list[PathInfo]:
        """Add trees with one sync and one commit: all of them or none.

        An item may refer to one before it.

        Raises:
            Error: as `add`.
        """
        from store.add import add  # noqa: PLC0415 - as in `add`

        return add(self, items, durable=True)

    def info(self, path: StorePath) -> PathInfo | None:
        """Return what is known of a path, or None if it is not valid."""
        found = self.database.infos([path])
        return found[0] if found and self.present(path) else None

    def valid(self, paths: Collection[StorePath]) -> set[StorePath]:
        """Return those that are registered, and present on the disk."""
        return {path for path in self.database.registered(paths) if self.present(path)}

    def closure(self, paths: Iterable[StorePath]) -> list[PathInfo]:
        """Return the infos of `paths` and all they refer to, references before referrers.

        Raises:
            MissingReferenceError: one of them is not valid.
        """
        wanted = list(paths)
        known = {info.path: info for info in self.database.closure(wanted)}
        for path in (*wanted, *known):
            if path not in known or not self.present(path):
                raise MissingReferenceError(f"{path} is not in the store", where=str(path))
        return order(known)

    def paths(self) -> list[PathInfo]:
        """Return all registered paths, sorted."""
        return self.database.all()

    def realisation(self, digest: str) -> StorePath | None:
        """Return the output of a derivation if it is still valid."""
        return self.realisations([digest]).get(digest)

    def realisations(self, digests: Collection[str]) -> dict[str, StorePath]:
        """Return the outputs of derivations, by digest, as far as they are still valid."""
        found = self.database.realisations(digests)
        return {digest: path for digest, path in found.items() if self.present(path)}

    def realise(
        self, digest: str, path: StorePath, *, key: str, derivation: str, seconds: float
    ) -> None:
        """Remember the output of a derivation, and how a step was last built.

        Raises:
            MissingReferenceError: the output is not valid.
        """
        self.realise_many([Realised(digest, path, key, derivation, seconds)])

    def realise_many(self, items: Iterable[Realised]) -> None:
        """Remember many outputs with one commit: all of them or none.

        Raises:
            MissingReferenceError: an output is not valid.
        """
        self.database.realise(items)

    def last_derivation(self, key: str) -> tuple[str, StorePath] | None:
        """Return the newest derivation and output of a step; the output may be gone."""
        found = self.database.build(key)
        return found and found[:2]

    def duration(self, key: str) -> float | None:
        """Return how many seconds the newest build of a step took."""
        found = self.database.build(key)
        return found and found[2]

    def forget(self, digest: str) -> None:
        """Forget the output of a derivation; the path stays."""
        self.database.forget(digest)

    def memo_get(self, table: str, key: str) -> bytes | None:
        """Return what was put under `key`, or None."""
        return self.database.memo_get(table, key)

    def memo_put(self, table: str, key: str, value: bytes) -> None:
        """Keep a value that can be computed again; it may be dropped at any time."""
        self.database.memo_put(table, key, value)

    def add_root(self, name: str, path: StorePath) -> None:
        """Let `gcroots/<name>` keep a path and its closure.

        Raises:
            InputError: the name is not made of plain words and slashes.
        """
        from store.roots import add_root  # noqa: PLC0415 - seldom needed

        add_root(self.var_dir, name, self.real(path))

    def remove_root(self, name: str) -> None:
        """Remove what `add_root` made."""
        from store.roots import remove_root  # noqa: PLC0415 - seldom needed

        remove_root(self.var_dir, name)

    def roots(self) -> list[Root]:
        """Return what keeps paths: links, and running processes that name a registered path."""
        from store.roots import Root, find_digests, find_links  # noqa: PLC0415 - seldom needed

        links = find_links(self.store_dir, self.var_dir)
        running = find_digests(self.store_dir)
        named = {info.path.digest: info.path for info in self.paths()}
        return [
            *links,
            *(Root(running[each], named[each]) for each in sorted(running) if each in named),
        ]

    def verify(
        self,
        *,
        repair: Callable[[PathInfo], bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
        threads: int = 0,
    ) -> VerifyReport:
        """Check all paths, as `store.verify.verify` says."""
        from store.verify import verify  # noqa: PLC0415 - most runs need no thread pool

        return verify(self, repair=repair, progress=progress, threads=threads)

    def collect(
        self, *, dry_run: bool = False, keep: Collection[StorePath] = (), wait: float = 0.0
    ) -> CollectReport:
        """Remove what no root reaches, as `store.collect.collect` says."""
        from store.collect import collect  # noqa: PLC0415 - few runs collect

        return collect(self, dry_run=dry_run, keep=keep, wait=wait)

    @contextmanager
    def replacing(self, path: StorePath) -> Iterator[None]:
        """During the block take `path` for damaged: adding it puts the new tree in its place."""
        self.damaged.add(path)
        try:
            yield
        finally:
            self.damaged.discard(path)

    def present(self, path: StorePath) -> bool:
        """Tell whether something lies where the path would."""
        return os.path.lexists(f"{self.store_dir}/{path}")


def _check_directory(store_dir: Path) -> None:
    spelled, real = str(store_dir), os.path.realpath(store_dir)
    if spelled != real or not spelled.isprintable() or store_dir == store_dir.parent:
        raise InputError(
            "the store directory must be absolute, printable and without symbolic links",
            got=spelled,
            hint=f"store_dir: {real}",
        )
