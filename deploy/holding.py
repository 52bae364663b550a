"""What a store holds for good: the closures of the links that keep paths.

What only a running process keeps may go with it, and is left out: nobody may build on it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploy.receipt_json import read_rows, rows
from store.closure import order
from store.errors import IntegrityError
from store.roots import find_links

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath
    from store.roots import Root


@dataclass(frozen=True, slots=True)
class Holding:
    """Roots, newest first, and the infos of all that they reach, references before referrers.

    When a path was registered is left out.
    """

    roots: tuple[tuple[str, StorePath], ...]
    infos: tuple[PathInfo, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what a head tells of itself: the paths; roots are its own."""
        return {"paths": rows(self.infos)}


def paths(record: Mapping[str, Any], store_dir: str) -> tuple[PathInfo, ...]:
    """Read the paths of what `to_json` wrote.

    Raises:
        BadReceiptError: it is something else.
    """
    return read_rows(record.get("paths"), store_dir)


def look(store: LocalStore) -> Holding:
    """Return what a store holds; a root whose closure is not whole holds nothing."""
    known: dict[StorePath, PathInfo] = {}
    roots: list[tuple[str, StorePath]] = []
    with store.session():
        for root in _newest_first(store):
            with suppress(IntegrityError):
                if root.path not in known:
                    known |= {info.path: info for info in store.closure([root.path])}
                roots.append((root.name, root.path))
    return Holding(tuple(roots), tuple(replace(info, registered=0.0) for info in order(known)))


def _newest_first(store: LocalStore) -> list[Root]:
    def changed(root: Root) -> float:
        with suppress(OSError):
            return (store.var_dir / root.name).lstat().st_mtime
        return 0.0

    links = find_links(store.store_dir, store.var_dir)
    return sorted(links, key=lambda root: (-changed(root), root.name))
