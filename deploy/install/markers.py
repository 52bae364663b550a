"""Secrets in texts: written in where a marker stands, and taken out of what is told. Pure.

A marker is `@secret:NAME@`, `@secret:NAME:mysql@` (the hash that MariaDB keeps of a password) or
`@secret:NAME:word@` (as it is, if it is one plain word).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from deploy.errors import BadMessageError, BadSecretError
from deploy.phases.configuration import Form, Marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARKER = re.compile(rb"@secret:([^@\s]{1,100})@")
HIDDEN = b"***"
_UNFIT = re.compile(rb"[\s\"'`#\\\x00-\x1f\x7f]")


def fill(text: bytes, values: Mapping[str, bytes], *, where: str) -> bytes:
    """Write secrets in where their markers stand.

    Raises:
        BadMessageError: a marker is of no secret among `values`.
        BadSecretError: a secret cannot stand where it should.
    """
    return MARKER.sub(lambda found: _value(found[1], values, where), text)


def mysql(value: bytes) -> bytes:
    """Return a password as MariaDB's `mysql_native_password` keeps it."""
    # What MariaDB compares with, whatever may be thought of SHA-1.
    inner = hashlib.sha1(value, usedforsecurity=False).digest()
    return b"*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper().encode()


def check_word(name: str, value: bytes) -> bytes:
    """Return the value of a secret if it can stand as one word in a file of settings.

    Raises:
        BadSecretError: it cannot.
    """
    if _UNFIT.search(value):
        raise BadSecretError(
            f"the secret {name} cannot stand as a word in a file of settings",
            where=name,
            expected="no white space, no quotes, no #, no \\ and no control characters",
            hint=f"sealift secret generate {name}, or sealift secret set {name}",
        )
    return value


def hide(text: bytes, values: Mapping[str, bytes]) -> bytes:
    """Return `text` without the values of secrets, and without what is made of them."""
    for each in sorted(set(_traces(values)), key=len, reverse=True):
        text = text.replace(each, HIDDEN)
    return text


def _value(inner: bytes, values: Mapping[str, bytes], where: str) -> bytes:
    said = inner.decode("utf-8", "replace")
    marker = Marker.parse(said)
    if marker is None or marker.name not in values:
        reason = f"the marker @secret:{said}@ is of no secret that is at hand here"
        raise BadMessageError(reason, where=where, hint="declare the secret in the phase's recipe")
    value = values[marker.name]
    match marker.form:
        case Form.MYSQL:
            return mysql(value)
        case Form.WORD:
            return check_word(marker.name, value)
    return value


def _traces(values: Mapping[str, bytes]) -> Iterator[bytes]:
    for value in values.values():
        yield from (each for each in (value, value.strip(), mysql(value)) if each)
