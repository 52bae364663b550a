"""Who may sign, and what is revoked, a row each, as `sealift key list` shows them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from deploy import ceremony, signers, signing

if TYPE_CHECKING:
    from pathlib import Path

    from builders.settings import Settings
    from deploy.signers import Allowed


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return a row for each line of the signers, then one for each key that is revoked.

    Raises:
        InputError: one of the two files cannot be used.
    """
    said = settings.signing
    revoked = signing.read_revoked(said.revoked)
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


def text(row: dict[str, Any]) -> str:
    """Spell a row as people read it."""
    words = f"{row.get('identity', '-'):<24} {row['key']}  {row['state']:<8}"
    signs = {"now": "(signs here)", "next": "(signs here next)"}.get(row.get("signs", ""), "")
    return "  ".join(filter(None, (words, _scope(row), row.get("note"), signs)))


def _scope(row: dict[str, Any]) -> str:
    if "for" not in row:
        return ""
    words = ["for", ", ".join(row["for"]) or "anything"]
    for word in ("from", "until"):
        if row[word] is not None:
            words += [word, f"{dt.datetime.fromisoformat(row[word]):%Y-%m-%d %H:%M} UTC"]
    return " ".join(words)


def _row(line: Allowed, revoked: bytes, settings: Settings) -> dict[str, Any]:
    state = line.state(dt.datetime.now(dt.UTC))
    row = {
        "identity": line.identity,
        "type": line.key.type,
        "key": line.key.fingerprint,
        "state": "revoked" if signing.is_revoked(line.key, revoked) else state,
        "for": list(line.namespaces),
        "from": line.after and line.after.isoformat(),
        "until": line.before and line.before.isoformat(),
    }
    mine = settings.signing.key
    for what, file in (("now", mine), ("next", ceremony.next_file(mine))):
        if ceremony.public_file(file).exists() and signing.public(file) == line.key:
            row["signs"] = what
    return row
