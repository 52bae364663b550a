"""What a head lacks of a release, as far as this machine can tell by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deploy.planning import Load
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.facts import Facts
    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath


def everything(store: LocalStore, top: StorePath) -> Load:
    """Return what a head lacks that has nothing, not even an agent."""
    return _load(store, store.closure([top]), bootstrap=True)


def rest(store: LocalStore, top: StorePath, facts: Facts) -> Load | None:
    """Return what is not among a head's generations; None if one of those is not known here."""
    have = _held(store, facts)
    if not have or store.valid(have) != set(have):
        return None
    known = {info.path for info in store.closure(have)}
    return _load(store, [info for info in store.closure([top]) if info.path not in known])


def _held(store: LocalStore, facts: Facts) -> list[StorePath]:
    """Return the releases of a head's generations; none if one lies in another store."""
    try:
        return [store.parse(each) for each in facts.generations.values()]
    except InputError:
        return []


def _load(store: LocalStore, infos: Sequence[PathInfo], *, bootstrap: bool = False) -> Load:
    files = sum(_entries(store.real(info.path)) for info in infos)
    return Load(len(infos), sum(info.nar_size for info in infos), files, bootstrap=bootstrap)


def _entries(path: Path) -> int:
    """Count the inodes of a tree; files that are shared count each time, which errs on one side."""
    return 1 + sum(len(folders) + len(files) for _, folders, files in os.walk(path))
