"""A public key in OpenSSH's spelling, and what may be said of it: type, fingerprint."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from store.errors import InputError

TYPES = frozenset(
    {
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",
    }
)
"""What signs. Certificates are not among them: who may sign is named, key by key."""
LONGEST = 16_384
"""Bytes of a key in base 64; an RSA key of 16,384 bits has a fifth of that."""
_WORDS = 2
_FEWEST = 2
"""Fields of a key: its type, and at least one number."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: its type, and the key in base 64, which says the same type inside."""

    type: str
    text: str

    @property
    def fingerprint(self) -> str:
        """The key's SHA-256 as OpenSSH spells it."""
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def on_token(self) -> bool:
        """Whether its private half lies on a FIDO token, which somebody must touch."""
        return self.type.startswith("sk-")

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def parse(text: str, where: str) -> tuple[PublicKey, str]:
    """Read `type key comment` and return key and comment.

    Raises:
        InputError: this is no public key that can sign.
    """
    words = text.split(maxsplit=_WORDS)
    if len(words) < _WORDS:
        raise InputError("this is no public key", where=where, expected="type key [comment]")
    kind, key = words[:_WORDS]
    if kind not in TYPES:
        raise InputError(
            f"a key of type {kind[:64]!r} cannot sign here",
            where=where,
            expected=", ".join(sorted(TYPES)),
        )
    if not _is_key(kind, key):
        raise InputError("the key is damaged", where=where, expected=f"a whole {kind} key")
    return PublicKey(kind, key), words[_WORDS].strip() if len(words) > _WORDS else ""


def from_blob(blob: bytes) -> PublicKey | None:
    """Return the key that goes over the wire as `blob`; None for what is no key that signs."""
    kind = next(iter(fields(blob)), b"").decode("ascii", "replace")
    return PublicKey(kind, base64.b64encode(blob).decode()) if kind in TYPES else None


def _is_key(kind: str, text: str) -> bool:
    """Tell whether a key says itself that it is of its type (RFC 4253, 6.6)."""
    if len(text) > LONGEST:
        return False
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    # Spelled in its one way: the same key must not pass for two.
    if base64.b64encode(blob).decode() != text:
        return False
    parts = fields(blob)
    return len(parts) >= _FEWEST and parts[0] == kind.encode()


def fields(blob: bytes) -> list[bytes]:
    """Return strings that have their lengths before them; none if they do not end with the blob."""
    found = []
    while blob:
        size = int.from_bytes(blob[:4])
        if len(blob) < 4 + size:
            return []
        found.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return found
