"""Spellings of digests: base 16, Nix's base 32 and SRI, and Nix's 160-bit fold.

Pure. Which bytes are hashed is for others to say.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from store.errors import InputError

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
"""Nix's base 32 leaves out e, o, u and t."""

SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
"""Bytes per algorithm, weakest first. SHA-1 and MD5 are not accepted as pins."""

SHA256 = re.compile(r"[0-9a-f]{64}")
"""Base 16 of a SHA-256; match it in full."""

_VALUES = {character: value for value, character in enumerate(ALPHABET)}


def nix32_encode(data: bytes) -> str:
    """Spell bytes as a little-endian number in base 32, most significant digit first."""
    number = int.from_bytes(data, "little")
    length = (len(data) * 8 + 4) // 5
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


def nix32_decode(text: str) -> bytes:
    """Read what `nix32_encode` spelled.

    Raises:
        InputError: a foreign character, a length that no bytes have, or bits past the last byte.
    """
    size = len(text) * 5 // 8
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise InputError(f"{text!r} is not base 32 as Nix spells it")
        number = number << 5 | value
    if (size * 8 + 4) // 5 != len(text) or number >> size * 8:
        raise InputError(f"{text!r} is not the base 32 of whole bytes")
    return number.to_bytes(size, "little")


def xor_fold(data: bytes, size: int) -> bytes:
    """Fold bytes to `size` by XOR, as Nix's compressHash does; this is not truncation."""
    folded = bytearray(size)
    for place, byte in enumerate(data):
        folded[place % size] ^= byte
    return bytes(folded)


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest together with the algorithm that made it."""

    algorithm: str
    value: bytes

    @property
    def base16(self) -> str:
        """The value in lower-case hexadecimal."""
        return self.value.hex()

    def __str__(self) -> str:
        return sri(self)


def sri(digest: Digest) -> str:
    """Spell a digest as Subresource Integrity does: `sha256-<base 64>`."""
    return f"{digest.algorithm}-{binascii.b2a_base64(digest.value, newline=False).decode()}"


def parse_sri(text: str) -> Digest:
    """Read an SRI string; of several hashes take the strongest (SRI, section 3.2.4).

    Options after `?` mean nothing here and are dropped.

    Raises:
        InputError: no hash in it is a SHA-2 digest of the right length.
    """
    found = [digest for word in text.split() if (digest := _parse_one(word)) is not None]
    if not found:
        raise InputError(
            f"{text!r} pins nothing",
            expected="sha256-…, sha384-… or sha512-… in base 64",
        )
    return max(found, key=lambda digest: SIZES[digest.algorithm])


def _parse_one(word: str) -> Digest | None:
    algorithm, _, rest = word.partition("-")
    encoded = rest.partition("?")[0]
    try:
        value = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    return Digest(algorithm, value) if SIZES.get(algorithm) == len(value) else None
