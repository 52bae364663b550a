"""Who may sign, and what is revoked, a row each, as `sealift key list` shows them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from deploy import ceremony, signers, signing

if TYPE_CHECKING:
    from pathlib import Path

    from builders.settings import Settings
    from deploy.signers import Allowed


def rows(settings: Settings) -> list[dict[str, str]]:
    """Return a row for each line of the signers, then one for each key that is revoked.

    Raises:
        InputError: one of the two files cannot be used.
    """
    said = settings.signing
    revoked = signing.read(said.revoked)
    allowed = signers.parse(signing.read(said.signers), str(said.signers))
    listed = signers.parse_revoked(revoked, str(said.revoked))
    return [
        *(_row(each, revoked, settings) for each in allowed),
        *(
            {"type": key.type, "key": key.fingerprint, "state": "revoked", "note": note}
            for key, note in listed.keys
        ),
    ]


def elsewhere(settings: Settings) -> Path | None:
    """Return the revocation list if it is a binary one, of which no keys can be shown."""
    file = settings.signing.revoked
    return file if signers.parse_revoked(signing.read(file), str(file)).krl else None


def _row(line: Allowed, revoked: bytes, settings: Settings) -> dict[str, str]:
    state = line.state(dt.datetime.now(dt.UTC))
    row = {
        "identity": line.identity,
        "type": line.key.type,
        "key": line.key.fingerprint,
        "state": "revoked" if signing.is_revoked(line.key, revoked) else state,
        "scope": line.scope,
    }
    mine = settings.signing.key
    for what, file in (("signs here", mine), ("signs here next", ceremony.next_file(mine))):
        if ceremony.public_file(file).exists() and signing.public(file) == line.key:
            row["mine"] = f"({what})"
    return row
