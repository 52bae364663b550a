from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from store.journal import read
from store.local import LocalStore
from tests.store.trees import ODD, added, lay

if TYPE_CHECKING:
    from store.info import PathInfo


@pytest.fixture
def three(store: LocalStore) -> list[PathInfo]:
    """Add a base, an app that refers to it without showing it, and something alone."""
    base = added(store, ODD, "base")
    with store.temporary() as place:
        lay(place / "t", b"app")
        app = store.add(place / "t", "app", references=[base.path])
    return [base, app, added(store, b"alone", "alone")]


def lose_database(store: LocalStore) -> LocalStore:
    """Take the database away and open the store anew."""
    store.close()
    for file in store.var_dir.glob("db.sqlite*"):
        file.unlink()
    return LocalStore.open(store.store_dir)


def test_a_lost_database_comes_back(store: LocalStore, three: list[PathInfo]) -> None:
    with lose_database(store) as fresh:
        assert fresh.paths() == sorted(three, key=lambda info: info.path)
        assert fresh.verify().clean
        assert [info.path for info in fresh.closure([three[1].path])] == [
            three[0].path,
            three[1].path,
        ]


def test_negative_control_without_a_journal_it_does_not(
    store: LocalStore, three: list[PathInfo]
) -> None:
    assert len(three) == 3
    store.journal.unlink()
    with lose_database(store) as fresh:
        assert fresh.paths() == []
        assert len(fresh.verify().unregistered) == 3


def test_what_was_collected_does_not_come_back(store: LocalStore, three: list[PathInfo]) -> None:
    store.collect(keep=[three[1].path])
    assert len(read(store.journal, store.store_dir)) == 2
    with lose_database(store) as fresh:
        assert {info.path for info in fresh.paths()} == {three[0].path, three[1].path}


def test_what_is_gone_from_the_disk_takes_its_referrers_along(
    store: LocalStore, three: list[PathInfo]
) -> None:
    store.real(three[0].path).rename(store.store_dir / "elsewhere")
    with lose_database(store) as fresh:
        assert [info.path for info in fresh.paths()] == [three[2].path]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"path": 5}', b'"x"', b"\x00" * 100],
)
def test_odd_lines_are_passed_over(store: LocalStore, three: list[PathInfo], line: bytes) -> None:
    store.journal.write_bytes(line + b"\n" + store.journal.read_bytes() + b"\n" + line)
    assert len(read(store.journal, store.store_dir)) == len(three)


def test_a_line_cut_short_does_not_spoil_the_next(store: LocalStore) -> None:
    added(store, b"1", "one")
    store.journal.write_bytes(store.journal.read_bytes()[:-20])
    two = added(store, b"2", "two")
    assert read(store.journal, store.store_dir) == [two]


@pytest.mark.parametrize("lie", ["nar_sha256", "references", "name"])
def test_a_line_that_lies_is_found_out(store: LocalStore, three: list[PathInfo], lie: str) -> None:
    base, app, alone = three
    changes: dict[str, dict[str, object]] = {
        "nar_sha256": {"nar_sha256": alone.nar_sha256},
        "references": {"references": [str(alone.path)]},
        "name": {"path": str(app.path)[:-3] + "apq"},
    }
    data = app.to_json() | changes[lie]
    store.journal.write_text(f"{json.dumps(base.to_json())}\n{json.dumps(data)}\n")
    assert read(store.journal, store.store_dir) == [base]
