"""Processes start through one door and all end when they are told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from builders import warden
from builders.command import LOG_LIMIT, Children, FloodError, StoppedError, capture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = {"PATH": os.environ["PATH"]}


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(file: Path) -> str:
    for _ in range(500):
        if file.exists() and file.read_text().endswith("\n"):
            return file.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{file} did not come")


def test_output_and_exit_code(tmp_path: Path) -> None:
    with (tmp_path / "log").open("a") as log, Children() as children:
        log.write("before\n")
        argv = ["sh", "-c", "echo out; echo err >&2; cat; exit 3"]
        assert children.run(argv, env=PATH, cwd=tmp_path, log=log) == 3
        log.write("after\n")
    assert (tmp_path / "log").read_text() == "before\nout\nerr\nafter\n"


def test_the_users_umask_decides_nothing(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with (tmp_path / "log").open("a") as log, Children() as children:
            assert children.run(["touch", "made"], env=PATH, cwd=tmp_path, log=log) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as made:
        yield made


def test_stop_kills_children_and_theirs(children: Children, tmp_path: Path) -> None:
    caught = []

    def work() -> None:
        argv = ["sh", "-c", "sleep 60 & echo $! $$ > pids; wait"]
        with (tmp_path / "log").open("a") as log:
            try:
                children.run(argv, env=PATH, cwd=tmp_path, log=log)
            except StoppedError as error:
                caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    pids = [int(word) for word in wait_for(tmp_path / "pids").split()]
    assert all(alive(pid) for pid in pids)
    children.stop()
    thread.join(5)
    assert len(caught) == 1
    deadline = time.monotonic() + 2
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in pids)


def test_nothing_starts_after_stop(children: Children, tmp_path: Path) -> None:
    children.stop()
    with (tmp_path / "log").open("a") as log, pytest.raises(StoppedError):
        children.run(["touch", "file"], env=PATH, cwd=tmp_path, log=log)
    assert not (tmp_path / "file").exists()
    with pytest.raises(StoppedError):
        children.pause(0)


def test_pause_ends_with_stop(children: Children) -> None:
    threading.Timer(0.05, children.stop).start()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        children.pause(60)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("end", [b"", warden.STOP, warden.CALM])
def test_the_warden_kills_what_bears_the_mark(tmp_path: Path, end: bytes) -> None:
    mark = f"mark-{os.getpid()}-{end.decode()}"
    with ExitStack() as stack:
        marked = lasting(stack, ["sh", "-c", "sleep 60; exit", mark], start_new_session=True)
        hidden = lasting(stack, ["sleep", "60"], env={**PATH, "MARK": mark})
        stranger = lasting(stack, ["sleep", "60"])
        command = [sys.executable, "-I", "-S", warden.__file__, mark]
        assert subprocess.run(command, input=end, check=False, cwd=tmp_path).returncode == 0
        if end == warden.CALM:
            assert marked.poll() is hidden.poll() is None
        else:
            # A kill is sent before it is felt.
            assert (marked.wait(5), hidden.wait(5)) == (-signal.SIGKILL, -signal.SIGKILL)
        assert stranger.poll() is None


def lasting(stack: ExitStack, argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with the test."""
    process = stack.enter_context(subprocess.Popen(argv, **options))
    stack.callback(process.kill)
    return process


def test_what_left_the_session_is_killed_too(tmp_path: Path) -> None:
    with Children() as children, (tmp_path / "log").open("a") as log:
        argv = ["sh", "-c", "setsid sleep 60 & echo $! > pid"]
        assert children.run(argv, env={**PATH, "M": children.mark}, cwd=tmp_path, log=log) == 0
        pid = int(wait_for(tmp_path / "pid"))
        assert alive(pid)
        children.stop()
    deadline = time.monotonic() + 2
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def test_capture() -> None:
    done = capture(["sh", "-c", "cat; echo err >&2; exit 2"], stdin=b"in")
    assert (done.code, done.stdout, done.stderr) == (2, b"in", b"err\n")


def test_a_command_that_never_stops_talking_is_killed(children: Children, tmp_path: Path) -> None:
    file = tmp_path / "log"
    argv = ["dd", "if=/dev/zero", "bs=1M", "status=none", "count=20000"]
    with file.open("a") as log, pytest.raises(FloodError, match="more than 64 MB"):
        children.run(argv, env=PATH, cwd=tmp_path, log=log)
    assert file.stat().st_size == LOG_LIMIT


def test_much_in_a_short_time_is_too_much_too(children: Children, tmp_path: Path) -> None:
    argv = ["dd", "if=/dev/zero", "bs=65M", "status=none", "count=1"]
    with (tmp_path / "log").open("a") as log, pytest.raises(FloodError):
        children.run(argv, env=PATH, cwd=tmp_path, log=log)
