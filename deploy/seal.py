"""Encryption of secrets by age: to public keys of heads, and back with their private ones.

The one door to pyrage. Which keys, and where the results lie, is for `deploy.vault` on the transfer
host and `deploy.secrets_head` on a head. Nothing here puts a value into an error.

A sealed file tells by whom it can be read without being read itself: age writes, beside the file
key that it encrypted to an SSH key, the first four bytes of that key's SHA-256 (age's C2SP
specification, "The ssh-rsa and ssh-ed25519 recipient types"). Keys of age's own leave no name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.errors import BadSecretError, SecretUnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SSH = ("ssh-ed25519", "ssh-rsa")
"""Kinds of SSH keys that age encrypts to, the better one first."""
SUFFIX = ".age"
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]{0,63}")
LONGEST = 256 * 1024
"""Bytes of a value. systemd passes at most 1 MiB to a unit, all its secrets together."""
SEALED_LONGEST = 4 * LONGEST
"""Bytes of a sealed file: the value in base 64, and some hundred recipients."""

_BEGIN, _END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
_VERSION = "age-encryption.org/v1"
_STANZA = re.compile(r"-> (\S+)(?: (\S+))?")
_NATIVE = "X25519"


@dataclass(frozen=True, slots=True)
class Readers:
    """Who can read a sealed file: tags of SSH keys, and how many keys of age's own."""

    tags: frozenset[str]
    native: int


def check_name(name: str) -> str:
    """Return `name` if a secret may be called that; it becomes the name of a file.

    Raises:
        BadSecretError: it may not.
    """
    if not NAME.fullmatch(name):
        raise BadSecretError(
            f"{name[:80]!r} cannot be the name of a secret",
            expected="letters, digits and _ . + -, beginning with a letter or digit, at most 64",
        )
    return name


def seal(value: bytes, recipients: Iterable[str]) -> bytes:
    """Encrypt `value` to `recipients` (`ssh-ed25519 …`, `ssh-rsa …`, `age1…`), in text.

    Raises:
        BadSecretError: the value is empty or too long, or a recipient is no key.
    """
    if not value or len(value) > LONGEST:
        got = "nothing" if not value else f"{len(value)} bytes"
        raise BadSecretError("this cannot be a secret", expected=f"1 to {LONGEST} bytes", got=got)
    import pyrage  # noqa: PLC0415 (most runs seal nothing)

    keys = [_recipient(each) for each in recipients]
    sealed: bytes = pyrage.encrypt(value, keys, armored=True)
    return sealed


def _recipient(text: str) -> Any:  # noqa: ANN401 (pyrage has no types)
    import pyrage  # noqa: PLC0415

    kind = pyrage.x25519 if text.startswith("age1") else pyrage.ssh
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise BadSecretError(
            "this is no public key that secrets can be encrypted to",
            expected=f"{', '.join(SSH)} or age1…",
            got=text[:60],
        ) from None


def check_recipient(text: str) -> str:
    """Return `text` if it is a public key that can be encrypted to.

    Raises:
        BadSecretError: it is none.
    """
    _recipient(text)
    return text


def unseal(name: str, sealed: bytes, identities: Sequence[Any]) -> bytes:
    """Decrypt the secret `name` with one of `identities`, as `load_identities` gives them.

    Raises:
        SecretUnreadableError: none of them fits, or the file is damaged.
    """
    import pyrage  # noqa: PLC0415

    try:
        value: bytes = pyrage.decrypt(sealed, identities)
    except pyrage.DecryptError as error:
        reason = f"the secret {name} cannot be decrypted with the keys at hand"
        hint = f"sealift secret rekey {name}, or sealift secret set {name}, and deploy again"
        raise SecretUnreadableError(reason, where=name, got=str(error), hint=hint) from None
    return value


def load_identities(files: Iterable[Path]) -> list[Any]:
    """Read private keys, of SSH or of age; those of a kind that age has no use for are left out.

    Raises:
        SecretUnreadableError: a file cannot be read, or there is no usable key in any.
    """
    looked = list(files)
    found = [key for file in looked for key in _identities(file)]
    if not found:
        raise SecretUnreadableError(
            "there is no private key here that secrets can be decrypted with",
            where=", ".join(str(file) for file in looked) or None,
            expected="an ed25519 or RSA key of SSH without a passphrase, or a key of age",
            hint="on a head: ssh-keygen -A, trust it anew, and sealift secret rekey; elsewhere "
            "name the site's recovery key",
        )
    return found


def _identities(file: Path) -> list[Any]:
    import pyrage  # noqa: PLC0415

    try:
        content = file.read_bytes()
    except OSError as error:
        reason = f"the private key cannot be read: {error.strerror}"
        raise SecretUnreadableError(reason, where=str(file)) from error
    try:
        if b"AGE-SECRET-KEY-" in content:
            lines = content.decode("utf-8", "replace").split()
            own = [line for line in lines if line.startswith("AGE-SECRET-KEY-")]
            return [pyrage.x25519.Identity.from_str(line) for line in own]
        return [pyrage.ssh.Identity.from_buffer(content)]
    except pyrage.IdentityError:
        return []


def tag(key: str) -> str:
    """Return by what a sealed file names the SSH public key `key`.

    Raises:
        BadSecretError: it is no public key of SSH.
    """
    words = key.split()
    try:
        wire = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        raise BadSecretError("this is no public key of SSH", got=key[:60]) from None
    return base64.b64encode(hashlib.sha256(wire).digest()[:4]).decode().rstrip("=")


def readers(name: str, sealed: bytes) -> Readers:
    """Tell for whom the sealed file of `name` is.

    Raises:
        SecretUnreadableError: it is not an age file in text form.
    """
    stanzas = [_STANZA.match(line) for line in _header(name, sealed)]
    kinds = [(each[1], each[2]) for each in stanzas if each]
    return Readers(
        tags=frozenset(argument for kind, argument in kinds if kind in SSH and argument),
        native=sum(kind == _NATIVE for kind, _ in kinds),
    )


def _header(name: str, sealed: bytes) -> list[str]:
    lines = sealed.split()
    joined = sealed.strip()
    if joined.startswith(_BEGIN) and joined.endswith(_END):
        # The markers are three and four words: what is between them is the file in base 64.
        try:
            binary = base64.b64decode(b"".join(lines[4:-4]), validate=True)
        except binascii.Error:
            binary = b""
        head, found, _ = binary.partition(b"\n--- ")
        text = head.decode("latin-1").split("\n")
        if found and text[0] == _VERSION:
            return text[1:]
    raise SecretUnreadableError(
        f"what should be the secret {name} is no age file in text form",
        where=name,
        hint=f"sealift secret set {name}",
    )
