"""Errors that one end of a push tells the other, made errors of their own kind again there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from store.assemble import BadPathError
from store.blobs import BadBlobError
from store.closure import MissingReferenceError, ReferenceCycleError
from store.database import DatabaseError, DiskFullError
from store.errors import Error, InputError, IntegrityError
from store.lock import LockedError
from store.manifest import BadManifestError
from store.path import NotAStorePathError
from store.sync import SyncError
from store.wire import FIELDS, CutError, PeerError, UnwritableError, WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS: Mapping[str, type[Error]] = {
    kind.slug: kind
    for kind in (
        BadBlobError,
        BadManifestError,
        BadPathError,
        CutError,
        DatabaseError,
        DiskFullError,
        InputError,
        IntegrityError,
        LockedError,
        MissingReferenceError,
        NotAStorePathError,
        ReferenceCycleError,
        SyncError,
        UnwritableError,
        WireError,
    )
}


def retell(message: Mapping[str, Any]) -> Error:
    """Make the other end's error one of ours; what has no kind here is a `PeerError`."""
    kind = _KINDS.get(str(message.get("slug")), PeerError)
    given = {key: message.get(key) for key in FIELDS}
    facts = {key: None if value is None else str(value) for key, value in given.items()}
    reason = facts.pop("reason") or "the other side failed"
    return kind(reason, **facts)
