"""`sealift sbom`, `provenance` and `audit` as a user calls them, on bills that lie in a store."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from builders.contents import QUIET
from builders.events import Event, EventKind
from builders.explain import Action, Decision
from builders.parts import Part, Scope
from builders.realise import Result
from builders.sbom_document import document
from builders.sbom_merge import join, spell
from sealift import evaluation
from sealift.build_view import _line
from sealift.commands.build import _explain
from sealift.site import Location

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sealift.site import Site
    from store.path import StorePath
    from tests.sealift.conftest import Folder

FLASK = Part("pypi", "flask", "3.1.2", licences=("BSD-3-Clause",))
REACT = Part("npm", "react", "19.0.0")
ADVISORY = {
    "id": "GHSA-1",
    "aliases": ["CVE-1"],
    "summary": "Bad \x1b[31mcookies",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Flask"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.3"}]}],
        }
    ],
}


@pytest.fixture
def site(folder: Folder) -> Iterator[Site]:
    for name in ("api", "other"):
        folder.recipe(name, "kind: env\nrequirements: [flask]\n")
    folder.recipe("python-3.11", "kind: deb\npackages: [libc6]\n")
    folder.recipe("base", "kind: deb\npackages: [libc6]\n")
    with Location(config=folder.root / "sealift.yaml").open() as opened:
        yield opened


def add(site: Site, name: str, text: str, *references: StorePath) -> StorePath:
    with site.store.session(), site.store.temporary() as place:
        (place / "tree").write_text(text)
        return site.store.add(place / "tree", name, references=references).path


def bill(name: str, artefact: Path | None, *parts: Part) -> dict[str, Any]:
    rows = [] if artefact is None else [{"name": "sealift:storePath", "value": str(artefact)}]
    root = {"type": "application", "bom-ref": name, "name": name, "properties": rows}
    return join(root, document(parts, []), {})


def built(site: Site, name: str, *parts: Part, content: str = "1") -> tuple[StorePath, StorePath]:
    """Put an artefact and its bill where a build would."""
    artefact = add(site, name, content)
    text = spell(bill(name, site.store.real(artefact), *parts))
    told = add(site, f"{name}.cdx.json", text, artefact)
    site.store.add_root(name, artefact)
    site.store.add_root(f"{name}:sbom", told)
    return artefact, told


@pytest.fixture
def api(site: Site) -> StorePath:
    return built(site, "api", FLASK, REACT)[0]


class TestSbom:
    def test_it_gives_the_document(self, site: Site, folder: Folder, api: StorePath) -> None:
        for word in ("api", str(site.store.real(api)), str(api)):
            done = folder.run("sbom", word)
            assert json.loads(done.stdout)["metadata"]["component"]["name"] == "api", done.stderr
        done = folder.run("sbom", "api", "-o", "out.json")
        assert (done.returncode, done.stdout) == (0, "")
        assert json.loads((folder.root / "out.json").read_text())["specVersion"] == "1.6"

    def test_a_summary(self, folder: Folder, api: StorePath) -> None:
        assert api
        lines = folder.run("sbom", "api", "--summary").stdout.splitlines()
        assert lines == [
            "api: 2 components",
            "PyPI         1  BSD-3-Clause 1",
            "npm          1  unknown 1",
        ]

    def test_what_was_not_built_has_none(self, site: Site, folder: Folder) -> None:
        assert site
        done = folder.run("sbom", "other")
        assert done.returncode == 2
        assert "other was not built yet" in done.stderr
        assert "sealift build other" in done.stderr

    def test_an_older_one_is_not_shown_for_a_newer_artefact(
        self, site: Site, folder: Folder, api: StorePath
    ) -> None:
        site.store.add_root("api", add(site, "api", "newer"))
        done = folder.run("sbom", "api")
        assert done.returncode == 2
        assert "older api" in done.stderr
        assert json.loads(folder.run("sbom", str(api)).stdout)

    def test_a_path_that_no_bill_tells_of(self, site: Site, folder: Folder) -> None:
        done = folder.run("sbom", str(add(site, "lonely", "1")))
        assert done.returncode == 2
        assert "no bill of materials tells of" in done.stderr


class TestAudit:
    def advisories(self, folder: Folder, *said: dict[str, Any]) -> str:
        file = folder.root / "advisories.json"
        file.write_text(json.dumps(list(said)))
        return str(file)

    def test_what_is_affected_ends_with_1(self, folder: Folder, api: StorePath) -> None:
        assert api
        done = folder.run("audit", "api", "--advisories", self.advisories(folder, ADVISORY))
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            "unknown  PyPI flask 3.1.2  fixed in 3.1.3",
            "    GHSA-1, CVE-1: Bad cookies",
            "    in api",
        ]
        assert "2 packages, 1 advisories: 1 affected" in done.stderr
        assert "not looked at: 1 of npm" in done.stderr

    def test_json(self, folder: Folder, api: StorePath) -> None:
        assert api
        file = self.advisories(folder, ADVISORY)
        done = folder.run("audit", "api", "--advisories", file, "--json")
        said = json.loads(done.stdout)
        assert done.returncode == 1
        assert said["uncovered"] == {"npm": 1}
        (found,) = said["findings"]
        assert (found["ids"], found["package"], found["in"]) == (["GHSA-1"], "flask", ["api"])

    def test_what_only_helped_to_build_is_left_out_if_asked(
        self, site: Site, folder: Folder
    ) -> None:
        built(site, "api", replace(FLASK, scope=Scope.EXCLUDED))
        file = self.advisories(folder, ADVISORY)
        assert folder.run("audit", "api", "--advisories", file).returncode == 1
        done = folder.run("audit", "api", "--advisories", file, "--runtime")
        assert done.returncode == 0
        assert "    in api (only to build)" in done.stdout.splitlines()

    def test_packages_of_one_source_are_one_entry(self, site: Site, folder: Folder) -> None:
        facts = {"source": "openssl", "sourceVersion": "3.0.1"}
        where = {"arch": "amd64", "distro": "bookworm"}
        names = ("openssl", "libssl3", "libstdc++6")
        built(site, "api", *(Part("deb", n, "3.0.1", "debian", where, facts=facts) for n in names))
        said = {
            "id": "DSA-1",
            "affected": [
                {
                    "package": {"ecosystem": "debian:12", "name": "openssl"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
                }
            ],
        }
        done = folder.run("audit", "api", "--advisories", self.advisories(folder, said))
        assert done.stdout.splitlines() == [
            "unknown  Debian:12 openssl 3.0.1  no fix",
            "    DSA-1",
            "    libssl3 in api",
            "    libstdc++6 in api",
            "    openssl in api",
        ]

    def test_what_no_advisory_can_name_is_told(self, site: Site, folder: Folder) -> None:
        carried = {"carried": "inside of a wheel"}
        built(
            site,
            "api",
            FLASK,
            Part("generic", "node", "20.20.2"),
            Part("library", "libwebp", "1.5.0", facts=carried),
            Part("file", "libblas.so", "", integrity=f"sha256-{'A' * 43}=", facts=carried),
        )
        file = self.advisories(folder, ADVISORY)
        done = folder.run("audit", "api", "--advisories", file)
        nothing = "inside wheels that nothing identifies"
        assert done.stderr.splitlines() == [
            "2 packages, 1 advisories: 1 affected",
            "not looked at: node 20.20.2: generic packages are matched with no advisories",
            f"not looked at: 2 libraries {nothing}: libblas.so, libwebp 1.5.0",
        ]
        said = json.loads(folder.run("audit", "api", "--advisories", file, "--json").stdout)
        assert said["unmatched"] == {"generic": ["node 20.20.2"]}
        assert said["unidentified"] == ["libblas.so", "libwebp 1.5.0"]
        summary = folder.run("sbom", "api", "--summary").stdout.splitlines()
        assert "carried      2  unknown 2" in summary

    def test_an_audit_of_nothing_is_no_answer(self, folder: Folder, api: StorePath) -> None:
        assert api
        said = json.loads(json.dumps(ADVISORY).replace("PyPI", "Maven"))
        done = folder.run("audit", "api", "--advisories", self.advisories(folder, said))
        assert (done.returncode, done.stdout) == (2, "")
        assert "nothing was looked at" in done.stderr
        assert "[bad-advisories]" in done.stderr

    def test_nothing_affected_ends_with_0(self, folder: Folder, api: StorePath) -> None:
        assert api
        file = self.advisories(folder, {**ADVISORY, "withdrawn": "2026-01-01T00:00:00Z"})
        done = folder.run("audit", "api", "--advisories", file)
        assert (done.returncode, done.stdout) == (0, "")

    def test_advisories_that_cannot_be_read_are_one_error(
        self, folder: Folder, api: StorePath
    ) -> None:
        assert api
        (folder.root / "bad.json").write_text("{")
        done = folder.run("audit", "api", "--advisories", "bad.json")
        assert done.returncode == 2
        assert "bad.json" in done.stderr
        assert "[bad-advisories]" in done.stderr
        assert "Traceback" not in done.stderr

    def test_advisories_must_be_brought(self, folder: Folder, api: StorePath) -> None:
        assert api
        done = folder.run("audit", "api")
        assert done.returncode == 2
        assert "--advisories" in done.stderr


class TestProvenance:
    def test_what_was_not_built_here(self, folder: Folder, api: StorePath) -> None:
        assert api
        done = folder.run("provenance", "api")
        assert done.returncode == 2
        assert "nothing is recorded" in done.stderr

    def test_what_was(self, site: Site, folder: Folder, api: StorePath) -> None:
        said: dict[str, Any] = {
            "subject": [{"name": str(api), "digest": {"sha256": "ab"}}],
            "predicate": {
                "buildDefinition": {
                    "externalParameters": {
                        "recipe": "api",
                        "step": "api",
                        "builder": "pex",
                        "storeDir": "/s",
                        "sandbox": "bubblewrap",
                    },
                    "internalParameters": {"derivationDigest": "cd"},
                    "resolvedDependencies": [
                        {
                            "name": "source",
                            "digest": {"sealiftTree": "0123456789abcdef"},
                            "annotations": {
                                "files": 3,
                                "revision": "fe",
                                "dirty": True,
                                "path": "api/",
                            },
                        },
                        {"name": "python", "uri": f"file:///s/{api}", "digest": {"sha256": "ef"}},
                    ],
                },
                "runDetails": {
                    "builder": {"version": {"code": "0123456789abcdef"}},
                    "metadata": {"startedOn": "one", "finishedOn": "two"},
                },
            },
        }
        file = site.store.var_dir / "provenance" / f"{api}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(said))
        lines = folder.run("provenance", "api").stdout.splitlines()
        assert lines == [
            f"path       /s/{api}",
            "nar        sha256 ab",
            "recipe     api, step api, builder pex",
            "built      one to two, sandbox bubblewrap",
            "sealift    not installed, code 0123456789ab",
            "derivation cd",
            "source     3 files, tree 0123456789ab, commit fe (changed since), api/",
            f"input      python  {api}",
        ]
        assert json.loads(folder.run("provenance", "api", "--json").stdout) == said
        del said["predicate"]["runDetails"]["metadata"]
        file.write_text(json.dumps(said))
        done = folder.run("provenance", "api")
        assert done.returncode == 3
        assert "[bad-provenance]" in done.stderr
        assert "Traceback" not in done.stderr
        said["predicate"]["runDetails"]["metadata"] = {"startedOn": "one", "finishedOn": "two"}
        gone = said["predicate"]["buildDefinition"]["resolvedDependencies"][0]["annotations"]
        gone |= {"revision": None, "dirty": None, "reason": "git is not installed"}
        file.write_text(json.dumps(said))
        assert "no commit: git is not installed" in folder.run("provenance", "api").stdout


class TestKeeping:
    def test_a_bill_stays_as_long_as_its_artefact_is_a_root(
        self, site: Site, folder: Folder, api: StorePath
    ) -> None:
        told = site.path("api:sbom")
        folder.run("store", "gc", "--all")
        assert site.store.valid([api, told]) == {api, told}
        site.store.remove_root("api")
        folder.run("store", "gc", "--all", "--dry-run")
        assert site.store.valid([api, told]) == {api, told}
        done = folder.run("store", "gc", "--all")
        assert done.returncode == 0, done.stderr
        assert not site.store.valid([api, told])

    def test_a_bill_that_is_gone_is_missed_by_the_fast_way_out(
        self, site: Site, api: StorePath
    ) -> None:
        told = site.path("api:sbom")
        outputs = {"api": str(site.store.real(api))}
        evaluation.remember(site, ["api"], outputs, beside=[told])
        assert evaluation.recall(site, ["api"]) == outputs
        site.store.real(told).unlink()
        assert evaluation.recall(site, ["api"]) is None


@pytest.mark.parametrize("end", QUIET)
def test_bills_do_not_clutter_a_build_but_their_failures_show(end: str) -> None:
    done = Event(EventKind.FINISHED, f"api{end}", "api", 1.0)
    assert _line(done) is None
    assert _line(Event(EventKind.FAILED, f"api{end}", "api", detail="why")) is not None
    assert _line(Event(EventKind.FINISHED, "api", "api", 1.0)) is not None


@pytest.mark.parametrize("end", QUIET)
def test_a_dry_run_hides_what_a_build_hides(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    def result(*keys: str) -> Result:
        made = tuple(Decision(key, key, Action.BUILD, ("no earlier build",)) for key in keys)
        return Result({}, {}, {}, (), (), {}, decisions=made)

    _explain(result("api", f"api{end}"), as_json=False)
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.out.splitlines()] == ["api"]
    _explain(result("api", f"api{end}"), as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 2
    _explain(result(f"api{end}"), as_json=False)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "only bills of materials would be written\n")
