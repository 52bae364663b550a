"""The one door through which this package starts processes."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended: its exit status, and what it wrote to both streams."""

    status: int
    output: str


def run(argv: Sequence[str], *, env: Mapping[str, str], timeout: float) -> Ended:
    """Run `argv` from the root folder with nothing but `env`, and wait for it.

    Raises:
        HeadError: it cannot be started, or takes more than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise HeadError(f"cannot start {argv[0]}: {error.strerror}", where=argv[0]) from error
    except subprocess.TimeoutExpired:
        raise HeadError(f"no end within {timeout:g} s", where=" ".join(argv)) from None
    return Ended(done.returncode, done.stdout.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A process that has ended: its exit status, and what it wrote to either stream."""

    status: int
    stdout: bytes
    stderr: str


def ask(
    argv: Sequence[str],
    *,
    input: bytes,  # noqa: A002
    env: Mapping[str, str],
    timeout: float,
    descriptors: Sequence[int] = (),
) -> Answer:
    """Run `argv` from the root folder with `input` and nothing but `env`, and wait for it.

    It keeps the open `descriptors` under their numbers. It also keeps the terminal, on which it
    may ask for a passphrase.

    Raises:
        HeadError: it cannot be started, or takes more than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            env=env,
            cwd="/",
            input=input,
            capture_output=True,
            timeout=timeout,
            check=False,
            pass_fds=descriptors,
        )
    except OSError as error:
        raise HeadError(f"cannot start {argv[0]}: {error.strerror}", where=argv[0]) from error
    except subprocess.TimeoutExpired:
        raise HeadError(f"no end within {timeout:g} s", where=" ".join(argv)) from None
    return Answer(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


TIME_UP = -1
"""The status of what a signal ended, be it ours when its time was up."""
NOT_STARTED = 127
_LAST_WORDS = 5.0
"""Seconds in which the pipes of what was killed must close; a daemon may keep them open."""


def attempt(
    argv: Sequence[str],
    *,
    input: bytes = b"",  # noqa: A002
    env: Mapping[str, str],
    timeout: float,
) -> Answer:
    """Run `argv` as `ask` does, whatever becomes of it.

    What cannot be started has status 127, as with a shell. What takes more than `timeout` seconds
    is killed with all that it began, and has status -1.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            argv, env=env, cwd="/", stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return Answer(NOT_STARTED, b"", f"cannot start {argv[0]}: {error}")
    try:
        out, err = process.communicate(input, timeout)
        status = max(process.returncode, TIME_UP)
    except subprocess.TimeoutExpired:
        out, err = _killed(process)
        status = TIME_UP
        err += f"\nno end within {timeout:g} s".encode()
    return Answer(status, out, err.decode("utf-8", "replace"))


def logged(argv: Sequence[str], *, env: Mapping[str, str], timeout: float, log: Path) -> Answer:
    """Run `argv` to its end, even if we are killed meanwhile; what it says goes to the file `log`.

    Nothing that it writes to breaks with us, and no terminal ends it.

    Raises:
        HeadError: it cannot be started, or takes more than `timeout` seconds; then it goes on.
    """
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise HeadError(f"cannot start {argv[0]}: {error.strerror}", where=argv[0]) from error
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            hint = f"look at {log}"
            where = " ".join(argv)
            raise HeadError(f"no end within {timeout:g} s", where=where, hint=hint) from None
    return Answer(max(status, TIME_UP), log.read_bytes(), "")


def _killed(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Kill a process with its session, and return what it had written."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=_LAST_WORDS)
    except subprocess.TimeoutExpired as error:
        process.kill()
        return error.stdout or b"", error.stderr or b""
