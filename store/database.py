"""The store's database: valid paths, references, realisations, builds and memos.

The one door to sqlite3. WAL, so that readers never wait; a write transaction is also the lock
under which paths are put in place, since the kernel frees it when its holder dies. The database
says what is valid; `store.local` sees that what it says is on the disk first.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.closure import MissingReferenceError
from store.errors import Error, IntegrityError
from store.info import PathInfo
from store.lock import PRIVATE, LockedError, close_to_others, hold
from store.path import StorePath

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

VERSION = 1
PATIENCE = 120.0
"""Seconds to wait for another writer."""

RESERVE = 8 * 1024 * 1024
"""Bytes kept back, so that on a full disk the database can still be told what goes."""

SCHEMA = """
CREATE TABLE paths (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    nar_sha256 TEXT NOT NULL,
    nar_size INTEGER NOT NULL,
    registered REAL NOT NULL
);
CREATE TABLE refs (
    referrer INTEGER NOT NULL REFERENCES paths ON DELETE CASCADE,
    reference INTEGER NOT NULL REFERENCES paths ON DELETE RESTRICT,
    PRIMARY KEY (referrer, reference)
) WITHOUT ROWID;
CREATE INDEX refs_by_reference ON refs (reference);
CREATE TABLE realisations (
    digest TEXT PRIMARY KEY,
    path INTEGER NOT NULL REFERENCES paths ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX realisations_by_path ON realisations (path);
CREATE TABLE builds (
    key TEXT PRIMARY KEY,
    derivation TEXT NOT NULL,
    path TEXT NOT NULL,
    seconds REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE memos (
    memo TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (memo, key)
);
"""

_COLUMNS = "p.id, p.digest, p.name, p.nar_sha256, p.nar_size, p.registered"
_CLOSURE = f"""
WITH RECURSIVE reach (id) AS (
    SELECT id FROM paths WHERE digest IN (SELECT value FROM json_each(?))
    UNION
    SELECT reference FROM refs JOIN reach ON referrer = reach.id
)
SELECT {_COLUMNS} FROM reach JOIN paths p USING (id)
"""  # noqa: S608 - a constant


class DatabaseError(IntegrityError):
    """A store database that cannot be used."""

    slug = "store-database"


class DiskFullError(Error):
    """No room on the store's file system."""

    slug = "disk-full"
    exit_code = 6


@dataclass(frozen=True, slots=True)
class Realised:
    """The output of a derivation, and the build that made it; `seconds` is how long that took."""

    digest: str
    path: StorePath
    key: str
    derivation: str
    seconds: float


class Database:
    """One connection, shared by the threads of a process."""

    def __init__(self, file: Path, restore: Callable[[], Iterable[PathInfo]] = list) -> None:
        """Open the database, or make one; `restore` tells what a new one starts with."""
        self._file = file
        self._reserve = file.with_name("reserve")
        self._mutex = threading.RLock()
        _make_private(file)
        with self._errors():
            self._connection = sqlite3.connect(
                file, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
        self._query("PRAGMA foreign_keys = ON")
        self._query("PRAGMA synchronous = NORMAL")
        version = self._version()
        if version == 0:
            self._create(restore)
        elif version != VERSION:
            raise DatabaseError(
                "the store was made by another version of sealift",
                where=str(file),
                expected=f"schema {VERSION}",
                got=f"schema {version}",
            )

    def close(self) -> None:
        """Close the connection."""
        with self._mutex:
            self._connection.close()

    @contextmanager
    def writing(self, *, durable: bool) -> Iterator[None]:
        """Hold the write lock; commit at the end of the block, or roll back on an error.

        With `durable` the commit is on the disk when the block ends; without, a power cut may
        take back the last commits, but in their order.
        """
        with self._mutex:
            self._query(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._query("BEGIN IMMEDIATE")
            try:
                yield
                self._query("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def register(self, info: PathInfo) -> None:
        """Make a path valid; inside `writing`.

        Raises:
            MissingReferenceError: a reference is not valid.
        """
        self._query(
            "INSERT INTO paths (digest, name, nar_sha256, nar_size, registered)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
            " nar_sha256 = excluded.nar_sha256, nar_size = excluded.nar_size",
            (info.path.digest, info.path.name, info.nar_sha256, info.nar_size, info.registered),
        )
        self._query("DELETE FROM refs WHERE referrer = ?", (self._id(info.path),))
        for reference in info.references:
            self._refer(info.path, reference)

    def unregister(self, paths: Collection[StorePath]) -> None:
        """Make paths invalid, together; inside `writing`.

        Raises:
            DatabaseError: a path that stays refers to one of them.
        """
        digests = _json(paths)
        chosen = "(SELECT id FROM paths WHERE digest IN (SELECT value FROM json_each(?)))"
        self._query(f"DELETE FROM refs WHERE referrer IN {chosen}", (digests,))  # noqa: S608
        self._query(
            "DELETE FROM paths WHERE digest IN (SELECT value FROM json_each(?))", (digests,)
        )

    def infos(self, paths: Collection[StorePath]) -> list[PathInfo]:
        """Return what is registered of `paths`, in no order."""
        rows = self._query(
            f"SELECT {_COLUMNS} FROM paths p"  # noqa: S608
            " WHERE p.digest IN (SELECT value FROM json_each(?))",
            (_json(paths),),
        )
        wanted = set(paths)
        return [info for info in self._infos(rows) if info.path in wanted]

    def registered(self, paths: Collection[StorePath]) -> set[StorePath]:
        """Return which of `paths` are registered."""
        rows = self._query(
            "SELECT digest, name FROM paths WHERE digest IN (SELECT value FROM json_each(?))",
            (_json(paths),),
        )
        return {StorePath(digest, name) for digest, name in rows}.intersection(paths)

    def all(self) -> list[PathInfo]:
        """Return all registered paths, sorted."""
        rows = self._query(f"SELECT {_COLUMNS} FROM paths p ORDER BY digest")  # noqa: S608
        return self._infos(rows)

    def closure(self, paths: Collection[StorePath]) -> list[PathInfo]:
        """Return what `paths` reach, themselves included, in no order."""
        return self._infos(self._query(_CLOSURE, (_json(paths),)))

    def realisations(self, digests: Collection[str]) -> dict[str, StorePath]:
        """Return the outputs of derivations, by the derivations' digests."""
        rows = self._query(
            "SELECT r.digest, p.digest, p.name FROM realisations r JOIN paths p ON p.id = r.path"
            " WHERE r.digest IN (SELECT value FROM json_each(?))",
            (json.dumps(list(digests)),),
        )
        return {digest: StorePath(path, name) for digest, path, name in rows}

    def realise(self, items: Iterable[Realised]) -> None:
        """Remember outputs in one commit, and each derivation as the newest one of its step.

        Raises:
            MissingReferenceError: an output is not valid; then none is remembered.
        """
        with self.writing(durable=False):
            for item in items:
                self._query(
                    "INSERT OR REPLACE INTO realisations (digest, path) VALUES (?, ?)",
                    (item.digest, self._id(item.path)),
                )
                self._query(
                    "INSERT OR REPLACE INTO builds (key, derivation, path, seconds)"
                    " VALUES (?, ?, ?, ?)",
                    (item.key, item.derivation, str(item.path), item.seconds),
                )

    def forget(self, digest: str) -> None:
        """Forget an output."""
        with self.writing(durable=False):
            self._query("DELETE FROM realisations WHERE digest = ?", (digest,))

    def build(self, key: str) -> tuple[str, StorePath, float] | None:
        """Return derivation, output and seconds of the newest build of a step."""
        rows = self._query("SELECT derivation, path, seconds FROM builds WHERE key = ?", (key,))
        return next(((text, StorePath.parse(path), took) for text, path, took in rows), None)

    def memo_get(self, memo: str, key: str) -> bytes | None:
        """Return what was put."""
        rows = self._query("SELECT value FROM memos WHERE memo = ? AND key = ?", (memo, key))
        return rows[0][0] if rows else None

    def memo_put(self, memo: str, key: str, value: bytes) -> None:
        """Keep a value that can be computed again."""
        with self.writing(durable=False):
            self._query("INSERT OR REPLACE INTO memos VALUES (?, ?, ?)", (memo, key, value))

    def check(self) -> list[str]:
        """Return what SQLite finds wrong with its file."""
        try:
            rows = self._query("PRAGMA quick_check")
        except DatabaseError as error:
            return [error.reason]
        return [row[0] for row in rows if row[0] != "ok"]

    def spend_reserve(self) -> None:
        """Let go of the space kept back."""
        self._reserve.unlink(missing_ok=True)

    def keep_reserve(self) -> None:
        """Keep space back, if there is space."""
        with suppress(OSError):
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE)
            finally:
                os.close(descriptor)

    def _refer(self, referrer: StorePath, reference: StorePath) -> None:
        self._query(
            "INSERT INTO refs (referrer, reference) VALUES (?, ?)",
            (self._id(referrer), self._id(reference)),
        )

    def _id(self, path: StorePath) -> int:
        rows = self._query(
            "SELECT id FROM paths WHERE digest = ? AND name = ?", (path.digest, path.name)
        )
        if not rows:
            raise MissingReferenceError(f"{path} is not in the store", where=str(path))
        return int(rows[0][0])

    def _infos(self, rows: Iterable[tuple[Any, ...]]) -> list[PathInfo]:
        paths = {row[0]: row for row in rows}
        references: dict[int, list[StorePath]] = {number: [] for number in paths}
        pairs = self._query(
            "SELECT referrer, digest, name FROM refs JOIN paths p ON p.id = reference"
            " WHERE referrer IN (SELECT value FROM json_each(?)) ORDER BY digest",
            (json.dumps(list(paths)),),
        )
        for referrer, digest, name in pairs:
            references[referrer].append(StorePath(digest, name))
        return [
            PathInfo(StorePath(digest, name), sha256, size, tuple(references[number]), registered)
            for number, digest, name, sha256, size, registered in paths.values()
        ]

    def _version(self) -> int:
        return int(self._query("PRAGMA user_version")[0][0])

    def _create(self, restore: Callable[[], Iterable[PathInfo]]) -> None:
        """Lay the schema; the change to WAL does not wait for others, hence the lock file."""
        with hold(self._file.parent / "locks" / "database", wait=PATIENCE):
            if self._version() != 0:
                return
            self._query("PRAGMA journal_mode = WAL")
            with self.writing(durable=True):
                for statement in SCHEMA.split(";"):
                    self._query(statement)
                for info in restore():
                    self.register(info)
                self._query(f"PRAGMA user_version = {VERSION}")
            self.keep_reserve()

    def _query(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._mutex, self._errors():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what an operator can act on into errors that say so."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _translate(self, error: sqlite3.Error) -> Error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        where = str(self._file)
        if code == sqlite3.SQLITE_FULL:
            return DiskFullError("the disk is full", where=where, hint="sealift store gc")
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return LockedError("another process keeps writing to the store", where=where)
        if code in _DENIED and os.geteuid() != 0:
            return DatabaseError(
                f"the store's database is closed to this user: {error}",
                where=where,
                hint="use the store as the user whose it is",
            )
        return DatabaseError(
            f"the store's database cannot be used: {error}",
            where=where,
            hint="move it away: the next command makes it anew; then: sealift store verify",
        )


_DENIED = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
)
"""What SQLite answers who may not read or write the files."""


def _json(paths: Iterable[StorePath]) -> str:
    return json.dumps([path.digest for path in paths])


def _make_private(file: Path) -> None:
    """See to it that nobody else can open the database, and so lock it.

    By name alone: to close a descriptor of the file would take this process's locks from it.
    SQLite makes the files beside it with the same mode.
    """
    with suppress(OSError):  # SQLite says better what is wrong
        os.mknod(file, PRIVATE)
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        close_to_others(file.with_name(name))
