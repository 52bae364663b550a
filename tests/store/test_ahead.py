"""What is synced while more is written, and what becomes of a failure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import store.ahead
from store.ahead import STEP, Ahead
from store.sync import SyncError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_little_is_left_to_the_sync_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(store.ahead, "sync_filesystem", synced.append)
    with Ahead(tmp_path) as ahead:
        ahead.wrote(STEP)
    assert synced == []


def test_one_sync_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    go = threading.Event()

    def slow(path: Path) -> None:
        go.wait()
        synced.append(path)

    monkeypatch.setattr(store.ahead, "sync_filesystem", slow)
    with Ahead(tmp_path) as ahead:
        for _ in range(5):
            ahead.wrote(STEP + 1)
        go.set()
    assert synced == [tmp_path]


def test_a_failure_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(SyncError), Ahead(tmp_path / "nowhere") as ahead:
        ahead.wrote(STEP + 1)


def _fails(ahead: Ahead) -> None:
    with ahead:
        ahead.wrote(STEP + 1)
        raise KeyError


def test_what_went_wrong_before_is_told_first(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        _fails(Ahead(tmp_path / "nowhere"))
