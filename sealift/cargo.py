"""What goes into a bundle of a site: its release, what tells of it, and whose signatures count."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.settings import Settings
    from deploy.bundle.base import Delta
    from deploy.bundle.issued import Issue
    from deploy.bundle.write import Label
    from deploy.receipt import Receipt
    from deploy.release import Release
    from sealift.site import Site
    from store.path import StorePath


@dataclass(frozen=True, slots=True)
class Cargo:
    """All that a bundle carries, and what it builds on; `to` is the site's name."""

    to: str
    top: StorePath
    content: Delta
    receipt: Receipt | None
    documents: Mapping[str, bytes]
    trust: Mapping[str, bytes]

    @property
    def mark(self) -> str:
        """Tell bundles apart: with the same mark they have the same number."""
        from deploy.bundle.issued import contents

        base = self.receipt and self.receipt.digest
        return contents(str(self.top), base, hashes(self.documents), hashes(self.trust))


def load(site: Site, meant: Release, receipt: Receipt | None, to: str) -> Cargo:
    """Gather what a bundle of this release carries to a site that has sent this receipt."""
    top = site.store.parse(meant.path)
    content = _content(site, top, receipt, to)
    return Cargo(to, top, content, receipt, documents(site, top, content), trust(site.settings))


def site_name(settings: Settings, named: str | None) -> str:
    """Return what bundles call the site: as it is named, else as the settings say.

    Raises:
        InputError: the settings do not say, or what is named can be no site's name.
    """
    from store.names import is_site

    if named is not None:
        if not is_site(named):
            raise InputError(
                f"{named!r} cannot be the name of a site", expected="letters, digits and . _ -"
            )
        return named
    if settings.site is None:
        raise InputError(
            "the settings do not say for which site this is",
            where=str(settings.file),
            hint="site: NAME, as there; or here and now: --site NAME",
        )
    return settings.site


def _content(site: Site, top: StorePath, receipt: Receipt | None, name: str) -> Delta:
    from deploy.bundle import records
    from deploy.bundle.base import delta, whole

    if receipt is None:
        return whole(site.store, top)
    return delta(site.store, top, receipt, records.manifests(site.store.var_dir, name))


def documents(site: Site, top: StorePath, content: Delta) -> Mapping[str, bytes]:
    """Return the bill of materials, and how what is carried was built, as far as that is known."""
    from builders.provenance import load
    from deploy.bill import FILE

    found = {}
    bill = site.store.real(top) / FILE
    if bill.is_file():
        found["sbom"] = bill.read_bytes()
    paths = (each.path(str(site.store.store_dir)) for each in content.manifests)
    records = [said for path in paths if (said := load(site.store, path))]
    if records:
        found["provenance"] = json.dumps(records, sort_keys=True, separators=(",", ":")).encode()
    return found


def trust(settings: Settings) -> Mapping[str, bytes]:
    """Return whose signatures count here: a bundle tells the site, which may come to agree."""
    files = {"signers": settings.signing.signers, "revoked": settings.signing.revoked}
    return {name: file.read_bytes() for name, file in files.items() if file.is_file()}


def hashes(documents: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each, in base 16."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in documents.items()}


def label(site: Site, meant: Release, to: str, named: str | None, issue: Issue) -> Label:
    """Say what the bundle will say of itself; `named` is the release that was asked for."""
    from deploy.bundle.write import Label

    # A path has no name of its own: at the site it takes the place of the release.
    root = named if named is not None and named in site.recipes else site.release()
    said = {
        "name": root,
        "revision": "" if meant.systemd is None else meant.systemd.revision,
        "services": " ".join(sorted(meant.services)),
        "frontends": " ".join(sorted(meant.frontends)),
    }
    return Label(
        site=to,
        number=issue.number,
        created=issue.created,
        top=site.store.parse(meant.path),
        root=root,
        release={key: value for key, value in said.items() if value},
    )
