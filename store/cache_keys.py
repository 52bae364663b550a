"""Keys that sign path infos in binary caches: ed25519, spelled as Nix spells them.

A secret key is `name:<base 64 of seed and public key>`, a public one `name:<base 64>`, and a
signature `name:<base 64>` (Nix manual, `nix-store --generate-binary-cache-key`). What is signed is
`store.narinfo`'s to say. Releases and bundles are signed in another way, and with other keys.

`cryptography` is loaded when a signature is made or checked, and for nothing else.
"""

from __future__ import annotations

import binascii
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SEED: Final = 32
_PUBLIC: Final = 32
_SIGNATURE: Final = 64
_LONGEST: Final = 64 * 1024
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


class BadCacheKeyError(InputError):
    """Text that is no key, or no signature, of a binary cache."""

    slug = "bad-cache-key"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A name, and the 32 bytes that signatures of that name are checked with."""

    name: str
    value: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read what `str` wrote.

        Raises:
            BadCacheKeyError: it is no such key.
        """
        return cls(*_parse(text, _PUBLIC, "a public key of a binary cache"))

    def verifies(self, signature: str, data: bytes) -> bool:
        """Tell whether `signature` is one of `data` by this key, and bears its name."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as the module says
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PublicKey,
        )

        try:
            name, value = _parse(signature, _SIGNATURE, "a signature")
            key = Ed25519PublicKey.from_public_bytes(self.value)
            key.verify(value, data)
        except (BadCacheKeyError, InvalidSignature, ValueError):
            return False
        return name == self.name

    def __str__(self) -> str:
        return _spell(self.name, self.value)


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A name, and the seed that its signatures are made with; no message ever shows the seed."""

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> SecretKey:
        """Make a new key.

        Raises:
            BadCacheKeyError: the name is not made of letters, digits and . _ -
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        if not _NAME.fullmatch(name):
            raise BadCacheKeyError(
                f"{name[:80]!r} cannot be the name of a key",
                expected="letters, digits and . _ -, such as site.example.org-1",
            )
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SecretKey:
        """Read what `spelled` gave.

        Raises:
            BadCacheKeyError: it is no such key, or its two halves do not belong together.
        """
        name, value = _parse(text, _SEED + _PUBLIC, "a secret key of a binary cache", secret=True)
        key = cls(name, value[:_SEED])
        if key.public.value != value[_SEED:]:
            raise BadCacheKeyError("the secret key is damaged: its halves do not belong together")
        return key

    @classmethod
    def load(cls, file: Path) -> SecretKey:
        """Read a key from a file.

        Raises:
            BadCacheKeyError: the file cannot be read, or holds no such key.
        """
        try:
            return cls.parse(_read(file).strip())
        except BadCacheKeyError as error:
            error.where = str(file)
            raise

    def save(self, file: Path) -> None:
        """Write the key to a file that only its owner can read; one that is there stays.

        Raises:
            BadCacheKeyError: the file is there, or cannot be written.
        """
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reason = f"the key cannot be written: {error.strerror}"
            raise BadCacheKeyError(reason, where=str(file)) from error
        with open(descriptor, "w", encoding="ascii") as out:  # noqa: PTH123 - a descriptor
            out.write(f"{self.spelled}\n")
            out.flush()
            os.fsync(descriptor)

    @property
    def public(self) -> PublicKey:
        """The key that checks what this one signs."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        return PublicKey(self.name, key.public_key().public_bytes_raw())

    @property
    def spelled(self) -> str:
        """The key as its file holds it."""
        return _spell(self.name, self.seed + self.public.value)

    def sign(self, data: bytes) -> str:
        """Sign; equal data have equal signatures (RFC 8032)."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        return _spell(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).sign(data))


def is_signature(text: str) -> bool:
    """Tell whether a text could be a signature, whoever made it."""
    try:
        _parse(text, _SIGNATURE, "a signature")
    except BadCacheKeyError:
        return False
    return True


def load_trusted(texts: Iterable[str], files: Iterable[Path] = ()) -> tuple[PublicKey, ...]:
    """Read public keys, and files of them: one a line, with blank lines and comments (#).

    Raises:
        BadCacheKeyError: something is no key, or a file holds none.
    """
    found = [PublicKey.parse(text) for text in texts]
    for file in files:
        lines = (line.partition("#")[0].strip() for line in _read(file).splitlines())
        keys = [_from_file(line, file) for line in lines if line]
        if not keys:
            raise BadCacheKeyError("there is no key in the file", where=str(file))
        found += keys
    return tuple(dict.fromkeys(found))


def _from_file(line: str, file: Path) -> PublicKey:
    try:
        return PublicKey.parse(line)
    except BadCacheKeyError as error:
        error.where = str(file)
        raise


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_LONGEST).decode("utf-8")
    except OSError as error:
        raise BadCacheKeyError(
            f"the key cannot be read: {error.strerror}", where=str(file)
        ) from error
    except UnicodeDecodeError as error:
        raise BadCacheKeyError("this is no key of a binary cache", where=str(file)) from error


def _spell(name: str, value: bytes) -> str:
    return f"{name}:{binascii.b2a_base64(value, newline=False).decode()}"


def _parse(text: str, size: int, what: str, *, secret: bool = False) -> tuple[str, bytes]:
    """Read `name:base64`; what a secret key was mistaken for is not shown either."""
    name, _, encoded = text.partition(":")
    try:
        value = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError):
        value = b""
    if _NAME.fullmatch(name) and len(value) == size:
        return name, value
    mistaken = secret or len(value) == _SEED + _PUBLIC
    raise BadCacheKeyError(
        f"this is not {what}",
        expected=f"<name>:<{size} bytes in base 64>",
        got=None if mistaken else repr(text[:100]),
    )
