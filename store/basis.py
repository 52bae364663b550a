"""What both ends of a push know already, against which they compress what they say.

The receiver names closures that it has; if the sender has one of them too, lists are sent as what
differs from its list, and a file as what differs from its forerunner. Both ends compute the same
bytes from their own stores and compare a digest first, so a damaged store costs bytes and no more.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.errors import Error
from store.frames import PATCH_LIMIT
from store.manifest import File, Manifest, blobs, describe, forerunners

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from store.info import PathInfo
    from store.local import LocalStore
    from store.manifest import Shared
    from store.path import StorePath

MOST = 4
"""Closures that a receiver names: the newest of its roots."""

HAVE, WANT, PATCH = b"012"
"""What a receiver says of a file: it is there; it is to be sent; what differs is enough."""


@dataclass(frozen=True, slots=True)
class Base:
    """A closure that one side has; `names` are its paths, one a line, sorted."""

    top: StorePath
    infos: tuple[PathInfo, ...]
    names: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the names, in base 16."""
        return hashlib.sha256(self.names).hexdigest()


def names(paths: Iterable[StorePath]) -> bytes:
    """Spell paths one a line, sorted."""
    return "\n".join(sorted(map(str, paths))).encode()


def base(store: LocalStore, top: StorePath) -> Base | None:
    """Return the closure of a path, or None if it is not whole here."""
    try:
        infos = store.closure([top])
    except Error:
        return None
    return Base(top, tuple(infos), names(info.path for info in infos))


def bases(store: LocalStore) -> list[Base]:
    """Return the closures of the newest roots, newest first."""
    found = (base(store, top) for top in _newest_roots(store))
    return [each for each in found if each is not None]


def _newest_roots(store: LocalStore) -> list[StorePath]:
    from store.roots import find_links  # noqa: PLC0415 - reads all links, which only this needs

    changed: dict[StorePath, float] = {}
    for root in find_links(store.store_dir, store.var_dir):
        with suppress(OSError):
            when = (store.var_dir / root.name).lstat().st_mtime
            changed[root.path] = max(when, changed.get(root.path, 0.0))
    return sorted(changed, key=lambda path: (-changed[path], path))[:MOST]


def departed(
    store: LocalStore, known: Base | None, offered: Collection[StorePath], shared: Shared
) -> list[Manifest]:
    """Return the manifests of those paths of a base that the offer no longer has.

    They are what the new paths came from. None, if one of them cannot be read here.
    """
    gone = [info for info in known.infos if info.path not in offered] if known else []
    with suppress(OSError, Error):
        return [describe(info, store.real(info.path), shared) for info in gone]
    return []


def spell(manifests: Sequence[Manifest]) -> bytes:
    """Spell manifests one a line."""
    return "\n".join(map(str, manifests)).encode()


def patches(new: Sequence[Manifest], old: Sequence[Manifest]) -> dict[str, File]:
    """Return the forerunner of each new file, by hash, where it is worth a patch."""
    files = blobs(new)
    return {
        sha256: before
        for sha256, before in forerunners(new, old).items()
        if max(files[sha256].size, before.size) <= PATCH_LIMIT
    }
