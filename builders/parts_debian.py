"""The parts of a set of Debian packages, with what their control and copyright files say.

Advisories name source packages, so each part says which source it was built from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from builders import licences
from builders.archive import read_files
from builders.debian import parse_fields
from builders.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FAMILIES = {
    **dict.fromkeys(("bionic", "focal", "jammy", "noble", "plucky", "questing"), "ubuntu"),
}
"""Codename → the namespace of its package URLs; all others are Debian's own."""
SOURCE = "source"
SOURCE_VERSION = "sourceVersion"
_DEPENDS = ("Pre-Depends", "Depends")
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)")
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^)]+)\))?")
_DOCUMENTS = ("usr/share/doc", "share/doc")


class Locked(NamedTuple):
    """What a lock says of one package, and where its file lies."""

    name: str
    said: Mapping[str, str]
    """Its `version`, `architecture`, `suite` and `integrity`."""
    file: Path


@dataclass(frozen=True, slots=True)
class _Control:
    source: str
    provides: tuple[str, ...]
    depends: tuple[tuple[str, ...], ...]
    """Each a list of alternatives."""


def read(locked: Iterable[Locked], tree: Path | None) -> tuple[Part, ...]:
    """Read the parts; `tree` is where the packages lie unpacked, if they do.

    Raises:
        ArchiveError: if a package is damaged.
    """
    rows = sorted(locked, key=lambda row: row.name)
    controls = {row.name: _control(row) for row in rows}
    parts = {
        row.name: replace(
            part(row.name, row.said, controls[row.name].source),
            licences=licences.of_debian(_copyright(row, tree)),
        )
        for row in rows
    }
    providers: dict[str, list[str]] = {}
    for name, control in controls.items():
        for provided in (name, *control.provides):
            providers.setdefault(provided, []).append(name)
    return tuple(
        replace(parts[name], needs=tuple(_needs(name, control, providers, parts)))
        for name, control in controls.items()
    )


def part(name: str, said: Mapping[str, str], source: str) -> Part:
    """Make the part of a locked package; `source` is as its control file spells it, or empty."""
    codename = said["suite"].partition("-")[0]
    source_name, source_version = _source(source, name, said["version"])
    return Part(
        type="deb",
        namespace=FAMILIES.get(codename, "debian"),
        name=name,
        version=said["version"],
        qualifiers={"arch": said["architecture"], "distro": codename},
        integrity=said["integrity"],
        facts={SOURCE: source_name, SOURCE_VERSION: source_version},
    )


def _source(text: str, name: str, version: str) -> tuple[str, str]:
    """Read `name (version)`; what is left out is as for the package itself (deb-control(5))."""
    found = _SOURCE.match(text)
    return (found[1], found[2] or version) if found else (name, version)


def _control(row: Locked) -> _Control:
    text = read_files(row.file, "control", ("control",))
    said = parse_fields(text.get("control", b"").decode(errors="replace"))
    return _Control(
        source=said.get("Source", ""),
        provides=tuple(_names(said.get("Provides", ""), ",")),
        depends=tuple(
            tuple(_names(group, "|")) for key in _DEPENDS for group in said.get(key, "").split(",")
        ),
    )


def _names(text: str, separator: str) -> Iterator[str]:
    for word in text.split(separator):
        found = _NAME.match(word)
        if found:
            yield found[1]


def _needs(
    name: str, control: _Control, providers: Mapping[str, list[str]], parts: Mapping[str, Part]
) -> list[str]:
    found = {
        provider
        for group in control.depends
        for wanted in group
        for provider in providers.get(wanted, ())
    }
    return sorted(parts[each].ref for each in found - {name})


def _copyright(row: Locked, tree: Path | None) -> str:
    """Read a package's copyright file: from where it lies unpacked, else from the package."""
    if tree is None:
        place = f"usr/share/doc/{row.name}/copyright"
        found = read_files(row.file, "data", (place,))
        return found.get(place, b"").decode(errors="replace")
    for folder in _DOCUMENTS:
        file = tree / folder / row.name / "copyright"
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace")
    return ""
