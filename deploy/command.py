"""The one door through which this package starts processes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
