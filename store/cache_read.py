"""Taking paths from a binary cache into a store, believing nothing that it says.

First all that is said is read and checked: the closure is whole, each path is the address of its
hash and references, and signed where that is asked. Then NARs are fetched, each held against its
sizes and hashes (`store.cache_nar`). Only when all of them are good is anything registered.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

from store.add import put
from store.binary_cache import TEXT_LIMIT, BadCacheError, check_store, narinfo_name, read_text
from store.cache_nar import Fetch
from store.closure import MissingReferenceError, order
from store.database import DiskFullError
from store.errors import IntegrityError
from store.narinfo import NarInfo, content_address, parse
from store.path import StorePath
from store.temporary import disk
from store.unpack import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from store.binary_cache import ByteStore
    from store.cache_keys import PublicKey
    from store.info import PathInfo
    from store.local import LocalStore

PATHS_LIMIT: Final = 20_000
"""Paths of one closure; the largest release that we know has some 500."""

TEXTS_LIMIT: Final = 8 * TEXT_LIMIT
"""Bytes of all narinfos of one closure: they are kept in memory, and signed or not."""

_LOOKUPS: Final = 16
"""Narinfos that are asked for at once: over a network each costs a round trip."""


class UntrustedPathError(IntegrityError):
    """A path that no trusted key has signed."""

    slug = "untrusted-path"


class UnaddressedPathError(IntegrityError):
    """A path that is not the address of its contents, so that these cannot be told by it."""

    slug = "not-content-addressed"


@dataclass(frozen=True, slots=True)
class Taken:
    """What came from a cache.

    Attributes:
        added: paths that were not valid here before, references first.
        raw: bytes of their NARs.
        compressed: bytes of what was fetched.
    """

    added: tuple[StorePath, ...]
    raw: int
    compressed: int


def take(
    store: LocalStore,
    tops: Iterable[StorePath],
    files: ByteStore,
    *,
    trusted: Collection[PublicKey] | None,
    observe: Callable[[int, int], None],
    threads: int = 0,
) -> Taken:
    """Add `tops` and all they refer to, all of them or none; what is valid already stays.

    Each path that is added must be signed by one of `trusted`; with None its address suffices,
    which proves the contents but not who made them. `observe` gets bytes of NARs done and in all.
    `threads` 0 takes all processors. The caller holds a session, or makes roots at once: else the
    collector may take what was added.

    Raises:
        MissingReferenceError: the cache lacks a path that is needed.
        BadCacheError: what it says, or what lies in it, is not as it must be.
        UnaddressedPathError: a path is not the address of its contents.
        UntrustedPathError: a path is not signed by any of `trusted`.
        OtherStoreError: the cache is for a store in another place.
        DiskFullError: there is no room.
        Error: the cache cannot be read.
    """
    with store.session():
        return fetch(store, look_up(store, tops, files, trusted=trusted), files, observe, threads)


def fetch(
    store: LocalStore,
    entries: Sequence[NarInfo],
    files: ByteStore,
    observe: Callable[[int, int], None],
    threads: int = 0,
) -> Taken:
    """Add what `look_up` returned, all of it or none; within a session of the store.

    Raises:
        BadCacheError: a NAR is not what was said of it.
        DiskFullError: there is no room.
        Error: the cache cannot be read.
    """
    if not entries:
        return Taken((), 0, 0)
    _check_room(store, entries)
    with disk(), store.temporary() as area:
        fetching = Fetch(store, files, area, observe, sum(e.info.nar_size for e in entries))
        put(store, fetching.run(entries, threads), durable=True)
    added = tuple(each.info.path for each in entries)
    return Taken(added, fetching.total, fetching.compressed)


def look_up(
    store: LocalStore,
    tops: Iterable[StorePath],
    files: ByteStore,
    *,
    trusted: Collection[PublicKey] | None,
) -> list[NarInfo]:
    """Return what the cache says of what a closure lacks here, checked, references first.

    Raises:
        Error: as `take`.
    """
    store_dir = str(store.store_dir)
    check_store(files, store_dir)
    found: dict[StorePath, NarInfo] = {}
    wanted = _lacking(store, set(tops))
    texts = _Texts(files)
    with ThreadPoolExecutor(_LOOKUPS) as pool:
        while wanted:
            _check_count(len(found) + len(wanted))
            for entry in pool.map(partial(texts.entry, store_dir, trusted), wanted):
                found[entry.info.path] = entry
            named = {each for path in wanted for each in found[path].info.references}
            wanted = _lacking(store, named - found.keys())
    infos = {path: entry.info for path, entry in found.items()}
    return [found[info.path] for info in order(infos)]


class _Texts:
    """Narinfos of one closure, from several threads; they have a limit together."""

    def __init__(self, files: ByteStore) -> None:
        self._files = files
        self._mutex = Lock()
        self._size = 0

    def entry(
        self, store_dir: str, trusted: Collection[PublicKey] | None, path: StorePath
    ) -> NarInfo:
        """Read and check what is said of a path."""
        self._count(0)
        text = read_text(self._files, narinfo_name(path))
        self._count(len(text or ""))
        return _entry(path, text, store_dir, trusted)

    def _count(self, size: int) -> None:
        """Count what was read; when it is too much, nothing more is."""
        with self._mutex:
            self._size += size
            size = self._size
        _check_count(size, TEXTS_LIMIT, "bytes of descriptions")


def describe_one(
    files: ByteStore, path: StorePath, store_dir: str, trusted: Collection[PublicKey] | None
) -> NarInfo | None:
    """Return what a cache says of one path, checked, or None where it has not that path.

    Raises:
        BadCacheError: what it says is not as it must be.
        UnaddressedPathError: the path is not the address of its contents.
        UntrustedPathError: the path is not signed by any of `trusted`.
        Error: the cache cannot be read.
    """
    text = read_text(files, narinfo_name(path))
    return None if text is None else _entry(path, text, store_dir, trusted)


def told(files: ByteStore, digests: Iterable[str], store_dir: str) -> list[StorePath]:
    """Return the paths that lie under digests, as the cache spells them; nothing is checked yet.

    Raises:
        BadCacheError: a description cannot be read, or there are too many.
        OtherStoreError: the cache is for a store in another place.
        Error: the cache cannot be read.
    """
    check_store(files, store_dir)
    found = []
    for count, digest in enumerate(digests):
        _check_count(count + 1)
        path = StorePath(digest, "any")
        text = read_text(files, narinfo_name(path))
        if text is not None:
            found.append(parse(text, store_dir, digest).info.path)
    return found


def outermost(infos: Iterable[PathInfo]) -> list[StorePath]:
    """Return those that no other of them refers to, sorted."""
    known = list(infos)
    referred = {each for info in known for each in info.references}
    return sorted({info.path for info in known} - referred)


def _lacking(store: LocalStore, paths: Collection[StorePath]) -> list[StorePath]:
    return sorted(set(paths) - (store.valid(paths) - store.damaged))


def _check_count(count: int, limit: int = PATHS_LIMIT, what: str = "paths") -> None:
    if count > limit:
        raise BadCacheError(f"a closure of more than {limit} {what} is not taken")


def _entry(
    path: StorePath, text: str | None, store_dir: str, trusted: Collection[PublicKey] | None
) -> NarInfo:
    if text is None:
        raise MissingReferenceError(
            f"{path} is needed, and neither in the store nor in the cache",
            where=narinfo_name(path),
            hint="copy the whole closure into the cache",
        )
    entry = parse(text, store_dir, path.digest)
    where = narinfo_name(path)
    if entry.info.path != path:
        raise BadCacheError(
            "two names for one path", where=where, expected=str(path), got=str(entry.info.path)
        )
    if entry.compression not in KINDS:
        raise BadCacheError(
            f"NARs that are compressed by {entry.compression[:40]!r} are not read",
            where=where,
            expected=", ".join(KINDS),
            hint="nix copy --to 'file:///…?compression=zstd' …",
        )
    if not entry.is_own_address():
        raise _unaddressed(entry)
    if entry.address not in {None, content_address(entry.info)}:
        raise BadCacheError("its content address is not that of its NAR", where=where)
    if trusted is not None and not entry.signed_by(trusted):
        raise _untrusted(entry, trusted)
    return entry


def _unaddressed(entry: NarInfo) -> UnaddressedPathError:
    return UnaddressedPathError(
        f"{entry.info.path} is not the address of its hash and references",
        where=narinfo_name(entry.info.path),
        expected="a path as `nix-store --add` makes it, that does not refer to itself",
        hint="if Nix built it: nix store make-content-addressed PATH, and copy what that gives; "
        "else the cache was tampered with",
    )


def _untrusted(entry: NarInfo, trusted: Collection[PublicKey]) -> UntrustedPathError:
    names = {key.name for key in trusted}
    signers = sorted({each.partition(":")[0] for each in entry.signatures})
    if names & set(signers):
        reason = f"{entry.info.path} bears a signature of a trusted name that is not good"
    elif signers:
        reason = f"{entry.info.path} is signed by others than those who are trusted"
    else:
        reason = f"{entry.info.path} is not signed"
    return UntrustedPathError(
        reason,
        where=narinfo_name(entry.info.path),
        expected=f"a signature by {', '.join(sorted(names)) or 'a trusted key'}",
        got=", ".join(signers) or None,
    )


def _check_room(store: LocalStore, entries: Sequence[NarInfo]) -> None:
    """Refuse what cannot fit before any of it is fetched; sizes that lie are found later."""
    needed = sum(each.info.nar_size for each in entries)
    status = os.statvfs(store.store_dir)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise DiskFullError(
            "there is no room for what the cache holds",
            where=str(store.store_dir),
            expected=f"{needed} bytes",
            got=f"{free} bytes",
            hint="sealift store gc",
        )
