from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from store.lock import LockedError, Session, hold, holders
from tests.store.children import child, wait

if TYPE_CHECKING:
    from pathlib import Path

    from store.local import LocalStore


def test_one_at_a_time_and_the_holder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with hold(file):
        assert holders(file) == (os.getpid(),)
        with pytest.raises(LockedError, match="somebody else") as caught, hold(file, wait=0.05):
            pass
        assert caught.value.got == f"held by pid {os.getpid()}"
    with hold(file, wait=0):
        pass
    assert holders(file) == ()
    assert holders(tmp_path / "nothing") == ()


def test_shared_holders_do_not_disturb_each_other(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with (
        hold(file, shared=True),
        hold(file, shared=True, wait=0),
        pytest.raises(LockedError),
        hold(file, wait=0),
    ):
        pass
    with hold(file, wait=0):
        pass


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    order: list[str] = []
    entered = threading.Event()

    def first() -> None:
        with hold(tmp_path / "lock"):
            entered.set()
            time.sleep(0.1)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with hold(tmp_path / "lock", wait=30):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_that_removes_itself_excludes_all_the_same(tmp_path: Path) -> None:
    """Whoever waited for a file that is unlinked by then locks the one that has its name."""
    inside = [0]
    worst = [0]

    def work() -> None:
        for _ in range(60):
            with hold(tmp_path / "lock", remove=True):
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1]
    assert not (tmp_path / "lock").exists()


def test_a_lock_dies_with_its_holder(store: LocalStore) -> None:
    def work(opened: LocalStore) -> None:
        with hold(opened.var_dir / "locks" / "x"), opened.session():
            os._exit(7)

    assert wait(child(store.store_dir, work)) == 7
    with hold(store.var_dir / "locks" / "x", wait=0), hold(store.lock_file, wait=0):
        pass


def test_a_session_ends_with_its_last_block(tmp_path: Path) -> None:
    session = Session(tmp_path / "lock")
    assert not session.held
    with pytest.raises(KeyError), session.hold():  # noqa: PT012
        with session.hold():
            assert session.held
        assert session.held
        raise KeyError
    assert not session.held
    with hold(tmp_path / "lock", wait=0):
        pass


def test_a_session_does_not_wait_without_end(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with (
        hold(file),
        pytest.raises(LockedError) as caught,
        Session(file, wait=0.05).hold(),
    ):
        pass
    assert caught.value.got == f"held by pid {os.getpid()}"


def test_nobody_else_may_open_a_lock_file(tmp_path: Path) -> None:
    """Who may read it may lock it; files of earlier versions are closed when they are opened."""
    file = tmp_path / "lock"
    file.touch()
    file.chmod(0o644)
    for path in (file, tmp_path / "new"):
        with hold(path):
            assert path.stat().st_mode & 0o777 == 0o600


def test_nobody_else_may_lock_what_a_store_locks(store: LocalStore) -> None:
    var = store.var_dir
    var.joinpath("locks").chmod(0o755)
    for name in ("db.sqlite", "db.sqlite-wal", "db.sqlite-shm"):
        var.joinpath(name).touch()
        var.joinpath(name).chmod(0o644)
    with type(store).open(store.store_dir) as again:
        again.memo_put("x", "y", b"z")
        assert var.joinpath("locks").stat().st_mode & 0o777 == 0o700
        for name in ("db.sqlite", "db.sqlite-wal", "db.sqlite-shm"):
            assert var.joinpath(name).stat().st_mode & 0o077 == 0, name
    assert var.stat().st_mode & 0o055 == 0o055
    assert store.store_dir.stat().st_mode & 0o055 == 0o055
