"""Removing trees that are read-only, may be deep, and may be removed by somebody else as well."""

from __future__ import annotations

import os
import stat
from contextlib import suppress


def remove(path: str | os.PathLike[str] | bytes) -> int:
    """Remove a file, link or tree without following links; return the bytes set free on disk.

    What is gone already does not matter. A file with other names sets nothing free.

    Raises:
        OSError: something could not be removed.
    """
    root = os.fsencode(path)
    try:
        status = os.lstat(root)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        return _unlink(root, status)
    return _remove_tree(root)


def _remove_tree(root: bytes) -> int:
    """Empty directories first seen last: no recursion, as a tree may be deeper than the stack."""
    freed = 0
    directories = [root]
    for directory in directories:
        freed += _empty(directory, directories)
    for directory in reversed(directories):
        with suppress(FileNotFoundError):
            os.rmdir(directory)  # noqa: PTH106 - bytes
    return freed


def _empty(directory: bytes, directories: list[bytes]) -> int:
    """Unlink what is no directory; append what is."""
    freed = 0
    with suppress(FileNotFoundError):
        os.chmod(directory, 0o700)  # noqa: PTH101 - bytes
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    freed += _unlink(entry.path, entry.stat(follow_symlinks=False))
    return freed


def _unlink(path: bytes, status: os.stat_result) -> int:
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - bytes
    return status.st_blocks * 512 if status.st_nlink == 1 else 0
