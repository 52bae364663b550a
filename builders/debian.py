"""Debian's own formats: versions and their order, stanzas of an index, a suite's Release file.

Pure: texts in, values out. Whether a Release file may be trusted, and where it comes from, is
for `builders.deb_index`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import total_ordering
from typing import TYPE_CHECKING

from builders.recipe import EMPTY
from store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_PACKAGE = re.compile(r"^Package: (.*)$", re.MULTILINE)
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
_Runs = tuple[tuple[tuple[int, ...], int], ...]
_VERSION = re.compile(r"(?:[0-9]+:)?[0-9A-Za-z.+~-]+\Z")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


class BadIndexError(IntegrityError):
    """A mirror's index that cannot be believed."""

    slug = "bad-index"


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A version, ordered as deb-version(7) says: `~` before the end, letters before the rest."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[int, _Runs, _Runs]:
        epoch, colon, rest = self.text.partition(":")
        if not colon:
            epoch, rest = "0", self.text
        upstream, dash, revision = rest.rpartition("-")
        if not dash:
            upstream, revision = rest, "0"
        return int(epoch), _runs(upstream), _runs(revision)


@dataclass(frozen=True, slots=True)
class Stanza:
    """What one stanza of a Packages index says about one .deb; `size` in bytes."""

    name: str
    version: Version
    architecture: str
    filename: str
    sha256: str
    size: int
    fields: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """All of it, by name; a value of several lines is one text with line feeds."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a suite's Release file promises: when it was made, and each index's hash and size."""

    codename: str
    suite: str
    """Another name: `stable` of bookworm, `jammy-updates` of jammy; often the codename itself."""
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    separate_all: bool
    """Whether packages for all architectures have an index of their own."""
    indexes: Mapping[str, tuple[str, int]]


def parse_release(text: str, *, where: str) -> Release:
    """Parse the signed text of an InRelease file.

    Raises:
        BadIndexError: if a field that we need is missing or makes no sense.
    """
    fields = parse_fields(text)
    try:
        until = fields.get("Valid-Until")
        return Release(
            codename=fields.get("Codename") or fields["Suite"],
            suite=fields.get("Suite") or fields["Codename"],
            date=_moment(fields["Date"]),
            valid_until=_moment(until) if until else None,
            by_hash=fields.get("Acquire-By-Hash") == "yes",
            separate_all="No-Support-for-Architecture-all" not in fields
            and "all" in fields.get("Architectures", "").split(),
            indexes=dict(_indexes(fields["SHA256"])),
        )
    except (KeyError, ValueError) as fault:
        raise BadIndexError(f"a Release file that makes no sense: {fault}", where=where) from fault


def parse_packages(text: str, wanted: Collection[str], *, where: str) -> Iterator[Stanza]:
    """Parse the stanzas of the wanted packages out of a Packages index.

    Raises:
        BadIndexError: if one of them lacks a field or holds one that makes no sense.
    """
    for block in text.split("\n\n"):
        # Sixty thousand stanzas, of which we want thirty: look at the name alone.
        found = _PACKAGE.search(block)
        name = found[1].strip() if found else ""
        if name in wanted:
            yield _stanza(name, parse_fields(block), where)


def parse_fields(text: str) -> dict[str, str]:
    """Parse one stanza: `Key: value` lines; a line that starts with a blank goes on with a value.

    Such a value is one text with line feeds, without the blanks.
    """
    fields: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line.startswith((" ", "\t")) and key:
            fields[key] += "\n" + line.strip()
        elif ":" in line:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def parse_version(text: str) -> Version:
    """Parse a version; the inverse of its `str`.

    Raises:
        ValueError: if it is none.
    """
    if not _VERSION.match(text):
        raise ValueError(f"version {text!r}")
    return Version(text)


def check_file(filename: str, sha256: str) -> None:
    """Make sure that a file's name stays within the mirror, and that its hash is one.

    Raises:
        ValueError: if not.
    """
    if not filename or ".." in filename.split("/") or filename.startswith("/"):
        raise ValueError(f"file name {filename!r}")
    if not _HASH.match(sha256):
        raise ValueError(f"SHA-256 {sha256!r}")


def check_field(name: str, value: str) -> None:
    """Make sure that a field and its value are one line of a stanza.

    Raises:
        ValueError: if not.
    """
    if not _FIELD.match(name) or not value.isprintable():
        raise ValueError(f"field {name!r}")


def _stanza(name: str, fields: Mapping[str, str], where: str) -> Stanza:
    try:
        sha256, filename = fields["SHA256"], fields["Filename"]
        check_file(filename, sha256)
        return Stanza(
            name=name,
            version=parse_version(fields["Version"]),
            architecture=fields["Architecture"],
            filename=filename,
            sha256=sha256,
            size=int(fields["Size"]),
            fields=fields,
        )
    except (KeyError, ValueError) as fault:
        reason = f"the stanza of {name!r} makes no sense: {fault}"
        raise BadIndexError(reason, where=where) from fault


def _indexes(text: str) -> Iterator[tuple[str, tuple[str, int]]]:
    for line in text.splitlines():
        if line:
            sha256, size, path = line.split()
            yield path, (sha256, int(size))


def _moment(text: str) -> datetime:
    moment = parsedate_to_datetime(text.replace("UTC", "+0000"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _runs(text: str) -> _Runs:
    """Cut into runs of other characters and digits; the empty run at the end sorts after `~`."""
    return tuple((_ranks(word), int(number or 0)) for word, number in _PARTS.findall(text))


def _ranks(word: str) -> tuple[int, ...]:
    return (*(_rank(character) for character in word), 0)


def _rank(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
