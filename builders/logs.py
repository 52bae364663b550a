"""Where build logs lie: one per derivation, and for each step a link to its newest.

A log is kept whether its build ends well, badly or not at all.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.local import LocalStore


def log_file(store: LocalStore, digest: str) -> Path:
    """Name the log of a derivation."""
    return store.var_dir / "log" / f"{digest}.log"


def newest_log(store: LocalStore, key: str) -> Path | None:
    """Find the newest log of a step, by its key; None if it never ran here."""
    link = _link(store, key)
    return link.resolve() if link.exists() else None


@contextmanager
def writing(store: LocalStore, key: str, digest: str) -> Iterator[TextIO]:
    """Begin the log of a step anew; what processes write to it comes in order.

    Appending, so that the descriptor that children inherit and our own never overwrite each
    other.
    """
    file = log_file(store, digest)
    file.unlink(missing_ok=True)
    with file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        _point(_link(store, key), file)
        yield log


def _point(link: Path, file: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    fresh = link.with_name(f".{os.urandom(8).hex()}")
    fresh.symlink_to(os.path.relpath(file, link.parent))
    try:
        fresh.replace(link)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def _link(store: LocalStore, key: str) -> Path:
    return store.var_dir / "log" / "newest" / quote(key, safe="")
