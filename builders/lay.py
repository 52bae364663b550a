"""Lay a source tree where a build may change it, as it was when its digest was made."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builders.sandbox import EPOCH
from store.errors import InputError

if TYPE_CHECKING:
    from builders.step import SourceFile, SourceTree


class ChangedError(InputError):
    """A source file that is no longer what it was a moment ago."""

    slug = "source-changed"


def lay(tree: SourceTree, target: Path) -> None:
    """Copy the tree's files to `target`, with modes 0644 and 0755 and `EPOCH` as their time.

    Raises:
        ChangedError: if a file is not what the tree's digest was made from.
    """
    target.mkdir()
    for place in sorted({parent for file in tree.files for parent in Path(file.path).parents}):
        (target / place).mkdir(exist_ok=True)
    for file in tree.files:
        _lay_file(file, tree.root, target / file.path)
    for folder, _, _ in os.walk(target, topdown=False):
        Path(folder).chmod(0o755)
        os.utime(folder, (EPOCH, EPOCH))


def _lay_file(file: SourceFile, root: Path, place: Path) -> None:
    try:
        contents = _contents(file, root / file.path)
    except OSError as fault:
        raise _changed(file, root, str(fault.strerror)) from fault
    if file.link is not None:
        place.symlink_to(file.link)
    else:
        place.write_bytes(contents)
        place.chmod(0o755 if file.executable else 0o644)
    os.utime(place, (EPOCH, EPOCH), follow_symlinks=False)
    if hashlib.sha256(contents).hexdigest() != file.sha256:
        raise _changed(file, root, "other contents")


def _contents(file: SourceFile, path: Path) -> bytes:
    if file.link is not None:
        return os.fsencode(os.readlink(path))  # noqa: PTH115 - Path.readlink respells ./a as a
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
        return source.read()


def _changed(file: SourceFile, root: Path, got: str) -> ChangedError:
    return ChangedError(
        f"{file.path} changed while the build was reading it",
        where=str(root / file.path),
        got=got,
        hint="build again",
    )
