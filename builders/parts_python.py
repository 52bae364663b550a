"""The parts of a Python environment: locked wheels, with what their metadata say.

Who needs whom is read from `Requires-Dist`, as far as it is locked and holds on the target.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from email.parser import BytesParser
from email.policy import compat32
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builders import licences, parts_debian, parts_native
from builders.parts import Part
from builders.recipe import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from email.message import Message
    from pathlib import Path

_METADATA = "*.dist-info/METADATA"


class Locked(NamedTuple):
    """What a lock says of one distribution, and where it lies unpacked."""

    name: str
    version: str
    integrity: str
    """SRI of the wheel, or of the sdist that it was built from here."""
    sdist: bool
    tree: Path


def read(
    locked: Iterable[Locked],
    *,
    python: str,
    native: Mapping[str, Mapping[str, str]] = EMPTY,
) -> tuple[Part, ...]:
    """Read the parts of an environment for a version of Python, and what wheels carry inside.

    `native` says what is locked of the Debian packages that sdists were compiled with, some of
    whose libraries wheels then carry.
    """
    rows = sorted(locked)
    metadata = {row.name: _metadata(row.tree) for row in rows}
    plain = {row.name: _part(row, metadata[row.name]) for row in rows}
    graph = _needs({name: _requirements(said) for name, said in metadata.items()}, python)
    parts: list[Part] = []
    for row in rows:
        found, whole = parts_native.carried(row.tree, row.name)
        inner = [_located(part, native) for part in found]
        needs = {plain[name].ref for name in graph[row.name]} | {part.ref for part in inner}
        parts += [replace(plain[row.name], needs=tuple(sorted(needs)), whole=whole), *inner]
    return tuple(parts)


def _part(row: Locked, said: Message) -> Part:
    return Part(
        type="pypi",
        name=canonicalize_name(row.name),
        version=row.version,
        integrity=row.integrity,
        licences=licences.of_wheel(
            _field(said, "License-Expression"),
            _field(said, "License"),
            [str(text) for text in said.get_all("Classifier", [])],
        ),
        facts={"built": "from its sdist"} if row.sdist else {},
    )


def _metadata(tree: Path) -> Message:
    for file in sorted(tree.glob(_METADATA)):
        return BytesParser(policy=compat32).parsebytes(file.read_bytes(), headersonly=True)
    return BytesParser(policy=compat32).parsebytes(b"")


def _field(said: Message, name: str) -> str:
    return str(said.get(name, "")).strip()


def _requirements(said: Message) -> tuple[Requirement, ...]:
    found = []
    for text in said.get_all("Requires-Dist", []):
        try:
            found.append(Requirement(str(text)))
        except InvalidRequirement:
            continue
    return tuple(found)


def _needs(asked: Mapping[str, Sequence[Requirement]], python: str) -> dict[str, list[str]]:
    """Give the locked names that each one needs, with the extras that others ask of it."""
    environment = _environment(python)
    extras: dict[str, set[str]] = {name: {""} for name in asked}
    graph: dict[str, set[str]] = {name: set() for name in asked}
    waiting = list(asked)
    while waiting:
        name = waiting.pop()
        for requirement in asked[name]:
            target = canonicalize_name(requirement.name)
            if target in asked and _holds(requirement, environment, extras[name]):
                graph[name].add(target)
                if not extras[target] >= requirement.extras:
                    extras[target] |= requirement.extras
                    waiting.append(target)
    return {name: sorted(found - {name}) for name, found in graph.items()}


def _holds(requirement: Requirement, environment: Mapping[str, str], extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate({**environment, "extra": extra}) for extra in extras
    )


def _environment(python: str) -> dict[str, str]:
    """Give what PEP 508 markers ask about, for CPython on Linux."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": platform.machine(),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def _located(carried: Part, native: Mapping[str, Mapping[str, str]]) -> Part:
    """Know a carried library by its package's lock, if it was put in here."""
    said = native.get(carried.name)
    if carried.type != "deb" or said is None or said["version"] != carried.version:
        return carried
    found = parts_debian.part(carried.name, said, said["source"])
    return replace(found, facts={**found.facts, **carried.facts})
