"""Advisories: read strictly, matched by OSV's rules; what is not understood is told."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import advisories, cvss
from builders.advisories import AdvisoryError, Affected, Range
from builders.audit import Package, audit, packages
from builders.ecosystems import canonical
from builders.parts import Part, Scope
from builders.ranges import is_affected
from builders.sbom_document import document
from builders.sbom_merge import join
from builders.semver import precedence

if TYPE_CHECKING:
    from pathlib import Path


def affected(
    ecosystem: str, *ranges: dict[str, str] | tuple[dict[str, str], ...], versions: Any = ()
) -> Affected:
    """Make what an advisory says: each range is its events."""
    made = tuple(
        Range("ECOSYSTEM", tuple((k, v) for event in events for k, v in event.items()))
        for events in ((each,) if isinstance(each, dict) else each for each in ranges)
    )
    return Affected(ecosystem, "it", made, tuple(versions), "high", None)


def span(introduced: str, fixed: str) -> tuple[dict[str, str], ...]:
    return ({"introduced": introduced}, {"fixed": fixed})


class TestRanges:
    @pytest.mark.parametrize(
        ("said", "inside", "outside"),
        [
            (affected("PyPI", span("0", "3.1.3")), ["0.1", "3.1.2", "3.1.3rc1"], ["3.1.3", "4"]),
            (affected("PyPI", span("1.0", "1.0.post1")), ["1.0", "1.0+cu118"], ["0.9", "1.0.1"]),
            (affected("PyPI", versions=["1.0"]), ["1.0", "1.0.0"], ["1.0.1"]),
            (
                affected("PyPI", ({"introduced": "1"}, {"last_affected": "2"})),
                ["1", "2.0"],
                ["2.0.1", "0.9"],
            ),
            (
                affected("PyPI", (*span("0", "1"), *span("2", "3"))),
                ["0.5", "2", "2.9"],
                ["1", "1.5", "3"],
            ),
            # Events need not stand in the order of their versions.
            (
                affected("PyPI", ({"fixed": "3"}, {"introduced": "2"}, *span("0", "1"))),
                ["0.5", "2.5"],
                ["1.5", "3"],
            ),
            (affected("npm", span("1.0.0-0", "1.0.0")), ["1.0.0-rc.1"], ["1.0.0", "0.9.9"]),
            (affected("npm", span("0", "10.0.0")), ["9.0.0"], ["10.0.0"]),
            (affected("npm", span("2.0.0-beta.2", "3.0.0")), ["2.0.0-beta.11"], ["2.0.0-beta.1"]),
            (
                affected("npm", ({"introduced": "0"}, {"limit": "2.0.0"})),
                ["1.9.9"],
                ["2.0.0", "3.0.0"],
            ),
            (affected("npm", ({"introduced": "0"}, {"limit": "*"})), ["99.0.0"], []),
            (
                affected("Debian:12", span("0", "3.0.11-1~deb12u2")),
                ["3.0.11-1~deb12u1", "1.1.1"],
                ["3.0.11-1~deb12u2", "3.0.11-1", "1:0.1"],
            ),
            (affected("Debian:12", {"introduced": "0"}), ["1:99-1"], []),
            (affected("PyPI", {"introduced": "2"}), ["2", "3"], ["1"]),
        ],
    )
    def test_versions(self, said: Affected, inside: list[str], outside: list[str]) -> None:
        assert [version for version in inside if not is_affected(version, said)] == []
        assert [version for version in outside if is_affected(version, said)] == []

    @pytest.mark.parametrize(
        ("version", "said"),
        [
            ("not a version", affected("PyPI", span("1", "2"))),
            ("1.0", affected("PyPI", span("0", "not a version"))),
            ("1.0", affected("PyPI", span("not a version", "2"))),
            ("1.0", affected("PyPI", ({"introduced": "0"}, {"limit": "not a version"}))),
            ("1.0", affected("An ecosystem of its own", span("0", "0.5"))),
        ],
    )
    def test_what_cannot_be_compared_counts_as_affected(self, version: str, said: Affected) -> None:
        assert is_affected(version, said)

    def test_an_advisory_without_versions_is_about_all_of_them(self) -> None:
        assert is_affected("1.0", affected("PyPI"))
        assert is_affected("not a version", affected("Debian:12"))

    @pytest.mark.parametrize(
        ("said", "inside", "outside"),
        [
            (affected("PyPI", versions=["1.0"]), ["1.0", "1.0+cu118"], ["1.0.post1"]),
            (affected("PyPI", versions=["1.0+a"]), ["1.0+a"], ["1.0", "1.0+b"]),
            (affected("PyPI", ({"introduced": "0"}, {"last_affected": "1"})), ["1+a"], ["1.0.1+a"]),
            (affected("PyPI", span("0", "1+fix")), ["1", "0.9+fix"], ["1+fix", "1.1"]),
        ],
    )
    def test_local_versions_are_those_of_their_release(
        self, said: Affected, inside: list[str], outside: list[str]
    ) -> None:
        assert [version for version in inside if not is_affected(version, said)] == []
        assert [version for version in outside if is_affected(version, said)] == []

    @pytest.mark.parametrize(
        ("spelled", "name"),
        [
            ("pypi", "PyPI"),
            ("NPM", "npm"),
            ("debian:12", "Debian:12"),
            ("Debian:bookworm", "Debian:12"),
            ("Ubuntu:Pro:22.04:LTS", "Ubuntu:22.04:LTS"),
            ("ubuntu:22.04", "Ubuntu:22.04:LTS"),
            ("Ubuntu:Pro:FIPS:22.04:LTS", "Ubuntu:Pro:FIPS:22.04:LTS"),
            ("Maven", "Maven"),
            ("Debian", "Debian"),
        ],
    )
    def test_ecosystems_have_one_spelling(self, spelled: str, name: str) -> None:
        assert canonical(spelled) == name
        assert canonical(name) == name

    def test_ranges_of_commits_say_nothing_of_versions(self) -> None:
        said = affected("PyPI", span("0", "9"))
        by_commit = tuple(replace(each, type="GIT") for each in said.ranges)
        assert not is_affected("1", replace(said, ranges=by_commit))

    @given(st.lists(st.integers(0, 9), min_size=2, max_size=6, unique=True), st.integers(0, 9))
    def test_events_are_what_their_intervals_are(self, bounds: list[int], version: int) -> None:
        edges = sorted(bounds)[: len(bounds) // 2 * 2]
        pairs = list(zip(edges[::2], edges[1::2], strict=True))
        events = tuple(e for low, high in pairs for e in span(f"1.{low}", f"1.{high}"))
        expected = any(low <= version < high for low, high in pairs)
        assert is_affected(f"1.{version}", affected("PyPI", events)) is expected


def test_precedence_as_the_specification_lists_it() -> None:
    ordered = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11"
    versions = [*ordered.split(), "1.0.0-rc.1", "1.0.0", "1.0.1", "1.9.0", "1.10.0", "2"]
    assert sorted(set(versions), key=precedence) == versions
    assert precedence("v1.2.3+build") == precedence("1.2.3")
    with pytest.raises(ValueError, match="latest"):
        precedence("latest")


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        # Examples of FIRST's own guide to CVSS 3.1.
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N/E:P", 7.5),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N", None),
        ("CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", None),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
        ("7.5", None),
    ],
)
def test_base_scores(vector: str, score: float | None) -> None:
    assert cvss.base_score(vector) == score


def osv(name: str, ecosystem: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    """Write an advisory about one package."""
    package = {"ecosystem": ecosystem, "name": name}
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}]
    return {"id": "OSV-1", "affected": [{"package": package, "ranges": ranges}], **more}


OLD_FLASK = osv("Flask", "PyPI", {"introduced": "0"}, {"fixed": "3.1.3"}, summary="Bad cookies")


PACKAGE = b"""{"id": "a", "affected": [
    {"package": {"name": "x", "ecosystem": "npm"}, "ranges": [%s]}
]}"""


class TestRead:
    def test_a_file_a_list_an_answer_a_folder_a_zip(self, tmp_path: Path) -> None:
        folder = tmp_path / "all"
        (folder / "deep").mkdir(parents=True)
        (folder / "one.json").write_text(json.dumps(OLD_FLASK))
        (folder / "deep" / "two.json").write_text(json.dumps([OLD_FLASK, OLD_FLASK]))
        (folder / "deep" / "three.json").write_text(json.dumps({"vulns": [OLD_FLASK]}))
        (folder / "README.md").write_text("not an advisory")
        with zipfile.ZipFile(folder / "all.zip", "w") as archive:
            archive.writestr("OSV-1.json", json.dumps(OLD_FLASK))
            archive.writestr("index.csv", "OSV-1")
        found = list(advisories.read(folder))
        assert len(found) == 5
        assert {each.id for each in found} == {"OSV-1"}

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"7",
            b'["OSV-1"]',
            b'{"affected": []}',
            b'{"id": 7}',
            b'{"id": "a", "affected": [{"package": {"name": "x"}}]}',
            b'{"id": "a", "affected": 7}',
            b'{"id": "a", "affected": ["x"]}',
            PACKAGE % b'{"type": "SEMVER"}',
            PACKAGE % b'{"type": "SEMVER", "events": [{"introduced": 0}]}',
            b'{"id": "a", "severity": [{"type": "CVSS_V3"}]}',
            b"\xff\xfe",
            b"[" * 100_000,
        ],
    )
    def test_what_is_no_advisory_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.json").write_text(json.dumps(OLD_FLASK))
        (tmp_path / "b.json").write_bytes(content)
        with pytest.raises(AdvisoryError) as caught:
            list(advisories.read(tmp_path))
        assert caught.value.where == str(tmp_path / "b.json")

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ({"id": 7}, "`id` has 7, which is not a text"),
            ({"id": "a", "affected": ["x"]}, '`affected` has "x", which is not an object'),
            ({"id": "a", "affected": {}}, "`affected` has {}, which is not a list"),
            ({"id": "a", "affected": [{"package": "x"}]}, '`package` has "x", which is not an obj'),
            ({"affected": []}, "'id' is missing"),
            ({"id": "a", "severity": [7]}, "`severity` has 7, which is not an object"),
        ],
    )
    def test_it_says_what_is_wrong(self, content: dict[str, Any], told: str) -> None:
        with pytest.raises(AdvisoryError) as caught:
            advisories.parse(content, "here")
        assert told in caught.value.reason

    def test_files_that_name_no_package_are_no_good_news(self, tmp_path: Path) -> None:
        file = tmp_path / "a.json"
        for said in ({"id": "a"}, {"id": "a", "affected": [{"ranges": []}]}):
            file.write_text(json.dumps([said, said]))
            with pytest.raises(AdvisoryError, match="name no package"):
                list(advisories.read(file))
        file.write_text(json.dumps([{"id": "a"}, OLD_FLASK]))
        assert len(list(advisories.read(file))) == 2

    def test_a_damaged_member_of_a_zip_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "all.zip"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("OSV-1.json", "{")
        with pytest.raises(AdvisoryError) as caught:
            list(advisories.read(file))
        assert caught.value.where == f"{file}:OSV-1.json"

    def test_a_damaged_zip_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "all.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("OSV-1.json", json.dumps(OLD_FLASK))
        whole = file.read_bytes()
        for content in (whole[:-30], b"", whole.replace(whole[45:60], bytes(15))):
            file.write_bytes(content)
            with pytest.raises(AdvisoryError) as caught:
                list(advisories.read(file))
            assert str(caught.value.where).startswith(str(file))

    def test_a_member_that_would_fill_the_memory_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(advisories, "LARGEST", 1000)
        with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("OSV-1.json", " " * 1001)
        (tmp_path / "all.json").write_text(" " * 1001)
        for name in ("all.zip", "all.json"):
            with pytest.raises(AdvisoryError, match="larger than") as caught:
                list(advisories.read(tmp_path / name))
            assert "split" in str(caught.value.hint)

    def test_no_advisories_are_no_good_news(self, tmp_path: Path) -> None:
        (tmp_path / "list.json").write_text("[]")
        for place in (tmp_path, tmp_path / "list.json"):
            with pytest.raises(AdvisoryError, match="no advisories"):
                list(advisories.read(place))
        with pytest.raises(AdvisoryError, match="cannot be read"):
            list(advisories.read(tmp_path / "gone.json"))

    @pytest.mark.parametrize(
        ("said", "severity"),
        [
            ({"severity": [{"score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}, "critical"),
            ({"database_specific": {"severity": "MODERATE"}}, "medium"),
            ({"severity": [{"score": "CVSS:4.0/AV:N"}]}, "unknown"),
            ({"database_specific": {"severity": 7}}, "unknown"),
            ({"database_specific": None}, "unknown"),
            ({}, "unknown"),
        ],
    )
    def test_severity(self, said: dict[str, Any], severity: str) -> None:
        found = advisories.parse({**OLD_FLASK, **said}, "here")
        assert [each.severity for each in found.affected] == [severity]

    def test_a_package_s_own_severity_comes_first(self) -> None:
        said = osv("openssl", "Debian:12", {"introduced": "0"})
        said["affected"][0]["ecosystem_specific"] = {"urgency": "unimportant"}
        said["database_specific"] = {"severity": "CRITICAL"}
        assert advisories.parse(said, "here").affected[0].severity == "low"


PARTS = (
    Part("pypi", "flask", "3.1.2"),
    Part("npm", "core", "1.0.0", "@vue", scope=Scope.EXCLUDED),
    Part(
        "deb",
        "libssl3",
        "3.0.22-1~deb12u2+b1",
        "debian",
        {"arch": "amd64", "distro": "bookworm"},
        facts={"source": "openssl", "sourceVersion": "3.0.22-1~deb12u2"},
    ),
    Part("rpm", "libXau", "1.0.9-3.el8", "almalinux"),
    Part("library", "libwebp", "1.5.0", facts={"carried": "inside of a wheel"}),
)


def bill() -> dict[str, Any]:
    """Make the bill of a release with two members."""
    root = {"type": "application", "bom-ref": "r", "name": "r"}
    members = {
        name: join({**root, "bom-ref": name}, document(parts, []), {})
        for name, parts in (("api", PARTS), ("web", PARTS[:2]))
    }
    return join(root, None, members, label=True)


def run(*said: dict[str, Any]) -> Any:
    found = [advisories.parse(each, "here") for each in said]
    return audit(packages(bill(), "release"), found)


class TestAudit:
    def test_packages_as_advisories_name_them(self) -> None:
        found = {each.name: (each.ecosystem, each.version) for each in packages(bill(), "r")}
        assert found == {
            "flask": ("PyPI", "3.1.2"),
            "@vue/core": ("npm", "1.0.0"),
            "openssl": ("Debian:12", "3.0.22-1~deb12u2"),
            "libXau": ("rpm", "1.0.9-3.el8"),
            "libwebp": ("unidentified", "1.5.0"),
        }
        members = {each.name: each.members for each in packages(bill(), "r")}
        assert members["flask"] == ("api", "web")
        assert members["openssl"] == ("api",)

    def test_a_bill_without_members_is_its_own(self) -> None:
        root = {"type": "application", "bom-ref": "r", "name": "r"}
        alone = join(root, document(PARTS[:1], []), {})
        assert [each.members for each in packages(alone, "api")] == [("api",)]

    def test_what_two_bills_have_is_looked_at_once(self) -> None:
        root = {"type": "application", "bom-ref": "r", "name": "r"}
        alone = join(root, document(PARTS[1:2], []), {})
        twice = [*packages(alone, "tool"), *packages(bill(), "r")]
        vue = advisories.parse(osv("@vue/core", "npm", {"introduced": "0"}), "here")
        report = audit(twice, [vue])
        assert report.packages == 4
        assert [each.package.members for each in report.findings] == [("api", "tool", "web")]

    def test_a_finding_says_all_that_is_needed(self) -> None:
        score = {"severity": [{"score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}]}
        (found,) = run({**OLD_FLASK, **score, "aliases": ["CVE-1"]}).findings
        assert (found.ids, found.aliases, found.summary) == (("OSV-1",), ("CVE-1",), "Bad cookies")
        assert (found.severity, found.score, found.fixed) == ("high", 7.5, ("3.1.3",))
        assert found.package == Package(
            "PyPI", "flask", "3.1.2", "pkg:pypi/flask@3.1.2", "required", ("api", "web")
        )

    def test_a_debian_package_is_known_by_its_source_and_release(self) -> None:
        fixed = {"fixed": "3.0.23-1~deb12u1"}
        assert run(osv("openssl", "Debian:12", {"introduced": "0"}, fixed)).findings
        assert run(osv("openssl", "Debian", {"introduced": "0"}, fixed)).findings
        for name, ecosystem in (("openssl", "Debian:13"), ("libssl3", "Debian:12")):
            assert not run(osv(name, ecosystem, {"introduced": "0"}, fixed)).findings
        # The rebuild's own version, with its +b1, is past this fix; the source's is what counts.
        last = {"last_affected": "3.0.22-1~deb12u2"}
        assert run(osv("openssl", "Debian:12", {"introduced": "0"}, last)).findings

    def test_one_flaw_by_two_names_is_one_finding(self) -> None:
        (found,) = run(
            {**OLD_FLASK, "id": "PYSEC-1", "aliases": ["CVE-1"]},
            {**OLD_FLASK, "id": "OTHER-1", "aliases": ["OTHER-2"]},
            {
                **OLD_FLASK,
                "id": "GHSA-1",
                "aliases": ["CVE-1", "OTHER-1"],
                "database_specific": {"severity": "HIGH"},
            },
        ).findings
        assert found.ids == ("GHSA-1", "OTHER-1", "PYSEC-1")
        assert found.aliases == ("CVE-1", "OTHER-2")
        assert found.severity == "high"
        assert len(run(OLD_FLASK, {**OLD_FLASK, "id": "OSV-2"}).findings) == 2

    def test_the_worst_comes_first(self) -> None:
        vue = osv("@vue/core", "npm", {"introduced": "0"}, id="LOW")
        report = run(
            {**vue, "database_specific": {"severity": "LOW"}},
            {**OLD_FLASK, "database_specific": {"severity": "CRITICAL"}},
        )
        assert [each.severity for each in report.findings] == ["critical", "low"]
        assert report.findings[1].package.scope == "excluded"

    def test_what_was_withdrawn_does_not_count(self) -> None:
        report = run({**OLD_FLASK, "withdrawn": "2026-01-01T00:00:00Z"})
        assert (report.findings, report.advisories, report.withdrawn) == ((), 0, 1)

    def test_it_says_what_it_did_not_look_at(self) -> None:
        by_commit = osv("flask", "PyPI", {"introduced": "0"}, id="GIT-1")
        by_commit["affected"][0]["ranges"][0]["type"] = "GIT"
        report = run(by_commit)
        assert not report.findings
        assert report.by_commit == ("GIT-1",)
        assert report.uncovered == {"Debian:12": 1, "npm": 1}
        assert report.unmatched == {"rpm": ("libXau 1.0.9-3.el8",)}
        assert report.unidentified == ("libwebp 1.5.0",)
        assert (report.packages, report.looked_at) == (4, 1)

    def test_an_advisory_without_ranges_is_not_one_of_commits(self) -> None:
        said = osv("flask", "pypi")
        said["affected"][0]["ranges"] = []
        report = run(said)
        assert (len(report.findings), report.by_commit) == (1, ())

    def test_a_fix_that_is_no_version_is_told_as_such(self) -> None:
        (found,) = run(osv("flask", "PyPI", {"introduced": "0"}, {"fixed": "the next"})).findings
        assert (found.fixed, found.unclear) == ((), ("the next",))

    def test_the_nearest_fix_of_each_range(self) -> None:
        said = osv("flask", "PyPI")
        said["affected"][0]["ranges"] = [
            {"type": "ECOSYSTEM", "events": [*span("0", "4.0"), {"fixed": "5.0"}]},
            {"type": "SEMVER", "events": list(span("0", "4.0"))},
            {"type": "ECOSYSTEM", "events": list(span("3", "3.1.9"))},
            {"type": "GIT", "events": list(span("0", "abc"))},
        ]
        assert run(said).findings[0].fixed == ("4.0", "3.1.9")

    def test_a_repository_alone_names_no_package(self) -> None:
        assert not run({"id": "a", "affected": [{"ranges": []}]}).findings
