"""Copies of files and links with all that is theirs: complete after a power cut, or as before."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy import durable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EPERM, errno.ENODATA, errno.EINVAL)
_RANDOM = re.compile(r"[0-9a-f]{12}")


def copy(source: Path, target: Path) -> None:
    """Replace `target` by a copy of a file or link, with its owner, mode and attributes."""
    if source.is_symlink():
        durable.link(target, str(source.readlink()))
        return
    fresh = target.with_name(f"{durable.TEMPORARY}{target.name}-{secrets.token_hex(6)}")
    try:
        _write(source, fresh)
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    durable.sync_folder(target.parent)


def sweep(*paths: Path) -> None:
    """Remove what killed writers of just these files or links left beside them."""
    for path in paths:
        for each in path.parent.glob(f"{durable.TEMPORARY}{glob.escape(path.name)}-*"):
            if _RANDOM.fullmatch(each.name.rpartition("-")[2]):
                each.unlink(missing_ok=True)


def same(one: Path, other: Path) -> bool:
    """Tell whether two files or links are alike in all that `copy` keeps but times."""
    if not (_there(one) and _there(other)):
        return False
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    left, right = one.stat(), other.stat()
    marks = [(each.st_uid, each.st_gid, stat.S_IMODE(each.st_mode)) for each in (left, right)]
    return marks[0] == marks[1] and one.read_bytes() == other.read_bytes()


def make_folders(folder: Path) -> None:
    """Make a folder and those above it; each is there for good."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(mode=0o755, exist_ok=True)
        durable.sync_folder(folder.parent)


def _write(source: Path, fresh: Path) -> None:
    """Make a copy that nobody else may read before it is whose it is to be, even if we are killed.

    What was opened is what is read: a link that takes its place meanwhile is not followed.
    """
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(reading, "rb") as old, os.fdopen(os.open(fresh, flags, 0o600), "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        status = os.fstat(old.fileno())
        os.fchown(new.fileno(), status.st_uid, status.st_gid)
        _attributes(old.fileno(), new.fileno())
        # A change of the owner takes setuid bits away.
        os.fchmod(new.fileno(), stat.S_IMODE(status.st_mode))
        os.utime(new.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(new.fileno())


def _attributes(old: int, new: int) -> None:
    """Copy what the file systems of both know of extended attributes."""
    with _unless_unknown():
        for name in os.listxattr(old):
            with _unless_unknown():
                os.setxattr(new, name, os.getxattr(old, name))


@contextmanager
def _unless_unknown() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise


def _there(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
