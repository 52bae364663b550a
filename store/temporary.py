"""Temporary directories inside the store, swept once their process is gone.

They lie in the store directory itself, so that what is made in them is put in place by one
rename(2). A flock on the directory says that its owner lives; a pid would not, as pids come back.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from store.database import DiskFullError
from store.lock import try_lock
from store.remove import remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = ".tmp-"


@contextmanager
def temporary(store_dir: Path) -> Iterator[Path]:
    """Make a directory for the length of the block, locked, mode 0700."""
    path, descriptor = _make(store_dir)
    try:
        yield path
    finally:
        try:
            remove(path)
        finally:
            os.close(descriptor)


@contextmanager
def disk() -> Iterator[None]:
    """Turn a full disk into the error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        where = os.fsdecode(error.filename) if error.filename else None
        raise DiskFullError("the disk is full", where=where, hint="sealift store gc") from error


def spare(store_dir: Path) -> Path:
    """Name a place to which a path can be moved to be removed: unlocked, so any sweep may."""
    return store_dir / f"{PREFIX}{os.urandom(8).hex()}"


def sweep(store_dir: Path, *, dry_run: bool = False) -> list[Path]:
    """Remove what ended processes have left; return what it was."""
    names = os.listdir(store_dir)  # noqa: PTH208 - most entries are not ours to look at
    ours = [store_dir / name for name in names if name.startswith(PREFIX)]
    return [path for path in ours if _sweep_one(path, dry_run=dry_run)]


def _make(store_dir: Path) -> tuple[Path, int]:
    """Make and lock a directory; begin anew if a sweep came between the two."""
    while True:
        path = spare(store_dir)
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)


def _sweep_one(path: Path, *, dry_run: bool) -> bool:
    if path.is_symlink() or not path.is_dir():
        return _removed(path, dry_run=dry_run)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return try_lock(descriptor) and _removed(path, dry_run=dry_run)
    finally:
        os.close(descriptor)


def _removed(path: Path, *, dry_run: bool) -> bool:
    if not dry_run:
        remove(path)
    return True
