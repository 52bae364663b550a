from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from store.database import VERSION, Database, DatabaseError
from store.info import PathInfo
from store.local import LocalStore
from store.lock import LockedError
from store.path import StorePath
from tests.store.trees import added

if TYPE_CHECKING:
    from pathlib import Path

PATH = StorePath("0" * 32, "a")


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    place = tmp_path.resolve() / "store"
    LocalStore.open(place).close()
    file = place.parent / "var" / "db.sqlite"
    for garbage in (b"not a database at all, but text" * 200, bytes(5000)):
        for each in file.parent.glob("db.sqlite*"):
            each.unlink()
        file.write_bytes(garbage)
        with pytest.raises(DatabaseError) as caught:
            LocalStore.open(place)
        assert caught.value.where == str(file)


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    place = tmp_path.resolve() / "store"
    LocalStore.open(place).close()
    with sqlite3.connect(place.parent / "var" / "db.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseError) as caught:
        LocalStore.open(place)
    assert (caught.value.expected, caught.value.got) == (f"schema {VERSION}", "schema 99")


def test_a_damaged_page_is_reported_by_verify(tmp_path: Path) -> None:
    place = tmp_path.resolve() / "store"
    with LocalStore.open(place) as store:
        for number in range(300):
            store.memo_put("t", str(number), b"x" * 500)
        added(store, b"x")
    with (place.parent / "var" / "db.sqlite").open("r+b") as file:
        file.seek(30 * 4096)
        file.write(b"\xff" * 4096)
    with LocalStore.open(place) as store:
        report = store.verify()
    assert report.database
    assert not report.clean


def test_an_error_in_the_block_takes_everything_back(tmp_path: Path) -> None:
    database = Database(_place(tmp_path))
    with pytest.raises(KeyError), database.writing(durable=True):  # noqa: PT012
        database.register(PathInfo(PATH, "00" * 32, 1))
        raise KeyError
    assert database.all() == []
    with database.writing(durable=True):
        database.register(PathInfo(PATH, "00" * 32, 1))
    assert [info.path for info in database.all()] == [PATH]
    database.close()


def test_the_digest_alone_is_not_the_path(tmp_path: Path) -> None:
    database = Database(_place(tmp_path))
    with database.writing(durable=False):
        database.register(PathInfo(PATH, "00" * 32, 1))
    assert database.infos([StorePath(PATH.digest, "b")]) == []
    database.close()


def test_a_writer_that_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.database.PATIENCE", 0.05)
    one, two = Database(_place(tmp_path)), Database(_place(tmp_path))
    with one.writing(durable=False), pytest.raises(LockedError):
        two.memo_put("t", "k", b"v")
    assert two.memo_get("t", "k") is None
    two.memo_put("t", "k", b"v")
    one.close()
    two.close()


@pytest.mark.parametrize(("user", "said"), [(1000, "closed to this user"), (0, "cannot be used")])
def test_who_may_not_write_is_not_told_to_move_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, said: str
) -> None:
    database = Database(_place(tmp_path))
    denied = sqlite3.OperationalError("attempt to write a readonly database")
    denied.sqlite_errorcode = sqlite3.SQLITE_READONLY | 1 << 8
    monkeypatch.setattr("os.geteuid", lambda: user)
    with pytest.raises(DatabaseError, match=said) as caught, database._errors():
        raise denied
    assert ("move it away" in str(caught.value.hint)) is (user == 0)
    database.close()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    one, two = Database(_place(tmp_path)), Database(_place(tmp_path))
    with one.writing(durable=False):
        one.register(PathInfo(PATH, "00" * 32, 1))
        assert two.all() == []
    assert [info.path for info in two.all()] == [PATH]
    one.close()
    two.close()


def _place(tmp_path: Path) -> Path:
    (tmp_path / "locks").mkdir(exist_ok=True)
    return tmp_path / "db.sqlite"
