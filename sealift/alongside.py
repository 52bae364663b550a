"""The one-file sealift beside a bundle, for a transfer host that has none.

It is no part of the bundle: it has to run before a bundle can be verified. So it has a signature
beside it, which any ssh-keygen verifies, and the sealift that a site has already.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sealift.site import Site

RECIPE = "sealift"
FILE = "bin/sealift"
NAME = "sealift"
SIGNATURE = ".sig"


def one_file(site: Site) -> Path:
    """Return the one file as it was last built.

    Raises:
        InputError: it was not, or what has its name is something else.
    """
    path = site.store.real(site.path(RECIPE))
    file = path / FILE
    if not os.access(file, os.X_OK):
        hint = "it is what recipes/tools/sealift.yaml makes, a recipe of kind executable"
        raise InputError(f"{RECIPE} is no program of one file", where=str(path), hint=hint)
    return file


def check(file: Path, folder: Path, *, force: bool) -> Path:
    """Return where the one file goes.

    Raises:
        InputError: something else lies there, and may not be replaced.
    """
    target = folder / NAME
    there = target.is_symlink() or target.exists()
    if there and not force and not _equal(file, target):
        raise InputError(
            "another file is in the way of the one-file sealift",
            where=str(target),
            hint="write the bundle into a folder of its own, or replace it: --force",
        )
    return target


def lay(file: Path, target: Path, sign: Callable[[bytes], Sequence[bytes]]) -> None:
    """Put the one file there, with its signatures beside it; whole or not at all, and synced.

    Raises:
        SigningError: it cannot be signed; nothing was written then.
    """
    signatures = b"".join(sign(file.read_bytes()))
    _replace(target, lambda fresh: shutil.copyfile(file, fresh), 0o755)
    beside = target.with_name(f"{target.name}{SIGNATURE}")
    _replace(beside, lambda fresh: fresh.write_bytes(signatures), 0o644)


def _equal(file: Path, target: Path) -> bool:
    return target.is_file() and filecmp.cmp(file, target, shallow=False)


def _replace(target: Path, write: Callable[[Path], object], mode: int) -> None:
    fresh = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        write(fresh)
        # File systems of sticks have no modes; there each file can be run.
        with suppress(OSError):
            fresh.chmod(mode)
        descriptor = os.open(fresh, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
