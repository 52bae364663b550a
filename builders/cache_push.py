"""Filling a shared cache with what was built here, and with what derivations gave.

Paths come first, then the records that name them: whoever reads meanwhile is told of nothing that
is not there. Only what lies in this store is vouched for, and nothing that somebody else said.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.cache_record import RECORD_LIMIT, Record, parse, record_name
from builders.resolve import Resolver
from store.binary_cache import BadCacheError, read_exactly
from store.cache_write import Written, write

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from builders.plan import Plan
    from builders.resolve import Lookup
    from store.binary_cache import ByteStore
    from store.cache_keys import PublicKey, SecretKey
    from store.local import LocalStore

THREADS = 8
"""Files at once: each costs round trips."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a cache was given.

    Attributes:
        written: the paths.
        told: derivations that it tells of now, by this key.
        other: derivations that it says gave another path than here; left as they are.
        lacking: steps that were not built here, so that nothing is said of them.
    """

    written: Written
    told: int
    other: tuple[str, ...]
    lacking: int


def push(
    plan: Plan,
    store: LocalStore,
    files: ByteStore,
    *,
    platform: str,
    lookup: Lookup,
    key: SecretKey | None,
    outputs_only: bool,
    observe: Callable[[int, int], None],
    trusted: Collection[PublicKey] = (),
) -> Pushed:
    """Give a cache the outputs of a plan's steps, with all that they refer to.

    With `outputs_only` those of the targets alone; records of all steps all the same. Without a
    key no record is written, as nobody would believe it. `lookup` gives outputs by derivation.
    A record that is there gets our signature besides if it says just what we would, or if one of
    `trusted` signed it; else ours takes its place.

    Raises:
        Error: the cache cannot be written, or a path here is damaged.
    """
    resolver = Resolver(plan, str(store.store_dir), lookup, platform=platform)
    resolver.advance()
    with store.session():
        valid = store.valid(set(resolver.paths.values()))
        here = {name: path for name, path in resolver.paths.items() if path in valid}
        chosen = plan.targets if outputs_only else here
        tops = {here[name] for name in chosen if name in here}
        written = write(store, tops, files, key=key, observe=observe, threads=THREADS)
        records = [
            Record(
                resolver.digests[name],
                path,
                str(store.store_dir),
                store.duration(name) or 0.0,
            )
            for name, path in here.items()
        ]
    other = () if key is None else _tell(records, files, key, trusted)
    told = 0 if key is None else len(records) - len(other)
    return Pushed(written, told, other, len(plan.order) - len(here))


def _tell(
    records: Collection[Record],
    files: ByteStore,
    key: SecretKey,
    trusted: Collection[PublicKey],
) -> tuple[str, ...]:
    """Write records; give the derivations of which the cache says something else."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        agreed = pool.map(lambda record: _tell_one(record, files, key, trusted), records)
        return tuple(
            record.derivation for record, same in zip(records, agreed, strict=True) if not same
        )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tell_one(
    record: Record, files: ByteStore, key: SecretKey, trusted: Collection[PublicKey]
) -> bool:
    """Write one record, or add a signature to the one that is there."""
    name = record_name(record.derivation)
    there = _known(record, files)
    if there is not None and there.path != record.path:
        return False
    # How long building took is all that we cannot know of theirs; builds wait for that long.
    agreed = there is not None and (
        there.told == record.told or there.signed_by((key.public, *trusted))
    )
    signed = (there if there is not None and agreed else record).signed(key)
    if signed != there:
        files.put(name, io.BytesIO(str(signed).encode()))
    return True


def _known(record: Record, files: ByteStore) -> Record | None:
    """Return what the cache says; a record that cannot be read is written anew."""
    try:
        stream = files.get(record_name(record.derivation))
        if stream is None:
            return None
        with stream:
            data = read_exactly(stream, RECORD_LIMIT + 1)
        text = "" if len(data) > RECORD_LIMIT else data.decode(errors="replace")
        return parse(text, record.derivation, record.store_dir)
    except BadCacheError:
        return None
