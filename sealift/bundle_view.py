"""How bundles look on their way in: who signed, how far it is, and what came."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.settings import Settings
    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.read import Bundle
    from deploy.signing import Signer


class Checked:
    """Verifies what bundles bear, as a site's settings say, and remembers who had signed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.signers: tuple[Signer, ...] = ()
        self._of: dict[str, tuple[Signer, ...]] = {}

    def of(self, bundle: Bundle) -> tuple[Signer, ...]:
        """Return who signed one of several."""
        return self._of[bundle.manifest.digest]

    def again(self, bundle: Bundle) -> None:
        """Verify the signatures of an open bundle, as whose signatures count may have changed.

        Raises:
            SignatureError: too few of them count now.
        """
        self(bundle.stored, next(iter(bundle.parts.values())).signatures())

    @property
    def file(self) -> str:
        """The file that said whose signatures count."""
        return str(self._settings.signing.signers)

    @property
    def told(self) -> str:
        """Say which file decided."""
        return f"who may sign is said by {self.file}"

    def __call__(self, data: bytes, signatures: Sequence[bytes]) -> None:
        """Verify signatures of a manifest.

        Raises:
            SignatureError: too few of them count here.
        """
        from deploy.signing import verify
        from sealift.signing import policy

        self.signers = verify(data, signatures, policy(self._settings))
        self._of[hashlib.sha256(data).hexdigest()] = self.signers


def headline(manifest: BundleManifest, signers: Sequence[Signer]) -> str:
    """Say which bundle it is."""
    made = dt.datetime.fromtimestamp(manifest.created, dt.UTC)
    kind = "bundle" if manifest.base is None else "delta"
    what = kind if manifest.repairs is None else "replacements for bundle"
    by = ", ".join(map(str, signers))
    return f"{what} {manifest.number} for {manifest.site}, made {made:%Y-%m-%d %H:%M} UTC by {by}"
