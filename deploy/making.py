"""Secrets that a site need not bring: random values, and certificates signed by their own keys.

What a release asks for is decided here from the release alone, and what of it is to be made from
the names that the vault has. Sealing is for `deploy.vault`. A head without systemd makes its own
certificates: `deploy.certificates`.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING

from deploy.errors import CertificateError
from deploy.key_pairs import signing_pair, web_pair
from deploy.release import BYTES, PASSWORD
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from deploy.release import Release

ENTROPY = 32
"""Bytes of a random value."""
KEY_BYTES = 1024
"""Of a key that a program takes as it is, such as munge's."""
LONGEST = 253
"""Characters of a name in the DNS."""
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


class Sort(Enum):
    """What a secret is."""

    VALUE = "value"
    BYTES = "bytes"
    """A key of random bytes, which stands in a file as it is."""
    SIGNING = "signing pair"
    WEB = "web pair"
    BROUGHT = "brought"
    """A certificate whose key is elsewhere."""


@dataclass(frozen=True, slots=True)
class Making:
    """One thing to make: a value, or a certificate and its key, in this order."""

    sort: Sort
    names: tuple[str, ...]
    subject: str = ""


def makings(release: Release) -> tuple[Making, ...]:
    """Return what the release's secrets are, in the order of their names.

    A pair that several services share is one; a certificate that one service has as part of a
    pair, and another one alone, is that pair's.
    """
    services = release.services.values()
    every = [each for service in services for each in service.certificates]
    found = [
        Making(Sort.SIGNING, (each.certificate, each.key), each.subject or each.certificate)
        for each in every
        if each.key is not None
    ]
    web = release.systemd
    if web is not None and web.certificate is not None and web.key is not None:
        found.append(Making(Sort.WEB, (web.certificate, web.key)))
    found += [Making(Sort.BROUGHT, (each.certificate,)) for each in every if each.key is None]
    found += [Making(Sort.BYTES, (name,)) for name in _of_phases(release, BYTES)]
    names = {name for service in services for name in service.secrets}
    names.update(_of_phases(release, PASSWORD))
    found += [Making(Sort.VALUE, (name,)) for name in sorted(names)]
    return _first(found)


def _of_phases(release: Release, sort: str) -> tuple[str, ...]:
    phases = release.phases.values()
    return tuple(name for phase in phases for name, each in phase.secrets.items() if each == sort)


def _first(found: Iterable[Making]) -> tuple[Making, ...]:
    """Keep for each name what comes first."""
    taken: set[str] = set()
    kept = []
    for each in found:
        if taken.isdisjoint(each.names):
            kept.append(each)
            taken.update(each.names)
    return tuple(sorted(kept, key=lambda making: making.names))


def wanted(
    release: Release | None, names: Collection[str], have: Collection[str], *, replace: bool
) -> tuple[Making, ...]:
    """Return what is to be made; without `names`, what the release needs and is not among `have`.

    What is missing and must be brought is among it only if it is named. A name that the release
    does not know is a value.

    Raises:
        InputError: something is there, and is not to be replaced; or half of a pair is.
    """
    every = makings(release) if release else ()
    if not names:
        missing = [each for each in every if not set(each.names) <= set(have)]
        return tuple(_whole(each, have) for each in missing if each.sort is not Sort.BROUGHT)
    known = {name: each for each in every for name in each.names}
    found = dict.fromkeys(known.get(name, Making(Sort.VALUE, (name,))) for name in names)
    there = sorted({name for each in found for name in each.names} & set(have))
    if there and not replace:
        raise InputError(
            f"the vault has {', '.join(there)} already",
            hint="--replace makes another in its place; what uses it is then restarted",
        )
    return tuple(found)


def to_bring(release: Release, have: Collection[str]) -> tuple[str, ...]:
    """Return the certificates that are missing and cannot be made."""
    every = (each for each in makings(release) if each.sort is Sort.BROUGHT)
    return tuple(each.names[0] for each in every if each.names[0] not in have)


def _whole(making: Making, have: Collection[str]) -> Making:
    """Refuse to make a pair of which one half is there: that would be replaced."""
    lacking = [name for name in making.names if name not in have]
    if len(lacking) < len(making.names):
        there = next(name for name in making.names if name in have)
        raise InputError(
            f"of a certificate and its key only {there} is there",
            hint=f"bring the other one: sealift secret set {lacking[0]} --file FILE; "
            f"or make both anew: sealift secret generate --replace {making.names[0]}",
        )
    return making


def check_reached(word: str) -> str:
    """Return what a web server is reached by, if a certificate can name it.

    Raises:
        InputError: it is neither a name (which may begin with `*.`) nor an address.
    """
    name = word.removeprefix("*.")
    with suppress(ValueError):
        return str(ip_address(word))
    labels = name.split(".")
    if len(name) > LONGEST or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise InputError(
            f"no certificate can name {word!r}",
            expected="a name such as portal.example.org or *.example.org, or an address",
        )
    return word


def make(making: Making, names: Sequence[str]) -> dict[str, bytes]:
    """Make the values; `names` are names and addresses under which the web server is reached.

    Raises:
        CertificateError: it is not to be made but brought, or nothing can be its name.
    """
    match making.sort:
        case Sort.VALUE:
            return {making.names[0]: secrets.token_urlsafe(ENTROPY).encode()}
        case Sort.BYTES:
            return {making.names[0]: secrets.token_bytes(KEY_BYTES)}
        case Sort.SIGNING:
            pair = signing_pair(making.subject)
        case Sort.WEB:
            pair = web_pair(names)
        case Sort.BROUGHT:
            raise CertificateError(
                f"the certificate {making.names[0]} is not made here: its key is elsewhere",
                where=making.names[0],
                hint=f"sealift secret set {making.names[0]} --file FILE, in PEM",
            )
    return dict(zip(making.names, pair, strict=True))
