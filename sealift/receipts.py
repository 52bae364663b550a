"""Receipts as the builder's commands take them: from whom this site trusts, and of this site."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builders.settings import Settings
    from deploy.receipt import Receipt
    from deploy.signing import Signer


def load(settings: Settings, file: Path) -> Receipt:
    """Read a receipt that somebody signed whom the settings trust.

    Raises:
        Error: as `checked`.
    """
    return checked(settings, file)[0]


def checked(settings: Settings, file: Path) -> tuple[Receipt, tuple[Signer, ...]]:
    """Read a receipt, and say who signed it.

    Raises:
        BadReceiptError: it is none.
        SignatureError: nobody did; or not who signs for that site, where the settings say who.
    """
    from deploy.receipt_file import load
    from deploy.signing import RECEIPT, SignatureError, verify
    from sealift.signing import policy

    wanted = policy(settings, namespace=RECEIPT)

    signers: list[Signer] = []

    def check(body: bytes, signatures: Sequence[bytes]) -> None:
        signers.extend(verify(body, signatures, wanted))

    found = load(file, check)
    meant = settings.signing.receipts.get(found.site)
    if meant is not None and meant not in {each.identity for each in signers}:
        raise SignatureError(
            f"the receipt says it is of {found.site}, and another site's key signed it",
            where=str(file),
            expected=meant,
            got=", ".join(map(str, signers)),
        )
    return found, tuple(signers)


def base(settings: Settings, file: Path, site: str) -> Receipt:
    """Read the receipt that a bundle for a site is to build on.

    Raises:
        OtherSiteError: it is of another site, or of one whose store lies elsewhere.
        Error: as `load`.
    """
    from deploy.bundle.base import check_receipt

    found = load(settings, file)
    check_receipt(found, site=site, store_dir=str(settings.store_dir))
    return found
