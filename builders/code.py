"""One digest over the code that decides outputs, so that new code is never taken for the old."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PACKAGES = ("builders", "builders/launcher", "builders/scripts", "store")


def code_digest() -> str:
    """Give a base-16 SHA-256 that changes when a file of `builders` or `store` does.

    Made of names, sizes, times and inodes: nothing is opened. A checkout that only touches files
    gives another digest too; then a build looks at its derivations, which are the same.
    """
    root = Path(__file__).resolve().parent.parent
    hasher = hashlib.sha256()
    for package in _PACKAGES:
        with os.scandir(root / package) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_file():
                    seen = entry.stat()
                    row = (package, entry.name, seen.st_size, seen.st_mtime_ns, seen.st_ino)
                    hasher.update(repr(row).encode())
    return hasher.hexdigest()
