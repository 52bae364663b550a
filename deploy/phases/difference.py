"""What differs between the phases of two releases on one host: texts, packages, parameters.

Both are in a store; secrets are in neither, as texts hold their names alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from deploy.phases import configuration_file
from deploy.phases.state import NONE
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from deploy.phases.configuration import Configuration, File
    from deploy.release import Release


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that is `added`, `removed` or `changed`; `diff` is unified text."""

    path: str
    change: str
    diff: str


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """How a phase differs.

    `packages` are pairs of versions by name, `parameters` pairs of JSON values; None where there is
    none.
    """

    phase: str
    change: str
    files: tuple[FileChange, ...] = ()
    packages: Mapping[str, tuple[Any, Any]] = field(default_factory=lambda: NONE)
    parameters: Mapping[str, tuple[Any, Any]] = field(default_factory=lambda: NONE)


def compare(old: Release, new: Release, head: str) -> tuple[PhaseChange, ...]:
    """Return how the phases of a head differ between two releases, by their numbers."""
    was, now = _paths(old, head), _paths(new, head)
    return tuple(
        change
        for name in {**now, **was}
        if (change := _phase(name, was.get(name), now.get(name))) is not None
    )


def _paths(release: Release, head: str) -> dict[str, Path]:
    return {name: of.hosts[head] for name, of in release.phases.items() if head in of.hosts}


def _phase(name: str, was: Path | None, now: Path | None) -> PhaseChange | None:
    if was == now:
        return None
    old, new = _read(was), _read(now)
    change = "added" if was is None else "removed" if now is None else "changed"
    packages = _pairs(_versions(old), _versions(new))
    parameters = _pairs(_parameters(old), _parameters(new))
    return PhaseChange(name, change, tuple(_files(old, new)), packages, parameters)


def _read(path: Path | None) -> Configuration | None:
    """Read a configuration; one of another version of sealift tells nothing."""
    try:
        return None if path is None else configuration_file.load(path)
    except Error:
        return None


def _files(old: Configuration | None, new: Configuration | None) -> Iterator[FileChange]:
    was, now = _by_path(old), _by_path(new)
    for path in sorted({*was, *now}):
        before, after = _text(old, was.get(path)), _text(new, now.get(path))
        if before == after and _about(was.get(path)) == _about(now.get(path)):
            continue
        change = "added" if path not in was else "removed" if path not in now else "changed"
        yield FileChange(path, change, _unified(path, before, after))


def _by_path(found: Configuration | None) -> dict[str, File]:
    return {} if found is None else {str(each.path): each for each in found.files}


def _about(file: File | None) -> tuple[object, ...]:
    return () if file is None else (file.secret, file.owner, file.group, file.mode)


def _text(found: Configuration | None, file: File | None) -> str:
    if found is None or file is None:
        return ""
    return found.text(file).decode("utf-8", "replace")


def _unified(path: str, before: str, after: str) -> str:
    lines = unified_diff(
        before.splitlines(), after.splitlines(), f"a{path}", f"b{path}", lineterm=""
    )
    return "\n".join(lines)


def _pairs(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of what differs, by name."""
    return {
        name: (was.get(name), now.get(name))
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    }


def _parameters(found: Configuration | None) -> Mapping[str, Any]:
    return {} if found is None else found.parameters


def _versions(found: Configuration | None) -> Mapping[str, str]:
    return {} if found is None or found.packages is None else found.packages.names
