"""The file of host keys that a site trusts, in OpenSSH's format: read strictly, changed whole.

Both clients read it: OpenSSH for bulk data, and Fabric by way of `pinned`. So that both see the
same, what only one of them understands is refused: patterns, negations, markers.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import durable
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PORT = 22
_TYPE = re.compile(r"[a-z0-9@.-]{1,64}\Z")
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key of a host: its type, and the key in base 64."""

    type: str
    text: str

    @property
    def blob(self) -> bytes:
        """The key as it goes over the wire."""
        return base64.b64decode(self.text)

    @property
    def fingerprint(self) -> str:
        """The key's SHA-256 as OpenSSH spells it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def spell(address: str, port: int = PORT) -> str:
    """Spell a host as the file does."""
    return address.lower() if port == PORT else f"[{address.lower()}]:{port}"


def pinned(file: Path, name: str) -> tuple[HostKey, ...]:
    """Return the keys of a host, which is spelled as by `spell`; none if it has none.

    Raises:
        InputError: the file holds what is not taken.
    """
    lines = enumerate(_lines(file), start=1)
    found = [_entry(line, file, number) for number, line in lines if _says(line)]
    return tuple(dict.fromkeys(key for names, key in found if _names(names, name)))


def pin(file: Path, name: str, keys: Sequence[HostKey]) -> None:
    """Make `keys` the only ones of a host; lines of other hosts stay as they are."""
    with _alone(file):
        kept = []
        for number, line in enumerate(_lines(file), start=1):
            if _says(line):
                names, key = _entry(line, file, number)
                rest = [each for each in names if not _names((each,), name)]
                if len(rest) < len(names):
                    line = f"{','.join(rest)} {key}" if rest else ""  # noqa: PLW2901
                    if not rest:
                        continue
            kept.append(line)
        text = "".join(f"{line}\n" for line in (*kept, *(f"{name} {key}" for key in keys)))
        durable.write(file, text.encode())


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the file's folder, so that two who pin at once lose nothing."""
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"the host keys cannot be read: {fault}", where=str(file)) from fault


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _entry(line: str, file: Path, number: int) -> tuple[tuple[str, ...], HostKey]:
    words = line.split(maxsplit=_FIELDS)
    where = f"{file}:{number}"
    if words[0].startswith("@") or any(sign in words[0] for sign in "*?!"):
        raise InputError(
            "a marker or a pattern is not taken here",
            where=where,
            got=words[0],
            expected="lines of `host type key`: this file is sealift's own",
        )
    if len(words) < _FIELDS or not _TYPE.match(words[1]) or not _is_key(words[1], words[2]):
        raise InputError("this is no host key", where=where, expected="host type key")
    return tuple(words[0].split(",")), HostKey(words[1], words[2])


def _is_key(kind: str, text: str) -> bool:
    """Tell whether a key says itself that it is of its type (RFC 4253, 6.6)."""
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return blob[4 : 4 + int.from_bytes(blob[:4])] == kind.encode()


def _names(names: Sequence[str], name: str) -> bool:
    return any(each.lower() == name or _hashed(each, name) for each in names)


def _hashed(entry: str, name: str) -> bool:
    """Tell whether an entry of `|1|salt|hash` stands for a name."""
    parts = entry.split("|")
    if len(parts) != 4 or parts[:2] != ["", "1"]:  # noqa: PLR2004 - the format's own
        return False
    try:
        salt, wanted = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), wanted)
