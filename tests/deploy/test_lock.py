"""Lock and journal: who holds it, and what outlives a killed holder."""

from __future__ import annotations

import fcntl
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import HeadLockedError
from deploy.journal import Intent, Journal
from deploy.lock import HeadLock
from deploy.rollout import Stage
from deploy.systemd_head import SystemdHead
from store.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

INTENTS = st.builds(
    Intent,
    action=st.sampled_from(["deploy", "rollback"]),
    before=st.none() | st.integers(1),
    after=st.integers(1),
    path=st.text(),
    stage=st.sampled_from(Stage),
    by=st.text(),
    since=st.floats(allow_nan=False, allow_infinity=False),
    running=st.booleans(),
)


@given(INTENTS)
def test_an_intent_is_read_as_it_was_written(intent: Intent) -> None:
    assert Intent.from_json(intent.to_json()) == intent


def test_the_journal_keeps_one_intent(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    assert journal.read() is None
    journal.reach(Stage.SWITCHED)
    assert journal.read() is None
    intent = Intent("deploy", None, 1, "/x", Stage.INTENDED, "me", 1.0, running=False)
    journal.write(intent)
    journal.reach(Stage.SWITCHED)
    found = journal.read()
    assert found is not None
    assert found.stage is Stage.SWITCHED
    journal.clear()
    journal.clear()
    assert journal.read() is None
    assert list(tmp_path.iterdir()) == []


def test_the_second_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    lock = HeadLock(tmp_path / "lock")
    assert lock.holder() is None
    with lock.hold("anna@builder", "deploy"):
        with (
            pytest.raises(HeadLockedError) as caught,
            HeadLock(tmp_path / "lock").hold("ben", "stop"),
        ):
            pass
        holder = lock.holder()
    assert f"anna@builder, pid {os.getpid()}, deploy since " in str(caught.value.got)
    assert holder is not None
    assert holder.who == "anna@builder"
    assert lock.holder() is None


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    lock = HeadLock(tmp_path / "lock")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with HeadLock(tmp_path / "lock").hold("child", "deploy"):
            os.write(writer, b"x")
            signal.pause()
        os._exit(0)
    assert os.read(reader, 1) == b"x"
    assert lock.holder() is not None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with lock.hold("parent", "deploy"):
        pass
    os.close(reader)
    os.close(writer)


def test_whoever_holds_it_without_having_signed_is_named(tmp_path: Path) -> None:
    """Somebody who only keeps others out does not sign, or lets an earlier name stand."""
    file = tmp_path / "lock"
    file.write_text('{"who": "anna", "pid": 1, "action": "deploy", "since": 1.0}')
    file.chmod(0o644)
    stranger = file.open()
    fcntl.flock(stranger, fcntl.LOCK_SH)
    with (
        stranger,
        pytest.raises(HeadLockedError) as caught,
        HeadLock(file).hold("ben", "deploy"),
    ):
        pass
    assert f"somebody, pid {os.getpid()}" in str(caught.value.got)
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_a_head_keeps_for_itself_is_closed_to_its_services(tmp_path: Path) -> None:
    with LocalStore.open(tmp_path / "store") as store:
        head = store.var_dir / "head"
        head.mkdir(mode=0o755)
        SystemdHead(store)
        assert head.stat().st_mode & 0o777 == 0o700
        assert (store.var_dir / "profiles").stat().st_mode & 0o055 == 0o055
