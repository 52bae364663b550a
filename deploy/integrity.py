"""Whether the store paths that a release needs are there, with the bytes that are registered."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from deploy.errors import ClosureIncompleteError, DamagedPathError
from store.closure import MissingReferenceError
from store.errors import IntegrityError
from store.nar import BadTreeError, hash_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.info import PathInfo
    from store.local import LocalStore

REPAIR = "sealift store verify --repair"


def check(store: LocalStore, path: Path, *, running: Path | None) -> None:
    """Read what the release at `path` has and the release `running` has not.

    What runs is not read again: most of a new release is in it, and it runs.

    Raises:
        ClosureIncompleteError: a path is missing.
        DamagedPathError: a path is not what is registered.
    """
    wanted = _closure(store, path)
    trusted = _trusted(store, running)
    damaged = _damaged(store, [each for each in wanted if each.path not in trusted])
    if damaged:
        names = ", ".join(str(store.real(each.path)) for each in damaged)
        raise DamagedPathError(
            "the release is damaged in this head's store",
            where=names,
            expected="the bytes that were registered",
            got="other bytes",
            hint=f"{REPAIR}, or build it again",
        )


def _closure(store: LocalStore, path: Path) -> list[PathInfo]:
    try:
        return store.closure([store.parse(path)])
    except MissingReferenceError as error:
        raise ClosureIncompleteError(
            "the release is not complete in this head's store",
            where=str(path),
            got=f"missing: {error.where}",
            hint=f"{REPAIR}, or build it again",
        ) from error


def _trusted(store: LocalStore, running: Path | None) -> frozenset[object]:
    if running is None:
        return frozenset()
    try:
        return frozenset(each.path for each in store.closure([store.parse(running)]))
    except IntegrityError:
        return frozenset()


def _damaged(store: LocalStore, infos: Sequence[PathInfo]) -> list[PathInfo]:
    """Return those that are damaged; the largest are read first, one per processor."""
    by_size = sorted(infos, key=lambda info: info.nar_size, reverse=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        whole = pool.map(lambda info: _is_whole(store, info), by_size)
        return [info for info, good in zip(by_size, whole, strict=True) if not good]


def _is_whole(store: LocalStore, info: PathInfo) -> bool:
    try:
        found = hash_tree(store.real(info.path))
    except (OSError, BadTreeError):
        return False
    return (found.sha256.hex(), found.size) == (info.nar_sha256, info.nar_size)
