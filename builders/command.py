"""The one door of the builders through which processes start.

Who runs what, and in which sandbox, is for others to say.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from builders import warden
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LOG_LIMIT = 64_000_000
"""Bytes that a log may hold: what says more has run wild, and would fill the disk."""
_LOOK = 0.1
"""Seconds between two looks at how much a command has said."""


class StoppedError(Error):
    """The build was told to stop before this could be done."""

    slug = "stopped"
    exit_code = 130


class FloodError(Exception):
    """A command that said more than a log may hold; it was killed."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that has ended, and what it said."""

    code: int
    stdout: bytes
    stderr: bytes


class Children:
    """The processes of one build. After `stop` none runs and none starts.

    They must not outlive this process either, whatever kills it: see `builders.warden`.

    Attributes:
        mark: a word that no other process of the machine bears. A command that may start others
            in a session of their own must have it among its arguments or in its environment.
    """

    def __init__(self) -> None:
        self.mark = f"sealift-{os.urandom(12).hex()}"
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()
        self._warden: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what still runs, and let the warden go."""
        calm = not self.stopped and not self._running
        self.stop()
        if self._warden is not None:
            self._warden.communicate(warden.CALM if calm else warden.STOP)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but not past `stop`.

        Raises:
            StoppedError: if the build was told to stop.
        """
        if self._stopped.wait(seconds):
            raise StoppedError("the build was stopped")

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, log: IO[str]
    ) -> int:
        """Run a command to its end with all it says in `log`; give its exit code.

        The command leads a session of its own: a Ctrl-C at the terminal reaches this process
        alone, which then decides.

        Raises:
            FloodError: if the log grew beyond `LOG_LIMIT`; it is cut there.
            StoppedError: if the build was told to stop, before or meanwhile.
        """
        log.flush()
        with self._started(argv, env=env, cwd=cwd, log=log) as process:
            flooded = _watch(process, log)
        code = process.returncode
        if self.stopped:
            raise StoppedError("the build was stopped")
        if flooded:
            os.ftruncate(log.fileno(), LOG_LIMIT)
            raise FloodError(f"said more than {LOG_LIMIT // 1_000_000} MB")
        return code

    def stop(self) -> None:
        """Kill what runs, with all its children, and let nothing start any more."""
        with self._lock:
            self._stopped.set()
            for process in self._running:
                _kill(process)

    @contextmanager
    def _started(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, log: IO[str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self.stopped:
                raise StoppedError("the build was stopped")
            self._warden = self._warden or _start_warden(self.mark)
            process = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The user's would decide modes that go into archives.
                umask=0o022,
            )
            self._running.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._running.discard(process)
                if process.poll() is None:
                    _kill(process)
            process.wait()


def capture(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
) -> Completed:
    """Run a command to its end and give what it said.

    Raises:
        OSError: if it cannot be started.
        subprocess.TimeoutExpired: after `timeout` seconds.
    """
    done = subprocess.run(
        list(argv),
        env=None if env is None else dict(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=timeout,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def _start_warden(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", warden.__file__, mark],
        env={},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _watch(process: subprocess.Popen[bytes], log: IO[str]) -> bool:
    """Wait for a command's end, or until it has said too much; tell whether it has."""
    ended, poll = os.pidfd_open(process.pid), select.poll()
    poll.register(ended, select.POLLIN)
    try:
        while not poll.poll(_LOOK * 1000):
            if os.fstat(log.fileno()).st_size > LOG_LIMIT:
                return True
    finally:
        os.close(ended)
    process.wait()
    return os.fstat(log.fileno()).st_size > LOG_LIMIT


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The group is the session that `start_new_session` made: its id is the leader's.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
