"""Advisories in the OSV format, from files that the operator brings; nothing is fetched.

A file holds one advisory or a list of them; a folder holds files, at any depth; a zip archive is
one as OSV publishes it, with a file for each. What they say of which versions is for
`builders.audit`.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builders import cvss
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LARGEST = 64 << 20
"""Bytes that one advisory, or one file of several, may have; OSV's largest has less than 2 MiB."""
_UNKNOWN = "unknown"
_WORDS = {"moderate": "medium", "important": "high", "unimportant": "low"}
SEVERITIES = ("critical", "high", "medium", "low", "none", _UNKNOWN)
"""From the worst."""


class AdvisoryError(InputError):
    """Advisories that cannot be read."""

    slug = "bad-advisories"


@dataclass(frozen=True, slots=True)
class Range:
    """Versions from event to event: (`introduced`, `fixed`, `last_affected` or `limit`, version).

    `type` is `ECOSYSTEM`, `SEMVER` or `GIT`.
    """

    type: str
    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Affected:
    """What an advisory says of one package."""

    ecosystem: str
    name: str
    ranges: tuple[Range, ...]
    versions: tuple[str, ...]
    severity: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory; `severity` is one of `SEVERITIES`, `score` CVSS 3's where it has one."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    withdrawn: bool
    affected: tuple[Affected, ...]


def read(place: Path) -> Iterator[Advisory]:
    """Read all advisories of a file, a folder or a zip archive, one after another.

    Raises:
        AdvisoryError: it is not there, a file is damaged or no advisory; names the file.
    """
    count = 0
    for where, data in _texts(place):
        for document in _documents(data, where):
            count += 1
            yield parse(document, where)
    if not count:
        raise AdvisoryError(
            "there are no advisories", where=str(place), expected="OSV JSON: *.json, or a zip of it"
        )


def parse(document: Mapping[str, Any], where: str) -> Advisory:
    """Read one advisory.

    Raises:
        AdvisoryError: it is none.
    """
    try:
        overall = _severity(document)
        return Advisory(
            id=_text(document["id"]),
            aliases=tuple(_text(each) for each in document.get("aliases") or ()),
            summary=_text(document.get("summary") or ""),
            withdrawn=bool(document.get("withdrawn")),
            affected=tuple(
                _affected(each, overall)
                for each in document.get("affected") or ()
                # An advisory may name a repository alone.
                if each.get("package")
            ),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as fault:
        told = f"{fault} is missing" if isinstance(fault, LookupError) else str(fault)
        raise AdvisoryError(
            f"this is no advisory in the OSV format: {told}", where=where
        ) from fault


def _affected(said: Mapping[str, Any], overall: tuple[str, float | None]) -> Affected:
    own = _severity(said)
    severity, score = overall if own[0] == _UNKNOWN else own
    return Affected(
        ecosystem=_text(said["package"]["ecosystem"]),
        name=_text(said["package"]["name"]),
        ranges=tuple(_range(each) for each in said.get("ranges") or ()),
        versions=tuple(_text(each) for each in said.get("versions") or ()),
        severity=severity,
        score=score,
    )


def _range(said: Mapping[str, Any]) -> Range:
    events = (pair for event in said["events"] for pair in event.items())
    return Range(_text(said["type"]), tuple((kind, _text(version)) for kind, version in events))


def _severity(said: Mapping[str, Any]) -> tuple[str, float | None]:
    """Find how bad it is: a CVSS vector, else the word that the database has for it."""
    scores = [
        found
        for each in said.get("severity") or ()
        if (found := cvss.base_score(_text(each["score"]))) is not None
    ]
    if scores:
        return cvss.rating(max(scores)), max(scores)
    for section, key in (
        ("database_specific", "severity"),
        ("ecosystem_specific", "severity"),
        ("ecosystem_specific", "urgency"),
    ):
        word = (said.get(section) or {}).get(key)
        spoken = _WORDS.get(word.lower(), word.lower()) if isinstance(word, str) else ""
        if spoken in SEVERITIES:
            return spoken, None
    return _UNKNOWN, None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _documents(data: bytes, where: str) -> Iterator[Mapping[str, Any]]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise AdvisoryError(f"this is not JSON: {fault}", where=where) from fault
    if isinstance(said, dict) and isinstance(said.get("vulns"), list):
        said = said["vulns"]
    for each in said if isinstance(said, list) else [said]:
        if not isinstance(each, dict):
            raise AdvisoryError("this is no advisory in the OSV format", where=where)
        yield each


def _texts(place: Path) -> Iterator[tuple[str, bytes]]:
    """Give the contents of each file of advisories, with the name to blame."""
    try:
        if place.is_dir():
            for file in sorted(place.rglob("*")):
                if file.suffix in (".json", ".zip") and file.is_file():
                    yield from _texts(file)
        elif place.suffix == ".zip":
            yield from _members(place)
        else:
            if place.stat().st_size > LARGEST:
                raise AdvisoryError(f"larger than {LARGEST >> 20} MiB", where=str(place))
            yield str(place), place.read_bytes()
    except OSError as fault:
        reason = f"the advisories cannot be read: {fault.strerror or fault}"
        raise AdvisoryError(reason, where=str(place)) from fault


def _members(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                where = f"{file}:{info.filename}"
                if not info.filename.endswith(".json"):
                    continue
                if info.file_size > LARGEST:
                    raise AdvisoryError(f"larger than {LARGEST >> 20} MiB", where=where)
                yield where, archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as fault:
        raise AdvisoryError(f"the archive is damaged: {fault}", where=str(file)) from fault
