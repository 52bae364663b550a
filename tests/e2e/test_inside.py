"""What is inside of the built platform: bills of materials, provenance, advisories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders.boms import checked, facts, purls

if TYPE_CHECKING:
    from tests.e2e.platform import Platform

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.sandbox]


def bill(built: Platform, name: str) -> dict[str, Any]:
    return checked(built.sealift("sbom", name).out)


def recipes(built: Platform) -> dict[str, str]:
    rows = [json.loads(line) for line in built.sealift("list", "--json").out.splitlines()]
    return {row["name"]: row["path"] for row in rows if row["path"]}


def test_a_bill_tells_of_all_that_an_artefact_refers_to(built: Platform) -> None:
    made = {Path(path).name: name for name, path in recipes(built).items()}
    for artefact, name in made.items():
        document = bill(built, name)
        parts = [document["metadata"]["component"], *document["components"]]
        told = {Path(path).name for part in parts for path in facts(part, "storePath")}
        lines = built.sealift("path-info", name, "--closure", "--json").out.splitlines()
        reached = {json.loads(line)["path"] for line in lines}
        # A release is in no store path of its own, and so is not named in its bill.
        assert (reached & made.keys()) - told <= {artefact}, name


def test_a_release_has_packages_of_all_ecosystems_and_says_whose(built: Platform) -> None:
    document = bill(built, "release")
    kinds = {purl.partition("/")[0] for purl in purls(document)}
    assert {"pkg:pypi", "pkg:npm", "pkg:deb"} <= kinds
    (flask,) = [part for part in document["components"] if part["name"] == "flask"]
    assert "backend_5010" in facts(flask, "member")
    interpreters = [part for part in document["components"] if part["name"] == "python-3.11"]
    assert [part["type"] for part in interpreters] == ["platform"]


def test_an_advisory_names_the_services(built: Platform) -> None:
    package = {"ecosystem": "PyPI", "name": "Flask"}
    events = [{"introduced": "0"}]
    said = {
        "id": "TEST-1",
        "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
    }
    file = built.root / "advisory.json"
    file.write_text(json.dumps(said))
    done = built.try_sealift("audit", "--advisories", str(file), "--json")
    assert done.code == 1
    (found,) = done.json["findings"]
    assert "backend_5010" in found["in"]
    assert built.try_sealift("audit", "websocket_5011", "--advisories", str(file)).code == 0
    unlooked = built.try_sealift("audit", "nginx", "--advisories", str(file))
    assert unlooked.code == 2
    assert "nothing was looked at" in unlooked.err


def test_how_a_service_was_built(built: Platform) -> None:
    said = built.sealift("provenance", "backend_5010", "--json").json
    artefact = recipes(built)["backend_5010"]
    assert said["subject"][0]["name"] == Path(artefact).name
    needed = {each["name"] for each in said["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert {"source", "python", "env"} <= needed
