"""Small files and links that survive a power cut: complete and new, or as they were.

Each write goes to a sibling, is synced, is renamed over the old one, and the folder is synced.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEMPORARY = ".tmp-"
"""Prefix of unfinished siblings; a holder of the head's lock may remove what has it."""


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by a file of `data`."""
    temporary = _sibling(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def link(path: Path, target: str) -> None:
    """Replace `path` by a symbolic link to `target`; no reader ever finds nothing there."""
    temporary = _sibling(path)
    temporary.symlink_to(target)
    try:
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove `path` if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sibling(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(6)}")
