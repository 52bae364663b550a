"""Folders to measure in: made, filled, removed, and how many bytes lie in them."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = 512
"""Bytes of `st_blocks`, whatever the file system's own block is (stat(2))."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of files: as long as they say they are, and as the disk gives room for them.

    `allocated` counts folders too; `apparent` does not, as their length means nothing.
    """

    apparent: int
    allocated: int

    def __add__(self, other: Size) -> Size:
        return Size(self.apparent + other.apparent, self.allocated + other.allocated)


NOTHING = Size(0, 0)


def made(folder: Path) -> Path:
    """Make a folder and its parents."""
    folder.mkdir(parents=True)
    return folder


def remove(tree: Path) -> None:
    """Remove a tree whose folders may be read-only."""
    for folder, _, _ in os.walk(tree):
        Path(folder).chmod(0o755)
    shutil.rmtree(tree)


def disk() -> Path:
    """Name a place on a real disk: /tmp may be memory."""
    return Path(os.environ.get("SEALIFT_BENCH_DIR", "/var/tmp"))  # noqa: S108


def gigabyte(folder: Path) -> list[Path]:
    """Write 10 files of 64 MiB, and 20 folders of 500 files of 36 kB."""
    parts = []
    for number in range(10):
        parts.append(folder / f"large-{number}")
        parts[-1].write_bytes(os.urandom(64 << 20))
    for number in range(20):
        parts.append(made(folder / f"small-{number}"))
        for file in range(500):
            (parts[-1] / f"{file:03}").write_bytes(os.urandom(36_000))
    return parts


def size(trees: Iterable[Path]) -> Size:
    """Count files, folders and links of some trees; what has several names counts once."""
    seen: set[tuple[int, int]] = set()
    apparent = allocated = 0
    for tree in trees:
        for status in _statuses(tree):
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            allocated += status.st_blocks * _BLOCK
            if not stat.S_ISDIR(status.st_mode):
                apparent += status.st_size
    return Size(apparent, allocated)


def _statuses(tree: Path) -> Iterator[os.stat_result]:
    yield tree.lstat()
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            yield os.lstat(f"{folder}/{name}")
