"""Two steps that write what is inside of an artefact, as CycloneDX 1.6 JSON.

Without a sandbox: they only read what a lock pins and what lies unpacked in the store. Which
steps these are, and what goes in, is for `builders.contents`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from builders.contents import BILL
from builders.sbom_merge import join, spell
from store.path import StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builders.build import Build
    from builders.parts import Part

_TYPES = {"toolchain": "platform"}
"""Kind of recipe → CycloneDX's type of component; others are applications."""
_WHEEL = "wheel."


def build_components(build: Build) -> None:
    """Describe the packages that a recipe's own lock pins.

    Raises:
        ArchiveError: if a Debian package is damaged.
    """
    # Loading the library takes longer than joining documents.
    from builders.sbom_document import document  # noqa: PLC0415

    parts: list[Part] = []
    direct: list[str] = []
    for found, asked in _read(build):
        parts += found
        direct += asked
    build.log.write(f"{len(parts)} packages\n")
    build.out.write_text(spell(document(parts, direct)), encoding="utf-8")


def build(build: Build) -> None:
    """Describe an artefact: itself, its own parts, and what runs beside it."""
    artefact = build.inputs.get("artefact")
    components = build.inputs.get("components")
    members = {
        role.removesuffix(BILL): _load(path)
        for role, path in build.inputs.items()
        if role.endswith(BILL)
    }
    joined = join(
        _root(build.step.arguments, artefact),
        None if components is None else _load(components),
        members,
        label=artefact is None,
    )
    build.out.write_text(spell(joined), encoding="utf-8")


def _root(said: Mapping[str, Any], artefact: Path | None) -> dict[str, Any]:
    """Describe the artefact itself; a release, which carries this, cannot be named in it."""
    path = None if artefact is None else StorePath.parse(artefact.name)
    facts = [("kind", said["kind"])]
    facts += [("storePath", str(artefact))] if artefact is not None else []
    facts += [("builtWith", f"{role} {name}") for role, name in said["built_with"].items()]
    root = {
        "type": _TYPES.get(said["kind"], "application"),
        "bom-ref": f"sealift:{said['name'] if path is None else path}",
        "name": said["name"],
        "properties": [{"name": f"sealift:{key}", "value": text} for key, text in sorted(facts)],
    }
    root |= {"description": said["description"]} if said["description"] else {}
    return root | ({"version": path.digest} if path is not None else {})


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_bytes())
    return loaded


def _read(build: Build) -> Iterator[tuple[tuple[Part, ...], list[str]]]:
    said = build.step.arguments
    if "wheels" in said:
        yield _python(build)
    if "debs" in said:
        yield _debian(build)
    if "npm" in said:
        yield _npm(build)
    if "node" in said:
        yield _node(build)


def _python(build: Build) -> tuple[tuple[Part, ...], list[str]]:
    from builders.parts_python import Locked, read  # noqa: PLC0415 - one ecosystem of several

    said = build.step.arguments
    rows = [
        Locked(name, row["version"], row["integrity"], row["sdist"], build.inputs[_WHEEL + name])
        for name, row in said["wheels"].items()
    ]
    parts = read(rows, python=said["python"], native=said.get("native", {}))
    return parts, [p.ref for p in parts if p.type == "pypi" and p.name in said["direct"]]


def _debian(build: Build) -> tuple[tuple[Part, ...], list[str]]:
    from builders.parts_debian import Locked, read  # noqa: PLC0415 - one ecosystem of several

    rows = [
        Locked(name, row, build.inputs[f"{name}.deb"])
        for name, row in build.step.arguments["debs"].items()
    ]
    return read(rows, build.inputs.get("tree")), []


def _npm(build: Build) -> tuple[tuple[Part, ...], list[str]]:
    from builders.parts_npm import read  # noqa: PLC0415 - one ecosystem of several

    parts, direct = read(build.inputs["modules"], build.step.arguments["npm"])
    return parts, list(direct)


def _node(build: Build) -> tuple[tuple[Part, ...], list[str]]:
    from builders.parts_npm import read_node  # noqa: PLC0415 - one ecosystem of several

    parts = read_node(build.inputs["tree"], build.step.arguments["node"])
    return parts, [parts[0].ref]
