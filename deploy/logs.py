"""What services have written: their output as the manager keeps it, and log files in their state.

Reads only. A file may be rotated or cut while it is followed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deploy.layout import Layout

CHUNK = 64 * 1024
POLL = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log, without its end, and the file that it stands in."""

    file: Path
    text: str


def files(layout: Layout, name: str) -> tuple[Path, ...]:
    """Return the log files of the service `name`; what the manager keeps comes last."""
    home = layout.state(name)
    found = sorted([*home.glob("*.log"), *home.glob("*/*.log")])
    return tuple(each for each in (*found, layout.log(name)) if each.is_file())


def last_lines(layout: Layout, name: str, count: int, *, since: float = 0.0) -> tuple[Line, ...]:
    """Return the last `count` lines of each log of `name` that was written to after `since`.

    Access logs are left out: the health check's own requests would stand there.
    """
    told = (each for each in files(layout, name) if "access" not in each.name)
    fresh = (each for each in told if each.stat().st_mtime >= since)
    return tuple(Line(each, text) for each in fresh for text in tail(each, count))


def tail(file: Path, count: int) -> tuple[str, ...]:
    """Return the last `count` lines of a file of any size."""
    if count <= 0:
        return ()
    with file.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        data = b""
        while end > 0 and data.count(b"\n") <= count:
            start = max(0, end - CHUNK)
            stream.seek(start)
            data = stream.read(end - start) + data
            end = start
    return tuple(_text(each) for each in data.splitlines()[-count:])


def follow(layout: Layout, name: str, count: int = 10) -> Iterator[Line | None]:
    """Give the last lines of each log, then what is added, until the caller has enough.

    Gives nothing (None) at each look at which there was nothing new, so that the caller can stop.
    """
    opened = {each: _Tail(each, each.stat().st_size) for each in files(layout, name)}
    for file in list(opened):
        yield from (Line(file, text) for text in tail(file, count))
    while True:
        for file in files(layout, name):
            opened.setdefault(file, _Tail(file, 0))
        fresh = [Line(file, text) for file, each in opened.items() for text in each.read()]
        yield from fresh
        if not fresh:
            yield None
            time.sleep(POLL)


@dataclass(slots=True)
class _Tail:
    """A place in a growing file; starts again at zero when it was rotated or cut."""

    file: Path
    offset: int
    inode: int = 0
    rest: bytes = field(default=b"")

    def read(self) -> Sequence[str]:
        """Return the lines that were completed since the last look."""
        try:
            with self.file.open("rb") as stream:
                self._rewind(os.fstat(stream.fileno()))
                stream.seek(self.offset)
                data = stream.read()
        except FileNotFoundError:
            return ()
        self.offset += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        return [_text(each) for each in whole]

    def _rewind(self, status: os.stat_result) -> None:
        if status.st_size < self.offset or self.inode not in (0, status.st_ino):
            self.offset, self.rest = 0, b""
        self.inode = status.st_ino


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
