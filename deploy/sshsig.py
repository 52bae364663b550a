"""What an SSH signature says of itself: by which key, and for what (PROTOCOL.sshsig).

None of it is believed: it serves to ask ssh-keygen the right question, and to say why the answer
was no. Whether a signature is good is for `deploy.signing`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from deploy.public_key import PublicKey, fields, from_blob

LARGEST = 16_384
"""Bytes of one signature, armoured."""
_ARMOUR = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END SSH SIGNATURE-----\n"
)
_MAGIC = b"SSHSIG\0\0\0\1"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature's key and namespace, as it says."""

    key: PublicKey
    namespace: str


def leading(data: bytes, most: int) -> tuple[tuple[bytes, ...], bytes]:
    """Return the armoured signatures, up to `most`, that something begins with, and the rest."""
    found: list[bytes] = []
    place = 0
    while len(found) < most and (match := _ARMOUR.match(data, place)):
        found.append(match.group())
        place = match.end()
    return tuple(found), data[place:]


def parse(armoured: bytes) -> Envelope | None:
    """Return what a signature says of itself; None if this is none."""
    match = _ARMOUR.fullmatch(armoured) if len(armoured) <= LARGEST else None
    if match is None:
        return None
    try:
        blob = base64.b64decode(match[1].replace(b"\n", b""), validate=True)
    except binascii.Error:
        return None
    parts = fields(blob.removeprefix(_MAGIC)) if blob.startswith(_MAGIC) else []
    if len(parts) != 5:  # noqa: PLR2004 - key, namespace, reserved, hash, signature
        return None
    key, namespace = from_blob(parts[0]), parts[1]
    return Envelope(key, namespace.decode("ascii", "replace")) if key else None
