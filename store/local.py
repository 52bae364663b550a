"""The local store: immutable objects on this machine, added so that no crash can harm them.

An object is finished in a temporary sibling, hashed, shared, synced, renamed into place, and only
then registered; whatever has no registration is garbage, however complete it looks. (Nix
registers first and loses data on power cuts.) Verifying and collecting are `store.verify` and
`store.collect`.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from store.closure import MissingReferenceError, order
from store.database import Database, DiskFullError
from store.errors import InputError
from store.info import PathInfo
from store.lock import Session
from store.names import check_name
from store.path import NotAStorePathError, StorePath, fixed_path
from store.remove import remove
from store.seal import Sealed, seal, settle
from store.sync import sync_directory, sync_tree
from store.temporary import spare, sweep, temporary

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class _Ready:
    """A sealed tree on its way into the store."""

    tree: Path
    info: PathInfo
    nodes: tuple[bytes, ...]


class LocalStore:
    """A store directory, its database, and the locks around them.

    Its methods may be called from several threads, and several processes may use one store.
    """

    def __init__(self, store_dir: Path, var_dir: Path, database: Database) -> None:
        self.store_dir = store_dir
        self.var_dir = var_dir
        self.links_dir = store_dir / ".links"
        self.database = database
        self.lock_file = var_dir / "locks" / "collect"
        self._session = Session(self.lock_file)
        self._damaged: set[StorePath] = set()
        self._swept = False

    @classmethod
    def open(cls, store_dir: Path) -> LocalStore:
        """Open the store at `store_dir`, and create what is missing of it.

        The directory enters every digest, so it has one spelling: absolute, without links.

        Raises:
            InputError: the directory is spelled in another way.
            DatabaseError: the database is damaged, or of another version.
        """
        _check_directory(store_dir)
        var_dir = store_dir.parent / "var"
        with _disk():
            (store_dir / ".links").mkdir(parents=True, exist_ok=True)
            for name in _DIRECTORIES:
                (var_dir / name).mkdir(exist_ok=True)
        return cls(store_dir, var_dir, Database(var_dir / "db.sqlite"))

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
        with _disk(), temporary(self.store_dir) as path:
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
        return self._add([Addition(tree, name, references, candidates)], durable=durable)[0]

    def add_many(self, items: Sequence[Addition]) -> list[PathInfo]:
        """Add trees with one sync and one commit: all of them or none.

        An item may refer to one before it.

        Raises:
            Error: as `add`.
        """
        return self._add(items, durable=True) if items else []

    def info(self, path: StorePath) -> PathInfo | None:
        """Return what is known of a path, or None if it is not valid."""
        found = self.database.infos([path])
        return found[0] if found and self._present(path) else None

    def valid(self, paths: Collection[StorePath]) -> set[StorePath]:
        """Return those that are registered, and present on the disk."""
        return {info.path for info in self.database.infos(paths) if self._present(info.path)}

    def closure(self, paths: Iterable[StorePath]) -> list[PathInfo]:
        """Return the infos of `paths` and all they refer to, references before referrers.

        Raises:
            MissingReferenceError: one of them is not valid.
        """
        wanted = list(paths)
        known = {info.path: info for info in self.database.closure(wanted)}
        for path in (*wanted, *known):
            if path not in known or not self._present(path):
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
        return {digest: path for digest, path in found.items() if self._present(path)}

    def realise(
        self, digest: str, path: StorePath, *, key: str, derivation: str, seconds: float
    ) -> None:
        """Remember the output of a derivation, and how a step was last built.

        Raises:
            MissingReferenceError: the output is not valid.
        """
        self.database.realise(digest, path, key=key, derivation=derivation, seconds=seconds)

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

    def _present(self, path: StorePath) -> bool:
        return os.path.lexists(f"{self.store_dir}/{path}")

    def _add(self, items: Sequence[Addition], *, durable: bool) -> list[PathInfo]:
        for item in items:
            check_name(item.name)
        with self.session(), _disk():
            ready = [self._seal(item) for item in items]
            new = self._new(ready)
            if durable and new:
                sync_tree([node for each in new for node in each.nodes], self.store_dir)
            moved = self._place(new, durable=durable)
            for leftover in (*moved, *(each.tree for each in ready)):
                remove(leftover)
        return [each.info for each in ready]

    def _seal(self, item: Addition) -> _Ready:
        sealed = seal(item.tree, self.links_dir, item.candidates)
        return _Ready(item.tree, self._describe(item, sealed), sealed.nodes)

    def _describe(self, item: Addition, sealed: Sealed) -> PathInfo:
        references = tuple(sorted({*item.references, *sealed.found}))
        path = fixed_path(
            store_dir=str(self.store_dir),
            name=item.name,
            nar_sha256=sealed.nar.sha256,
            references=references,
        )
        size = sealed.nar.size
        return PathInfo(path, sealed.nar.sha256.hex(), size, references, time.time())

    def _new(self, ready: Sequence[_Ready]) -> list[_Ready]:
        """Return what is not valid yet, once each, after a look at its references."""
        mentioned = {path for each in ready for path in (each.info.path, *each.info.references)}
        valid = self.valid(mentioned) - self._damaged
        new = []
        for each in ready:
            missing = set(each.info.references) - valid
            if missing:
                raise MissingReferenceError(
                    f"{each.info.path.name} refers to {min(missing)}, which is not in the store",
                    where=str(each.tree),
                )
            if each.info.path not in valid:
                valid.add(each.info.path)
                new.append(each)
        return new

    def _place(self, new: Sequence[_Ready], *, durable: bool) -> list[Path]:
        """Rename trees into place and register them; return what stood in their way.

        The database's write lock is held throughout, so of two processes that add one path the
        second finds it valid.
        """
        if not new:
            return []
        with self.database.writing(durable=durable):
            valid = self.valid([each.info.path for each in new]) - self._damaged
            moved = [
                self._rename(each.tree, self.real(each.info.path))
                for each in new
                if each.info.path not in valid
            ]
            if durable:
                sync_directory(self.store_dir)
            for each in new:
                self.database.register(each.info)
        return moved

    def _rename(self, tree: Path, target: Path) -> Path:
        """Put a tree in place; return where garbage of the same name went."""
        aside = spare(self.store_dir)
        with suppress(FileNotFoundError):
            target.rename(aside)
        tree.rename(target)
        if not target.is_symlink() and target.is_dir():
            settle(os.fsencode(target))
        return aside


def _check_directory(store_dir: Path) -> None:
    spelled, real = str(store_dir), os.path.realpath(store_dir)
    if spelled != real or not spelled.isprintable() or store_dir == store_dir.parent:
        raise InputError(
            "the store directory must be absolute, printable and without symbolic links",
            got=spelled,
            hint=f"store_dir: {real}",
        )


@contextmanager
def _disk() -> Iterator[None]:
    """Turn a full disk into the error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        where = os.fsdecode(error.filename) if error.filename else None
        raise DiskFullError("the disk is full", where=where, hint="sealift store gc") from error
