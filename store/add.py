"""Adding finished trees to a store, so that no crash can harm what is in it.

Seal, sync, rename into place, sync the directory, and only then register; whatever has no
registration is garbage, however complete it looks. (Nix registers first and syncs nothing: after
a power cut a valid path may hold empty files.)
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.closure import MissingReferenceError
from store.info import PathInfo
from store.journal import append
from store.names import check_name
from store.path import fixed_path
from store.remove import remove
from store.seal import Sealed, seal, settle
from store.sync import sync_directory, sync_tree
from store.temporary import disk, spare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.local import Addition, LocalStore


@dataclass(frozen=True, slots=True)
class Ready:
    """A tree on its way into the store: as `seal` leaves it, its hash known, in a temporary.

    `nodes` are its regular files and directories, for syncing.
    """

    tree: Path
    info: PathInfo
    nodes: tuple[bytes, ...]


def add(store: LocalStore, items: Sequence[Addition], *, durable: bool) -> list[PathInfo]:
    """Add trees with one sync and one commit, all of them or none; consume them.

    An item may refer to one before it. What is valid already is not written again.

    Raises:
        BadTreeError: a tree holds what no object can.
        InputError: a name is not legal.
        MissingReferenceError: a reference is not valid.
        DiskFullError: nothing was added.
    """
    for item in items:
        check_name(item.name)
    with store.session(), disk():
        ready = [_seal(store, item) for item in items]
        put(store, ready, durable=durable)
    return [each.info for each in ready]


def put(store: LocalStore, ready: Sequence[Ready], *, durable: bool) -> None:
    """Put trees in place and register them, all of them or none; consume them.

    Within a session of the store. What is valid already is not written again.

    Raises:
        MissingReferenceError: a reference is neither valid nor before its referrer.
        SyncError: the disk did not take them.
        DiskFullError: nothing was registered.
    """
    new = _new(store, ready)
    if durable and new:
        sync_tree([node for each in new for node in each.nodes], store.store_dir)
    moved = _place(store, new, durable=durable) if new else []
    for leftover in (*moved, *(each.tree for each in ready)):
        remove(leftover)


def _seal(store: LocalStore, item: Addition) -> Ready:
    sealed = seal(item.tree, store.links_dir, item.candidates)
    return Ready(item.tree, _describe(store, item, sealed), sealed.nodes)


def _describe(store: LocalStore, item: Addition, sealed: Sealed) -> PathInfo:
    references = tuple(sorted({*item.references, *sealed.found}))
    sha256, size = sealed.nar
    path = fixed_path(
        store_dir=str(store.store_dir), name=item.name, nar_sha256=sha256, references=references
    )
    return PathInfo(path, sha256.hex(), size, references, time.time())


def _new(store: LocalStore, ready: Sequence[Ready]) -> list[Ready]:
    """Return what is not valid yet, once each, after a look at its references."""
    mentioned = {path for each in ready for path in (each.info.path, *each.info.references)}
    valid = store.valid(mentioned) - store.damaged
    new = []
    for each in ready:
        missing = set(each.info.references) - valid
        if missing:
            raise MissingReferenceError(
                f"{each.info.path.name} refers to {min(missing)}, which is not in the store",
                where=str(each.tree),
            )
        if each.info.path not in valid:
            valid.add(each.info.path)
            new.append(each)
    return new


def _place(store: LocalStore, new: Sequence[Ready], *, durable: bool) -> list[Path]:
    """Rename trees into place and register them; return what stood in their way.

    The database's write lock is held throughout, so of two processes that add one path the
    second finds it valid.
    """
    with store.database.writing(durable=durable):
        valid = store.valid([each.info.path for each in new]) - store.damaged
        moved = [
            _rename(store, each.tree, store.real(each.info.path))
            for each in new
            if each.info.path not in valid
        ]
        if durable:
            sync_directory(store.store_dir)
        append(store.journal, [each.info for each in new], durable=durable)
        for each in new:
            store.database.register(each.info)
    return moved


def _rename(store: LocalStore, tree: Path, target: Path) -> Path:
    """Put a tree in place; return where garbage of the same name went."""
    aside = spare(store.store_dir)
    with suppress(FileNotFoundError):
        target.rename(aside)
    tree.rename(target)
    if not target.is_symlink() and target.is_dir():
        settle(os.fsencode(target))
    return aside
