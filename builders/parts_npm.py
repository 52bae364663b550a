"""The parts of a `node_modules` tree, from the record of what is installed that lies in it.

The record is npm's own format, the entries the lock's own words; where they say nothing of a
licence, the package's `package.json` may.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builders import licences
from builders.npm_lock import split_location, strongest
from builders.parts import Part, Scope, Whole
from builders.scripts.node_modules import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FOLDER = "node_modules"
"""Where the tree lies in the object that services have; that of frontends is the tree itself."""
_WANTS = ("dependencies", "optionalDependencies", "peerDependencies")
_STRENGTH = (Scope.EXCLUDED, Scope.OPTIONAL, Scope.REQUIRED)


def read(modules: Path, direct: Iterable[str]) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Read the parts of a tree, and the `ref`s of those that the project itself asks for.

    The same package at several places is one part, as needed as at any of them.
    """
    if (modules / FOLDER / HIDDEN).is_file():
        modules = modules / FOLDER
    inner = modules / "node_modules"
    modules = inner if (inner / HIDDEN).is_file() else modules
    entries = json.loads((modules / HIDDEN).read_bytes())["packages"]
    placed = {
        location: _part(modules, location, entry)
        for location, entry in sorted(entries.items())
        if not entry.get("link") and entry.get("version")
    }
    parts: dict[str, Part] = {}
    needs: dict[str, set[str]] = {}
    for location, part in placed.items():
        known = parts.setdefault(part.ref, part)
        parts[part.ref] = replace(known, scope=max(known.scope, part.scope, key=_STRENGTH.index))
        wanted = needs.setdefault(part.ref, set())
        wanted |= {placed[place].ref for place in _needed(location, entries[location], placed)}
    asked = (f"node_modules/{name}" for name in direct)
    return (
        tuple(replace(parts[r], needs=tuple(sorted(needs[r] - {r}))) for r in sorted(parts)),
        tuple(sorted({placed[place].ref for place in asked if place in placed})),
    )


def read_bundled(modules: Path) -> tuple[Part, ...]:
    """Read the packages below a folder that no lock describes, as npm carries its own."""
    parts: dict[str, Part] = {}
    for manifest in sorted(modules.rglob("package.json")):
        if not _is_package(manifest, modules):
            continue
        said = _manifest(manifest)
        name, version = said.get("name"), said.get("version")
        if isinstance(name, str) and isinstance(version, str) and name and version:
            part = npm_part(name, version, licences=licences.of_npm(said.get("license")))
            parts[part.ref] = part
    return tuple(parts[ref] for ref in sorted(parts))


def read_node(tree: Path, said: Mapping[str, Any]) -> tuple[Part, ...]:
    """Read the parts of Node's own tree: Node itself, npm, and the packages that npm carries."""
    npm = tree / "lib" / "node_modules" / "npm"
    bundled = read_bundled(npm / "node_modules")
    manager = npm_part(
        "npm",
        said["npm"],
        integrity=said["integrity"]["npm"],
        licences=licences.of_npm(_manifest(npm / "package.json").get("license")),
    )
    carrying = replace(manager, needs=tuple(part.ref for part in bundled))
    pinned = said["integrity"]["node"]
    # Not as the package of npm's registry that it may come in, of which no advisory speaks.
    node = Part(
        "generic",
        "node",
        said["version"],
        integrity=pinned,
        facts={} if said["archive"] else {"carried": "inside of an npm package"},
        needs=(carrying.ref,),
        whole=Whole.INCOMPLETE,
        cpe=f"cpe:2.3:a:nodejs:node.js:{said['version']}:*:*:*:*:*:*:*",
    )
    return (node, carrying, *bundled)


def npm_part(
    name: str,
    version: str,
    *,
    integrity: str = "",
    licences: tuple[str, ...] = (),
    scope: Scope = Scope.REQUIRED,
) -> Part:
    """Make the part of a package of npm's registry; a scope is its namespace."""
    namespace, _, bare = name.rpartition("/")
    return Part(
        type="npm",
        namespace=namespace,
        name=bare,
        version=version,
        integrity=integrity,
        licences=licences,
        scope=scope,
    )


def _part(modules: Path, location: str, entry: Mapping[str, Any]) -> Part:
    said = entry.get("license")
    if said is None:
        folder = modules / location.removeprefix("node_modules/")
        manifest = _manifest(folder / "package.json")
        said = manifest.get("license", manifest.get("licenses"))
    return npm_part(
        entry.get("name") or split_location(location)[1],
        entry["version"],
        integrity=strongest(str(entry.get("integrity") or "").split()) or "",
        licences=licences.of_npm(said),
        scope=_scope(entry),
    )


def _scope(entry: Mapping[str, Any]) -> Scope:
    if entry.get("dev") is True:
        return Scope.EXCLUDED
    # Wanted by development and, if it can be had, by production.
    if entry.get("optional") is True or entry.get("devOptional") is True:
        return Scope.OPTIONAL
    return Scope.REQUIRED


def _needed(location: str, entry: Mapping[str, Any], placed: Mapping[str, Part]) -> Iterator[str]:
    for section in _WANTS:
        for name in entry.get(section) or {}:
            found = _resolve(location, name, placed)
            if found is not None:
                yield found


def _resolve(location: str, name: str, placed: Mapping[str, Part]) -> str | None:
    """Walk up the folders, as `require` does."""
    while True:
        found = f"{location}/node_modules/{name}" if location else f"node_modules/{name}"
        if found in placed:
            return found
        if not location:
            return None
        location = split_location(location)[0]


def _is_package(manifest: Path, modules: Path) -> bool:
    """Tell a package's own manifest from one that lies somewhere among its files."""
    parts = manifest.parent.relative_to(modules.parent).parts
    depth = 2 if len(parts) > 1 and parts[-2].startswith("@") else 1
    return len(parts) > depth and parts[-depth - 1] == "node_modules"


def _manifest(file: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
