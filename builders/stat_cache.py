"""Stamps of files: what lstat says, so that what has not changed need not be read again.

As in git's index, a file that changed just before it was looked at is never trusted: its next
change could fall into the same tick of the file system's clock.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Record: TypeAlias = "dict[str, Any]"
"""What was seen last time, as JSON: rows of paths and stamps, and a digest."""

Stamp: TypeAlias = "list[int]"
"""Mode, size, mtime, ctime (both in nanoseconds) and inode; a folder's size is left out."""

RACY = 2_000_000_000
"""Nanoseconds: longer than the tick of any file system's clock (FAT's, two seconds)."""

ABSENT: Stamp = []
UNTRUSTED: Stamp = [-1]


class StatCache(Protocol):
    """A small durable cache: what it forgets is only found out again."""

    def get(self, key: str) -> bytes | None:
        """Return what was put under the key, or None."""

    def put(self, key: str, value: bytes) -> None:
        """Keep a value under the key."""


def stamp(path: str) -> Stamp:
    """Return a path's stamp, links not followed; `ABSENT` if there is nothing."""
    try:
        return stamp_of(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp in a stat result."""
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return [status.st_mode, size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def settled(found: Stamp, now: int) -> Stamp:
    """Return the stamp to remember: `UNTRUSTED` if it is too fresh to be trusted.

    `now` is the time in nanoseconds *before* the file was looked at. A time in the future
    counts for ctime alone, which nobody can set: archives carry mtimes of any year.
    """
    if not found:
        return found
    oldest, newest = now - RACY, now + RACY
    fresh = found[3] > oldest or oldest < found[2] < newest
    return UNTRUSTED if fresh else found


def unchanged(rows: Iterable[Sequence[object]], root: str = "") -> bool:
    """Tell whether each row, a path below `root` and its stamp first, is as remembered."""
    return all(stamp(f"{root}{row[0]}") == row[1] for row in rows)


def recall(cache: StatCache, key: str, *parts: str) -> Record | None:
    """Return the record under the key; one without all its parts is as good as none."""
    content = cache.get(key)
    if content is None:
        return None
    try:
        known = json.loads(content)
    except ValueError:
        return None
    return known if isinstance(known, dict) and known.keys() >= set(parts) else None
