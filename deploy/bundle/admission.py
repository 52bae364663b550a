"""Whether a verified bundle may come in, and what is written down once it has.

Asked before a byte is written: is it for this site, is it new enough, does it change whom the
site trusts. Done after all paths are registered: keys put in place, documents kept, the number
remembered; a bundle that is interrupted in between is finished when it is received again.
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
from deploy.bundle.numbers import FOLDER, Arrival
from deploy.rotation import Trust, change, install
from store.frames import FrameError
from store.nar import open_file
from store.remove import remove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.numbers import Numbers
    from deploy.bundle.pieces import Pieces
    from deploy.signing import Policy

KEPT = 3
"""Bundles whose documents are kept."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a bundle needs of whoever lets it in.

    Attributes:
        site: whose numbers it raises.
        allowed: what was let through on demand: `older`, `foreign`.
        trust: the keys that it brings; None if it brings none that are to be put in place.
        changes: what these change, one line each; with none, nobody need be asked.
    """

    site: str
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
    var_dir = store_dir.parent / "var"
    ours = site or numbers.only_site(var_dir) or manifest.site
    allowed = numbers.load(var_dir, ours).check(
        site=manifest.site,
        number=manifest.number,
        digest=manifest.digest,
        allow_older=allow_older,
    )
    carried = None if allowed else _carried(store_dir / ".links", manifest, pieces)
    changes = change(policy, carried).lines if carried else ()
    return Admission(ours, allowed, carried if changes else None, changes)


def complete(
    var_dir: Path,
    manifest: BundleManifest,
    admission: Admission,
    *,
    by: str,
    policy: Policy,
    documents: Mapping[str, bytes],
) -> Numbers:
    """Put keys in place, keep what tells of the release, and remember the number."""
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
    found = numbers.load(var_dir, admission.site).and_then(arrival)
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
