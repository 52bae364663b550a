"""Where groups of large files wait that lie in several parts, until the last of those came.

Each piece was compared with what was signed before it is kept, and is again when it is taken.
They lie beside the store and not in it: no path is made of them before the file is whole.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from deploy.bundle import numbers
from store.lock import LockedError, hold
from store.nar import open_file
from store.remove import remove

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.bundle.manifest import Group

FOLDER = "quarantine"


class Quarantine:
    """The groups of one bundle; `digest` is that of its manifest."""

    def __init__(self, var_dir: Path, digest: str) -> None:
        self._all = var_dir / FOLDER
        self._folder = self._all / digest

    def keep(self, number: int, data: bytes) -> None:
        """Keep a group, whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / f".{number}-{os.urandom(8).hex()}"
        try:
            fresh.write_bytes(data)
            fresh.rename(self._folder / str(number))
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise

    def take(self, number: int, group: Group) -> bytes | None:
        """Return a group that is kept, and what was signed; None if there is none."""
        with suppress(OSError):
            descriptor = open_file(os.fsencode(self._folder / str(number)))
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(group.size + 1)
            if hashlib.sha256(data).hexdigest() == group.sha256:
                return data
        return None

    def has(self, number: int, group: Group) -> bool:
        """Tell whether a group is kept, by its size alone."""
        with suppress(OSError):
            return (self._folder / str(number)).lstat().st_size == group.size
        return False

    def clear(self) -> None:
        """Remove all groups, also those of other bundles: who wants them now begins anew."""
        if self._all.is_dir():
            remove(self._all)


def abandon(var_dir: Path) -> int:
    """Remove all groups, unless somebody receives now; return how many bytes that freed."""
    if not (var_dir / FOLDER).is_dir():
        return 0
    with suppress(LockedError), hold(var_dir / "locks" / numbers.FOLDER, wait=0):
        return remove(var_dir / FOLDER)
    return 0
