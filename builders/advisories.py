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
from builders.ecosystems import canonical
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LARGEST = 64 << 20
"""Bytes that one advisory, or one file of several, may have; OSV's largest has less than 2 MiB."""
_UNKNOWN = "unknown"
_SHOWN = 40
_LARGE = "split the list, or zip it with one file for each advisory, as OSV publishes them"
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
        AdvisoryError: it is not there, a file is damaged or no advisory, or no package is named
            at all; names the file.
    """
    count = named = 0
    for where, data in _texts(place):
        for document in _documents(data, where):
            found = parse(document, where)
            count += 1
            named += len(found.affected)
            yield found
    if not count:
        raise AdvisoryError(
            "there are no advisories", where=str(place), expected="OSV JSON: *.json, or a zip of it"
        )
    if not named:
        raise AdvisoryError(
            "the advisories name no package, so nothing can be looked up by them",
            where=str(place),
            expected="`affected` with a `package`",
        )


def parse(document: Mapping[str, Any], where: str) -> Advisory:
    """Read one advisory.

    Raises:
        AdvisoryError: it is none.
    """
    try:
        overall = _severity(document)
        return Advisory(
            id=_text(document["id"], "id"),
            aliases=tuple(_text(each, "aliases") for each in _rows(document, "aliases")),
            summary=_text(document.get("summary") or "", "summary"),
            withdrawn=bool(document.get("withdrawn")),
            affected=tuple(
                _affected(each, overall)
                for each in _objects(document, "affected")
                # An advisory may name a repository alone.
                if each.get("package")
            ),
        )
    except (LookupError, ValueError) as fault:
        told = f"{fault} is missing" if isinstance(fault, LookupError) else str(fault)
        raise AdvisoryError(
            f"this is no advisory in the OSV format: {told}", where=where
        ) from fault


def _affected(said: Mapping[str, Any], overall: tuple[str, float | None]) -> Affected:
    own = _severity(said)
    severity, score = overall if own[0] == _UNKNOWN else own
    package = _object(said["package"], "package")
    return Affected(
        ecosystem=canonical(_text(package["ecosystem"], "ecosystem")),
        name=_text(package["name"], "name"),
        ranges=tuple(_range(each) for each in _objects(said, "ranges")),
        versions=tuple(_text(each, "versions") for each in _rows(said, "versions")),
        severity=severity,
        score=score,
    )


def _range(said: Mapping[str, Any]) -> Range:
    if "events" not in said:
        raise KeyError("events")
    events = (pair for event in _objects(said, "events") for pair in event.items())
    return Range(
        _text(said["type"], "type"), tuple((kind, _text(version, kind)) for kind, version in events)
    )


def _severity(said: Mapping[str, Any]) -> tuple[str, float | None]:
    """Find how bad it is: a CVSS vector, else the word that the database has for it."""
    scores = [
        found
        for each in _objects(said, "severity")
        if (found := cvss.base_score(_text(each["score"], "score"))) is not None
    ]
    if scores:
        return cvss.rating(max(scores)), max(scores)
    for section, key in (
        ("database_specific", "severity"),
        ("ecosystem_specific", "severity"),
        ("ecosystem_specific", "urgency"),
    ):
        words = said.get(section)
        word = words.get(key) if isinstance(words, dict) else None
        spoken = _WORDS.get(word.lower(), word.lower()) if isinstance(word, str) else ""
        if spoken in SEVERITIES:
            return spoken, None
    return _UNKNOWN, None


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _sort(value, name, "a text")
    return value


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _sort(value, name, "an object")
    return value


def _objects(said: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    return (_object(each, name) for each in _rows(said, name))


def _rows(said: Mapping[str, Any], name: str) -> Sequence[object]:
    """Give a list; what is not there has no rows."""
    found = said.get(name)
    if found is not None and not isinstance(found, list):
        raise _sort(found, name, "a list")
    return found or ()


def _sort(value: object, name: str, expected: str) -> ValueError:
    shown = json.dumps(value, ensure_ascii=True)
    return ValueError(f"`{name}` has {shown[:_SHOWN]}, which is not {expected}")


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
                raise _too_large(str(place))
            yield str(place), place.read_bytes()
    except OSError as fault:
        reason = f"the advisories cannot be read: {fault.strerror or fault}"
        raise AdvisoryError(reason, where=str(place)) from fault


def _too_large(where: str) -> AdvisoryError:
    return AdvisoryError(f"larger than {LARGEST >> 20} MiB", where=where, hint=_LARGE)


def _members(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                where = f"{file}:{info.filename}"
                if not info.filename.endswith(".json"):
                    continue
                if info.file_size > LARGEST:
                    raise _too_large(where)
                yield where, archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as fault:
        raise AdvisoryError(f"the archive is damaged: {fault}", where=str(file)) from fault
