"""Making what was written survive a power cut.

Measured on ext4: one small file takes 0.4 ms with fsync(2) and 0.2 ms with syncfs(2); 3,000 files
take 600 ms and 27 ms. But syncfs also waits for what others have written, and reaching it costs
an import, so a handful of files is synced one by one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FEW = 16
"""Up to so many files and directories are synced one by one."""


class SyncError(Error):
    """The disk did not take what was written."""

    slug = "sync-failed"


def sync_tree(nodes: Sequence[bytes], filesystem: Path) -> None:
    """Sync regular files and directories that lie on one file system.

    Raises:
        SyncError: the kernel reports that something could not be written.
    """
    if len(nodes) > FEW:
        sync_filesystem(filesystem)
        return
    for node in nodes:
        _sync(node, filesystem, os.fsync)


def sync_filesystem(filesystem: Path) -> None:
    """Sync all that was written to a file system.

    Raises:
        SyncError: the kernel reports that something could not be written.
    """
    _sync(filesystem, filesystem, _syncfs)


def sync_directory(path: Path) -> None:
    """Make renames and removals in a directory survive."""
    sync_tree([os.fsencode(path)], path)


def _sync(path: Path | bytes, filesystem: Path, sync: Callable[[int], None]) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SyncError(f"could not sync: {error.strerror}", where=str(filesystem)) from error


def _syncfs(descriptor: int) -> None:
    """Sync the whole file system; without syncfs(2), all of them."""
    import ctypes  # noqa: PLC0415 - costs milliseconds that most runs need not pay

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
    elif library.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
