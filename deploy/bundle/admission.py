"""Whether a verified bundle may come in, and what is written down once it has.

Asked before a byte is written: is it for this site, is it new enough, does it change whom the
site trusts. An operator may take long to answer that, so nothing is locked meanwhile; whoever has
the lock asks whether the decision `stands`, and decides anew if another bundle came since. Done
after all paths are registered: keys put in place, documents kept, the number remembered; a bundle
that is interrupted in between is finished when it is received again.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import durable
from deploy.bundle import numbers
from deploy.bundle.format import DamagedGroupError, PartMissingError
from deploy.bundle.numbers import FOLDER, Arrival, Numbers, RefusedBundleError
from deploy.rotation import Trust, change, install
from store.frames import FrameError
from store.nar import open_file
from store.remove import remove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.pieces import Pieces
    from deploy.signing import Policy

KEPT = 3
"""Bundles whose documents are kept."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a bundle needs of whoever lets it in.

    Attributes:
        known: what had been received when it was decided on; of the site whose numbers it raises.
        allowed: what was let through on demand: `older`, `foreign`.
        trust: the keys that it brings; None if it brings none that are to be put in place.
        changes: what these change, one line each; with none, nobody need be asked.
    """

    known: Numbers
    allowed: tuple[str, ...]
    trust: Trust | None
    changes: tuple[str, ...]


def admit(
    store_dir: Path,
    manifest: BundleManifest,
    pieces: Pieces,
    *,
    site: str | None,
    policy: Policy,
    allow_older: bool,
) -> Admission:
    """Decide on a bundle that is verified; `site` is how this one calls itself, if it does.

    A site without a name is the one whose bundles it received before.

    Raises:
        RefusedBundleError: it is older, or for another site, and that is not allowed.
        TrustError: with the keys that it brings, nothing more could be received.
        Error: as `Pieces.file`.
    """
    known = _known(store_dir.parent / "var", manifest, site)
    allowed = known.check(
        site=manifest.site,
        number=manifest.number,
        digest=manifest.digest,
        allow_older=allow_older,
    )
    carried = None if allowed else _carried(store_dir / ".links", manifest, pieces)
    changes = change(policy, carried).lines if carried else ()
    return Admission(known, allowed, carried if changes else None, changes)


def stands(
    var_dir: Path, manifest: BundleManifest, admission: Admission, *, site: str | None
) -> bool:
    """Tell whether nothing was received since a bundle was decided on."""
    return _known(var_dir, manifest, site) == admission.known


def agreed(asked: Admission, now: Admission) -> Admission:
    """Return what was decided anew, if nobody has to be asked about it once more.

    Raises:
        RefusedBundleError: it changes the keys in another way than was agreed to.
    """
    if now.changes and now.changes != asked.changes:
        raise RefusedBundleError(
            "another bundle was received meanwhile, and changed the keys of this site",
            where=now.known.site,
            hint="run it again: it asks about what it would change now",
        )
    return now


def _known(var_dir: Path, manifest: BundleManifest, site: str | None) -> Numbers:
    return numbers.load(var_dir, site or numbers.only_site(var_dir) or manifest.site)


def complete(
    var_dir: Path,
    manifest: BundleManifest,
    admission: Admission,
    *,
    by: str,
    policy: Policy,
    documents: Mapping[str, bytes],
) -> Numbers:
    """Put keys in place, keep what tells of the release, and remember the number.

    Nobody else may receive meanwhile, nor have done so since the bundle was decided on.
    """
    if admission.trust is not None:
        install(policy, admission.trust)
    _keep(var_dir / FOLDER, f"{manifest.site}-{manifest.number}", documents)
    arrival = Arrival(
        number=manifest.number,
        when=time.time(),
        who=by,
        digest=manifest.digest,
        top=str(manifest.top),
        root=manifest.root,
        allowed=admission.allowed,
        trust=admission.changes,
    )
    found = admission.known.and_then(arrival)
    numbers.save(var_dir, found)
    return found


def _carried(links: Path, manifest: BundleManifest, pieces: Pieces) -> Trust | None:
    """Return the keys that a bundle brings; None if it brings none, or they cannot be read now.

    Those that cannot are wanted all the same when it is received, so that nothing is registered.
    """
    if not manifest.trust:
        return None
    found = {}
    for name, sha256 in manifest.trust.items():
        data = _shared(links, sha256) or _from(pieces, sha256)
        if data is None:
            return None
        found[name] = data
    return Trust(found.get("signers", b""), found.get("revoked", b""))


def _from(pieces: Pieces, sha256: str) -> bytes | None:
    with suppress(PartMissingError, DamagedGroupError, FrameError):
        return pieces.file(sha256)
    return None


def _shared(links: Path, sha256: str) -> bytes | None:
    """Return a file that came with another part before."""
    with suppress(OSError), os.fdopen(open_file(os.fsencode(links / sha256)), "rb") as stream:
        data = stream.read()
        return data if hashlib.sha256(data).hexdigest() == sha256 else None
    return None


def _keep(folder: Path, name: str, documents: Mapping[str, bytes]) -> None:
    """Keep the documents of a bundle, and let go of those of old ones."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for document, data in documents.items():
        durable.write(place / f"{document}.json", data)
    kept = sorted(
        (each for each in folder.iterdir() if each.is_dir()),
        key=lambda each: each.stat().st_mtime,
    )
    for old in kept[:-KEPT]:
        remove(old)
