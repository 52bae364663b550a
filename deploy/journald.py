"""What services have written, as journald keeps it, beside log files in their state."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import logs
from deploy.command import run
from deploy.errors import HeadError
from deploy.logs import Line
from deploy.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.layout import Layout

JOURNAL = Path("journal")
"""What stands for the file of a line that came from journald."""
_TIMEOUT = 30.0
_ENV = {"PATH": PATH, "LANG": "C.UTF-8"}


def last_lines(
    layout: Layout, name: str, count: int, *, instance: str = "*", since: float = 0.0
) -> tuple[Line, ...]:
    """Return the last `count` lines of each log of a service, its own output at the end.

    `since` is in seconds since the epoch; what is older is left out.
    """
    kept = logs.last_lines(layout, name, count, since=since)
    said = output(name, count, instance=instance, since=since)
    return (*kept, *(Line(JOURNAL, text) for text in said))


def output(name: str, count: int, *, instance: str = "*", since: float = 0.0) -> tuple[str, ...]:
    """Return the last lines that one instance of a service printed, or all."""
    # What was printed just now may still be on its way.
    run(("journalctl", "--sync"), env=_ENV, timeout=_TIMEOUT)
    # With --since alone, --lines would count from that moment on: the first lines, not the last.
    last = ("--reverse", *((f"--since=@{since:.0f}",) if since else ()))
    ended = run((*_asked(name, count, instance), *last), env=_ENV, timeout=_TIMEOUT)
    if ended.status != 0:
        return ()
    found = tuple(line for line in ended.output.splitlines() if line != "-- No entries --")
    return found[::-1]


def follow(layout: Layout, name: str, count: int) -> Iterator[Line | None]:
    """Give the last lines, then what is added, until the caller has enough.

    Gives nothing (None) now and then, so that the caller can stop.
    """
    del layout
    with _following(name, count) as lines:
        for line in lines:
            yield Line(JOURNAL, line.rstrip("\n"))
            yield None


@contextmanager
def _following(name: str, count: int) -> Iterator[Iterator[str]]:
    try:
        process = subprocess.Popen(
            (*_asked(name, count), "--follow"),
            env=_ENV,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise HeadError(f"cannot start journalctl: {error.strerror}") from error
    with process:
        try:
            if process.stdout is not None:
                yield iter(process.stdout)
        finally:
            process.terminate()


def _asked(name: str, count: int, instance: str = "*") -> tuple[str, ...]:
    """Ask for what the instances print, and for what systemd says of them."""
    return (
        "journalctl",
        "--no-pager",
        "--quiet",
        "--output=cat",
        f"--lines={count}",
        f"--unit=sealift-{name}@{instance}.service",
    )
