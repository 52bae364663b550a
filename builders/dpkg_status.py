"""What a system has installed: dpkg's status file, reduced to what apt's solver reads.

Pure: texts in, texts and values out. Where a base system's file lies is for `builders.apt_lock`;
reading it off a head is for the command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.debian import Version, check_field, parse_fields, parse_version
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from builders.debian import Stanza

RELATIONS = ("Pre-Depends", "Depends", "Conflicts", "Breaks", "Replaces", "Provides")
FIELDS = (
    "Package",
    "Essential",
    "Protected",
    "Important",
    "Status",
    "Priority",
    # apt tells two builds of one version apart by sizes and relations, and keeps packages of one
    # source at one build: without these two it would replace some that are right as they are.
    "Source",
    "Installed-Size",
    "Architecture",
    "Multi-Arch",
    "Version",
    *RELATIONS,
)
"""What apt decides by; descriptions, maintainers and configuration files are left out."""
INSTALLED = "install ok installed"
_GONE = ("not-installed", "config-files")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")


class StatusError(InputError):
    """A text that is no dpkg status file, or says nothing that apt could use."""

    slug = "bad-status"


@dataclass(frozen=True, slots=True)
class Installed:
    """A package that a system has."""

    name: str
    architecture: str
    version: Version


def parse_status(text: str, *, where: str) -> Iterator[Mapping[str, str]]:
    """Parse the stanzas of packages that are there, whole or in part.

    Raises:
        StatusError: if it is no status file.
    """
    for number, block in enumerate(_blocks(text), 1):
        fields = parse_fields(block)
        try:
            if fields["Status"].split()[2] in _GONE:
                continue
            kept = _kept(fields)
        except (KeyError, IndexError, ValueError) as fault:
            reason = f"stanza {number} of the status file makes no sense: {fault}"
            raise StatusError(reason, where=where) from fault
        yield kept


def reduce(text: str, *, where: str) -> str:
    """Leave of a status file what apt decides by, sorted by package.

    Raises:
        StatusError: if it is no status file, or nothing is installed.
    """
    stanzas = list(parse_status(text, where=where))
    if not stanzas:
        raise StatusError("the status file says that nothing is installed", where=where)
    return spell(stanzas)


def spell(stanzas: Iterable[Mapping[str, str]]) -> str:
    """Spell stanzas as a status file, sorted by package and architecture."""
    blocks = sorted(stanzas, key=lambda each: (each["Package"], each.get("Architecture", "")))
    return "\n".join("".join(f"{key}: {value}\n" for key, value in b.items()) for b in blocks)


def as_installed(stanza: Stanza) -> Mapping[str, str]:
    """Make the stanza of a package that is installed out of that of an index."""
    return _kept({**stanza.fields, "Status": INSTALLED})


def installed(text: str, *, where: str) -> list[Installed]:
    """List the packages of a status file that are there, whole or in part.

    Raises:
        StatusError: if it is no status file.
    """
    return [
        Installed(each["Package"], each.get("Architecture", ""), Version(each["Version"]))
        for each in parse_status(text, where=where)
    ]


def native_architecture(text: str, *, where: str) -> str | None:
    """Tell the architecture of a system: that of its dpkg; None if it has none."""
    found = (each for each in installed(text, where=where) if each.name == "dpkg")
    return next((each.architecture for each in found), None)


def _kept(fields: Mapping[str, str]) -> dict[str, str]:
    if not _NAME.match(fields["Package"]):
        raise ValueError(f"package {fields['Package']!r}")
    parse_version(fields["Version"])
    kept = {name: " ".join(fields[name].split()) for name in FIELDS if name in fields}
    for name, value in kept.items():
        check_field(name, value)
    return kept


def _blocks(text: str) -> Iterator[str]:
    return (block for block in re.split(r"\n[ \t]*\n", text) if block.strip())
