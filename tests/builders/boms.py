"""What every bill of materials must hold to; also CycloneDX's own schema where it can be asked."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from cyclonedx.exception import MissingOptionalDependencyException
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL


def checked(text: str) -> dict[str, Any]:
    """Look a document over, and give it."""
    document: dict[str, Any] = json.loads(text)
    root = document["metadata"]["component"]
    refs = Counter([root["bom-ref"], *(each["bom-ref"] for each in document["components"])])
    assert set(refs.values()) == {1}, refs.most_common(3)
    rows = {row["ref"]: row.get("dependsOn", []) for row in document["dependencies"]}
    assert rows.keys() == refs.keys()
    assert {each for needed in rows.values() for each in needed} <= refs.keys()
    assert reached(rows, root["bom-ref"]) == refs.keys()
    for component in document["components"]:
        if "purl" in component:
            assert str(PackageURL.from_string(component["purl"])) == component["purl"]
    assert "timestamp" not in document["metadata"]
    assert violations(text) is None
    return document


def reached(rows: dict[str, list[str]], start: str) -> set[str]:
    """Follow the graph."""
    found = {start}
    waiting = [start]
    while waiting:
        for each in rows[waiting.pop()]:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def violations(text: str) -> str | None:
    """Ask CycloneDX's schema; its validator needs `cyclonedx-python-lib[json-validation]`."""
    try:
        found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException:
        return None
    return None if found is None else repr(found)


def can_validate() -> bool:
    """Tell whether CycloneDX's validator is here."""
    try:
        JsonStrictValidator(SchemaVersion.V1_6).validate_str("{}")
    except MissingOptionalDependencyException:
        return False
    return True


def purls(document: dict[str, Any]) -> list[str]:
    """List the package URLs."""
    return [each["purl"] for each in document["components"] if "purl" in each]


def facts(component: dict[str, Any], name: str) -> list[str]:
    """List the values of one of our properties."""
    rows = component.get("properties", ())
    return [row["value"] for row in rows if row["name"] == f"sealift:{name}"]
