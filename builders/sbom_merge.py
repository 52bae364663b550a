"""Bills of materials joined into one: an artefact, its own parts, and what runs beside it.

Pure, on CycloneDX documents as JSON values, because a change of code makes a new bill of an
artefact whose parts are as they were: nothing of them is computed again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Document: TypeAlias = "dict[str, Any]"

ROOT = "root"
MEMBER = "sealift:member"
"""A property: the member of a release in which a component is; it may be there several times."""
TOOLS = {"components": [{"type": "application", "name": "sealift"}]}
SCOPES = ("excluded", "optional", "required")
"""From the least needed."""


def join(
    root: Mapping[str, Any],
    own: Document | None,
    members: Mapping[str, Document],
    *,
    label: bool = False,
) -> Document:
    """Describe the artefact `root` by its own parts and by the documents of its members.

    Every reference is unique; a component that several documents have is there once, as needed
    as in any of them. With `label` each component says which members have it.
    """
    ref = root["bom-ref"]
    joined = _Joined()
    joined.depend(ref, ())
    if own is not None:
        joined.take(own, {own["metadata"]["component"]["bom-ref"]: ref})
    for name, document in sorted(members.items()):
        part = document["metadata"]["component"]
        joined.add(part, member=name if label else None)
        joined.take(document, {}, member=name if label else None)
        joined.depend(ref, [part["bom-ref"]])
    return _numbered(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": dict(root), "tools": TOOLS},
            "components": joined.components(),
            "dependencies": joined.dependencies(),
            **joined.compositions(),
        }
    )


def spell(document: Document) -> str:
    """Give the one text of a document."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


class _Joined:
    """Components and dependencies by reference."""

    def __init__(self) -> None:
        self._components: dict[str, Document] = {}
        self._needs: dict[str, set[str]] = {}
        self._gaps: dict[str, set[str]] = {}

    def take(
        self, document: Document, renamed: Mapping[str, str], member: str | None = None
    ) -> None:
        for component in document.get("components", ()):
            self.add(component, member=member)
        for row in document.get("dependencies", ()):
            needed = [renamed.get(each, each) for each in row.get("dependsOn", ())]
            self.depend(renamed.get(row["ref"], row["ref"]), needed)
        for row in document.get("compositions", ()):
            self._gaps.setdefault(row["aggregate"], set()).update(row["assemblies"])

    def add(self, component: Document, *, member: str | None) -> None:
        ref = component["bom-ref"]
        known = self._components.setdefault(ref, dict(component))
        if "scope" in known:
            known["scope"] = max(
                known["scope"], component.get("scope", "required"), key=SCOPES.index
            )
        if member is not None:
            row = {"name": MEMBER, "value": member}
            known["properties"] = _rows([*known.get("properties", ()), row])

    def depend(self, ref: str, needed: Iterable[str]) -> None:
        self._needs.setdefault(ref, set()).update(needed)

    def components(self) -> list[Document]:
        return [self._components[ref] for ref in sorted(self._components)]

    def dependencies(self) -> list[Document]:
        return [
            {"ref": ref, **({"dependsOn": sorted(needed)} if needed else {})}
            for ref, needed in sorted(self._needs.items())
        ]

    def compositions(self) -> Document:
        """Name the components of which more is inside than is listed."""
        rows = [
            {"aggregate": aggregate, "assemblies": sorted(refs)}
            for aggregate, refs in sorted(self._gaps.items())
        ]
        return {"compositions": rows} if rows else {}


def _rows(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    found = sorted({(row["name"], row["value"]) for row in rows})
    return [{"name": name, "value": value} for name, value in found]


def _numbered(document: Document) -> Document:
    """Give a document the serial number that its own contents make."""
    digest = hashlib.sha256(spell(document).encode()).digest()
    return {**document, "serialNumber": uuid.UUID(bytes=digest[:16], version=4).urn}
