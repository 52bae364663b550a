"""Sites that do not know a key yet which is about to be the only one that signs.

A site learns of a new key by a bundle that the old one signed. Once the old one is revoked, a site
that was brought no such bundle takes no other any more. That one was received is for a person to
say; that none was even made stands in the record of bundles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from builders.settings import Settings


class KeyUntoldError(InputError):
    """A key that takes another's place before sites could learn of it."""

    slug = "key-untold"


def check(settings: Settings, key: Path) -> None:
    """See that each site was made a bundle since the key came that is to take the place of `key`.

    Raises:
        KeyUntoldError: one was not.
    """
    from deploy.bundle.records import newest
    from deploy.ceremony import next_file, public_file

    fresh = public_file(next_file(key))
    if not fresh.exists() or not _signs_releases(settings, fresh):
        return
    since = fresh.stat().st_mtime
    made = newest(settings.store_dir.parent / "var")
    lacking = sorted(site for site, when in made.items() if when <= since)
    if lacking or not made:
        raise KeyUntoldError(
            f"no bundle was made since `key rotate` for {', '.join(lacking) or 'any site'}, which "
            "would take no other any more",
            where=str(fresh),
            hint="sealift bundle -o FILE, signed by the old key still, and sealift receive there; "
            "then --finish. If the new key comes there another way: --without-bundle",
        )


def _signs_releases(settings: Settings, public: Path) -> bool:
    from deploy import signers, signing

    file = settings.signing.signers
    allowed = signers.parse(signing.read(file), str(file))
    key = signing.public(public)
    return any(each.key == key and each.fits(signing.RELEASE) for each in allowed)
