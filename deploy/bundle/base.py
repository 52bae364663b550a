"""The base of a delta: what a site holds already, and what a bundle can leave out because of it.

Whole paths, files of paths that the site holds, and of small files all but what changed in them.
Only what the transfer host holds for good counts. The builder knows the files of a path from its
own store, or, where the path is gone, from the manifests of the bundles that it made.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from deploy.bundle.manifest import Base
from deploy.errors import BaseMissingError, OtherSiteError
from store.amounts import counted
from store.frames import PATCH_LIMIT
from store.manifest import File, Manifest, Shared, blobs, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from deploy.receipt import Receipt
    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath

NAMED = 16
"""Missing paths that an error names."""

_VERSION = re.compile(rb"[0-9]+(?:[._+~-]?[0-9]+)*")
_DIGEST = re.compile(rb"[-._][0-9A-Za-z_-]{8,}(?=\.)")


@dataclass(frozen=True, slots=True)
class Delta:
    """What of a closure has to be carried, and what it builds on.

    Attributes:
        manifests: of the paths that the site lacks, references before referrers.
        base: what the rest is there for; None of a whole bundle.
        whole: files to be carried as they are, by hash.
        patched: files that are carried as what differs from another one, which the site has.
    """

    manifests: tuple[Manifest, ...]
    base: Base | None
    whole: Mapping[str, File]
    patched: Mapping[str, File] = field(default_factory=dict)


def whole(store: LocalStore, top: StorePath) -> Delta:
    """Return all of a closure: what a site needs that has nothing.

    Raises:
        MissingReferenceError: the path is not valid here.
    """
    with store.session():
        shared = Shared(store.links_dir)
        manifests = tuple(_described(store, store.closure([top]), shared))
    return Delta(manifests, None, blobs(manifests))


def delta(
    store: LocalStore, top: StorePath, receipt: Receipt, recorded: Iterable[Manifest] = ()
) -> Delta:
    """Return what a site lacks of a closure that holds what the receipt says.

    `recorded` are manifests of earlier bundles, for paths that this store has no more.

    Raises:
        MissingReferenceError: the path is not valid here.
    """
    with store.session():
        return _delta(store, top, receipt, recorded)


def _delta(
    store: LocalStore, top: StorePath, receipt: Receipt, recorded: Iterable[Manifest]
) -> Delta:
    infos, held = store.closure([top]), {info.path for info in receipt.held}
    shared = Shared(store.links_dir)
    new = tuple(_described(store, (info for info in infos if info.path not in held), shared))
    known = _Known(store, receipt, {info.path for info in infos}, recorded, shared)
    files = blobs(new)
    reused = {sha256: known.holder[sha256] for sha256 in files if sha256 in known.holder}
    left = {sha256: file for sha256, file in files.items() if sha256 not in reused}
    before = _forerunners(new, known.departed, left)
    patched = {each: old for each, old in before.items() if _is_here(store, old)}
    needed = {each for manifest in new for each in manifest.references if each in held}
    needed |= set(reused.values()) | {known.holder[old.sha256] for old in patched.values()}
    if top in held:
        needed.add(top)
    return Delta(
        manifests=new,
        base=Base(receipt.digest, tuple(sorted(needed))),
        whole={sha256: file for sha256, file in left.items() if sha256 not in patched},
        patched=patched,
    )


def check_receipt(receipt: Receipt, *, site: str, store_dir: str) -> None:
    """Refuse a receipt on which no bundle for this site can build.

    Raises:
        OtherSiteError: it is of another site, or its stores lie elsewhere.
    """
    if receipt.site != site:
        raise OtherSiteError(
            "the receipt is of another site",
            expected=site,
            got=receipt.site,
            hint="take the receipt of this site, or name the other one: --site NAME",
        )
    if receipt.store_dir != store_dir:
        raise OtherSiteError(
            "the site has its store in another place",
            expected=store_dir,
            got=receipt.store_dir,
            hint="store_dir is one setting, the same for all",
        )


def missing(base: Base, store: LocalStore) -> list[StorePath]:
    """Return what a delta builds on and the store does not have, sorted."""
    return sorted(set(base.paths) - store.valid(base.paths))


def require(base: Base, store: LocalStore) -> None:
    """Refuse a delta on what is not here.

    Raises:
        BaseMissingError: names what is missing, and the receipt that the builder needs.
    """
    lacking = missing(base, store)
    if not lacking:
        return
    more = len(lacking) - NAMED
    names = [*map(str, lacking[:NAMED]), *([f"and {more} more"] if more > 0 else [])]
    raise BaseMissingError(
        f"the store lacks {counted(len(lacking), 'path')} that the bundle builds on",
        where=str(store.store_dir),
        expected="\n".join(names),
        got=f"it was made for what receipt {base.receipt[:16]} said",
        hint="take a new one to the builder: sealift receipt -o FILE; there: "
        "sealift bundle --since FILE",
    )


class _Known:
    """What this machine knows of the files that the site holds.

    `holder` is a path of the site by the hash of a file, `departed` the manifests of paths that
    are not in the new closure, those of the newest root first.
    """

    __slots__ = ("departed", "holder")

    def __init__(
        self,
        store: LocalStore,
        receipt: Receipt,
        closure: set[StorePath],
        recorded: Iterable[Manifest],
        shared: Shared,
    ) -> None:
        infos = _newest_first(receipt)
        here = store.valid([info.path for info in infos])
        found = {
            info.path: describe(info, store.real(info.path), shared)
            for info in infos
            if info.path in here
        }
        gone = {info.path for info in infos} - here
        if gone:
            by_path = {each.path(receipt.store_dir): each for each in recorded}
            found |= {path: by_path[path] for path in gone if path in by_path}
        ordered = [info.path for info in infos if info.path in found]
        self.departed = [found[path] for path in ordered if path not in closure]
        self.holder: dict[str, StorePath] = {}
        # Those that stay come first: they are needed anyway, and are the last to be forgotten.
        for path in sorted(ordered, key=lambda each: each not in closure):
            for sha256 in blobs([found[path]]):
                self.holder.setdefault(sha256, path)


def _newest_first(receipt: Receipt) -> list[PathInfo]:
    """Sort what the transfer host holds: the closure of its newest root first."""
    infos = {info.path: info for info in receipt.held}
    ordered: dict[StorePath, PathInfo] = {}
    waiting = [path for _, path in reversed(receipt.roots)]
    while waiting:
        path = waiting.pop()
        if path in infos and path not in ordered:
            ordered[path] = infos[path]
            waiting.extend(reversed(infos[path].references))
    return [*ordered.values(), *(info for path, info in infos.items() if path not in ordered)]


def _described(store: LocalStore, infos: Iterable[PathInfo], shared: Shared) -> Iterator[Manifest]:
    return (describe(info, store.real(info.path), shared) for info in infos)


def _forerunners(
    new: Sequence[Manifest], old: Sequence[Manifest], left: Mapping[str, File]
) -> dict[str, File]:
    """Return the older file that each of those that are left came from, if a patch is worth it.

    The one of the same name, else of one in a path of another version, as a wheel of another
    version is another path; else of one that differs in digests alone, as bundlers of frontends
    put them there, or in what looks like a version. In this order, as bytecode for several Pythons
    differs in nothing else. Only this end looks, as the bundle names what it took.
    """
    found: dict[str, File] = {}
    for spellings in _NEARER_FIRST:
        known: dict[tuple[bytes, bytes], File] = {}
        for key, file in _small(old, *spellings):
            known.setdefault(key, file)
        for key, file in _small(new, *spellings):
            if key in known and file.sha256 in left:
                found.setdefault(file.sha256, known[key])
    return found


def _small(
    manifests: Sequence[Manifest],
    spell_name: Callable[[bytes], bytes],
    spell_place: Callable[[bytes], bytes],
) -> Iterator[tuple[tuple[bytes, bytes], File]]:
    """Yield the files that may be patched, with the spelt names of path and place."""
    for manifest in manifests:
        name = spell_name(manifest.name.encode())
        for place, file in manifest.files():
            if 0 < file.size <= PATCH_LIMIT:
                yield (name, spell_place(place)), file


def _undigested(name: bytes) -> bytes:
    return _DIGEST.sub(b"", name)


def _unversioned(name: bytes) -> bytes:
    return _VERSION.sub(b"#", _undigested(name))


_NEARER_FIRST: Final = (
    (bytes, bytes),
    (_unversioned, bytes),
    (_undigested, _undigested),
    (_unversioned, _unversioned),
)
"""How names of paths and places in them are spelt to find what a file came from."""


def _is_here(store: LocalStore, file: File) -> bool:
    """Tell whether a file can be read here, under either mode."""
    key = os.fsencode(store.links_dir) + b"/" + file.sha256.encode()
    return os.path.lexists(key) or os.path.lexists(key + b"-x")
