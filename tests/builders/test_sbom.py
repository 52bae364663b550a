"""Bills of materials: what goes in, that they are valid and repeatable, and when they are made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import contents, release
from builders.deb_pins import DebLock, Pinned
from builders.kinds import BUILDERS
from builders.lock_files import debs_file
from builders.parts import Part, Scope, Whole
from builders.plan import plan
from builders.project import Project
from builders.realise import realise
from builders.recipe import Kind, Recipe
from builders.sbom_document import document
from builders.sbom_merge import ROOT, join, spell
from builders.settings import load_settings
from builders.step import Step
from store.errors import InputError
from store.local import LocalStore
from tests.builders.boms import can_validate, checked, facts, purls, violations
from tests.builders.registry import serving
from tests.builders.wheels import (
    BUILDERS_HERE,
    PLANNERS_HERE,
    Site,
    gunicorn,
    make_wheel,
    real,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builders.build import Build
    from builders.plan import Plan
    from builders.realise import Result
    from builders.step import SourceTree
    from tests.builders.workbench import Bench

WITH_BILLS = BUILDERS_HERE | {name: BUILDERS[name] for name in ("components", "sbom")}


def root(name: str = "it") -> dict[str, Any]:
    return {"type": "application", "bom-ref": f"sealift:{name}", "name": name}


def bill_of(name: str, *parts: Part, scope: Scope = Scope.REQUIRED) -> dict[str, Any]:
    return join(root(name), document([replace(p, scope=scope) for p in parts], []), {})


PIN = "sha256-" + "A" * 43 + "="
FLASK = Part("pypi", "flask", "3.1.3", licences=("BSD-3-Clause",))
REACT = Part("npm", "react", "19.0.0", needs=("pkg:npm/scheduler@0.1.0",))
SCHEDULER = Part("npm", "scheduler", "0.1.0")


class TestDocument:
    def test_it_is_valid_and_always_the_same(self) -> None:
        parts = [
            REACT,
            SCHEDULER,
            replace(FLASK, licences=("MIT OR Apache-2.0",)),
            Part("pypi", "a", "1", licences=("MIT", "GPL-2+", "A or B")),
            Part("deb", "b", "1:1~x", "debian", {"arch": "amd64"}, facts={"source": "bb"}),
        ]
        one = spell(join(root(), document(parts, []), {}))
        assert spell(join(root(), document(parts[::-1], []), {})) == one
        made = checked(one)
        assert purls(made) == [
            "pkg:deb/debian/b@1:1~x?arch=amd64",
            "pkg:npm/react@19.0.0",
            "pkg:npm/scheduler@0.1.0",
            "pkg:pypi/a@1",
            "pkg:pypi/flask@3.1.3",
        ]

    def test_what_is_not_named_in_full_says_so(self) -> None:
        library = Part("library", "libwebp", "1.5.0", facts={"carried": "inside of a wheel"})
        file = Part("file", "libblas.so", "", integrity=PIN)
        pillow = Part("pypi", "pillow", "11", needs=(library.ref, file.ref), whole=Whole.INCOMPLETE)
        lxml = Part("pypi", "lxml", "5", whole=Whole.UNKNOWN)
        member = join(root("api"), document([library, file, pillow, lxml], []), {})
        joined = checked(spell(join(root(), None, {"api": member}, label=True)))
        assert joined["compositions"] == [
            {"aggregate": "incomplete", "assemblies": [pillow.ref]},
            {"aggregate": "unknown", "assemblies": [lxml.ref]},
        ]
        said = {each["name"]: each for each in joined["components"]}
        assert (said["libblas.so"]["type"], said["libwebp"]["type"]) == ("file", "library")
        assert "purl" not in said["libwebp"]
        assert "compositions" not in bill_of("plain", FLASK)

    def test_the_schema_is_asked(self) -> None:
        if not can_validate():
            pytest.skip("needs cyclonedx-python-lib[json-validation]")
        wrong = {**bill_of("it", FLASK), "components": [{"name": "no type"}]}
        assert violations(json.dumps(wrong)) is not None

    def test_what_only_a_circle_leads_to_is_reached(self) -> None:
        one = Part("deb", "one", "1", needs=("pkg:deb/two@1",))
        two = Part("deb", "two", "1", needs=("pkg:deb/one@1",))
        checked(spell(bill_of("it", one, two)))

    def test_the_serial_number_is_that_of_the_contents(self) -> None:
        one, other = bill_of("it", FLASK), bill_of("it", REACT, SCHEDULER)
        assert one["serialNumber"].startswith("urn:uuid:")
        assert one["serialNumber"] == bill_of("it", FLASK)["serialNumber"]
        assert one["serialNumber"] != other["serialNumber"]


class TestJoin:
    def test_members_are_named_and_shared_parts_are_there_once(self) -> None:
        members = {
            "api": bill_of("api", FLASK),
            "web": bill_of("web", REACT, SCHEDULER, FLASK),
        }
        made = checked(spell(join(root("release"), None, members, label=True)))
        found = {each["name"]: facts(each, "member") for each in made["components"]}
        assert found == {
            "api": ["api"],
            "web": ["web"],
            "flask": ["api", "web"],
            "react": ["web"],
            "scheduler": ["web"],
        }

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_strongest_scope_counts(self, order: tuple[int, int]) -> None:
        bills = [bill_of("one", FLASK), bill_of("two", FLASK, scope=Scope.EXCLUDED)]
        members = {f"m{n}": bills[place] for n, place in enumerate(order)}
        made = join(root(), None, members)
        (flask,) = [each for each in made["components"] if each["name"] == "flask"]
        assert flask["scope"] == "required"

    def test_joining_leaves_its_members_as_they_are(self) -> None:
        member = bill_of("api", FLASK)
        before = spell(member)
        join(root(), None, {"api": member}, label=True)
        assert spell(member) == before

    def test_an_artefact_s_own_parts_hang_on_it(self) -> None:
        made = join(root("api"), document([FLASK], []), {"python": bill_of("python")})
        rows = {row["ref"]: row.get("dependsOn") for row in made["dependencies"]}
        assert ROOT not in rows
        assert rows["sealift:api"] == ["pkg:pypi/flask@3.1.3", "sealift:python"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path.resolve() / "site", registry)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path.resolve() / "store") as opened:
        yield opened


def planned(site: Site, *names: str) -> Plan:
    return plan(site.project, site.source, names, planners=PLANNERS_HERE, inventory=contents.plan)


def build(site: Site, store: LocalStore, *names: str, **options: Any) -> Result:
    return realise(
        planned(site, *names), store, builders=WITH_BILLS, sandbox_mode=site.mode, **options
    )


def read(store: LocalStore, result: Result, key: str) -> dict[str, Any]:
    return checked(real(store, result, key).read_text())


FLASK_WHEEL = make_wheel("flask", "3.1.3", {"flask.py": ""}, requires=["jinja2"])
JINJA_WHEEL = make_wheel("jinja2", "3.1.6", {"jinja2.py": ""})


@pytest.fixture
def api(site: Site) -> Recipe:
    recipe = replace(site.env("api", "flask"), inputs={"python": "python", "tools": "tools"})
    site.pin(site.add(recipe), FLASK_WHEEL, JINJA_WHEEL)
    return recipe


class TestBuild:
    def test_an_environment_and_the_interpreter_that_it_runs_on(
        self, site: Site, store: LocalStore, api: Recipe
    ) -> None:
        result = build(site, store, api.name)
        made = read(store, result, "api:sbom")
        subject = made["metadata"]["component"]
        assert facts(subject, "storePath") == [str(store.real(result.outputs["api"]))]
        assert facts(subject, "builtWith") == ["tools tools"]
        assert purls(made) == ["pkg:pypi/flask@3.1.3", "pkg:pypi/jinja2@3.1.6"]
        types = {each["name"]: each["type"] for each in made["components"]}
        assert types == {"flask": "library", "jinja2": "library", "python": "platform"}
        rows = {row["ref"].partition("#")[0]: row.get("dependsOn") for row in made["dependencies"]}
        needed = rows["pkg:pypi/flask@3.1.3"] or []
        assert [ref.partition("#")[0] for ref in needed] == ["pkg:pypi/jinja2@3.1.6"]

    def test_hashes_are_those_of_the_lock(self, site: Site, store: LocalStore, api: Recipe) -> None:
        made = read(store, build(site, store, api.name), "api:sbom")
        hashes = {
            each["name"]: (each["hashes"][0]["alg"], each["hashes"][0]["content"])
            for each in made["components"]
            if "purl" in each
        }
        assert hashes == {
            name: ("SHA-256", hashlib.sha256(data).hexdigest())
            for name, (_, data) in (("flask", FLASK_WHEEL), ("jinja2", JINJA_WHEEL))
        }

    def test_the_bill_keeps_the_artefact_and_nothing_else_of_the_build(
        self, site: Site, store: LocalStore, api: Recipe
    ) -> None:
        result = build(site, store, api.name)
        info = store.info(result.outputs["api:sbom"])
        assert info is not None
        assert set(info.references) == {result.outputs["api"], result.outputs["python"]}

    def test_changed_code_reads_no_package_again(self, site: Site, store: LocalStore) -> None:
        files = {"app.py": "def said():\n    return 1\n", "requirements.txt": "flask\n"}
        service = site.service("web", files, app="app:said")
        site.pin(service, FLASK_WHEEL, JINJA_WHEEL, gunicorn())
        before = build(site, store, "web")
        (site.root / "sources" / "web" / "app.py").write_text("def said():\n    return 2\n")
        after = build(site, store, "web")
        assert set(after.built) == {"web", "web:sbom"}
        assert after.outputs["web:components"] == before.outputs["web:components"]
        assert purls(read(store, after, "web:sbom")) == [
            "pkg:pypi/flask@3.1.3",
            "pkg:pypi/gunicorn@27.0",
            "pkg:pypi/jinja2@3.1.6",
        ]
        assert not build(site, store, "web").built

    def test_built_again_it_is_the_same(self, site: Site, store: LocalStore, api: Recipe) -> None:
        result = build(site, store, api.name, check=True)
        assert result.ok
        assert {"api:sbom", "api:components", "python:sbom"} <= set(result.checked)

    def test_who_is_not_asked_for_has_no_bill(self, site: Site, api: Recipe) -> None:
        made = planned(site, api.name)
        assert {key for key in made.order if key.endswith(":sbom")} == {"api:sbom", "python:sbom"}
        assert made.targets == ("api", "api:sbom")


def step(key: str, builder: str = "text", **fields: Any) -> Step:
    name, inputs = key.partition(":")[0], fields.pop("inputs", {})
    return Step(key, name, name, builder, inputs=inputs, **fields)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "sealift.yaml").write_text("{}\n")
    return Project(load_settings(tmp_path), {})


class TestContents:
    def test_what_made_a_wheel_is_not_in_it(self, project: Project) -> None:
        recipe = Recipe("api", Kind.ENV, Path("api.yaml"), inputs={"base": "base"})
        pinned = Pinned("2.9", "amd64", "bookworm", "pool/libxml2.deb", "0" * 64, 1)
        lock = DebLock({"bookworm": "20260101T000000Z"}, {"libxml2": pinned})
        file = debs_file(recipe, project.settings)
        file.parent.mkdir(parents=True)
        file.write_text(str(lock))
        environment = {"arguments": {"smoke": ["xmlsec"]}}
        steps = [
            step("fetch:sha256-sdist", "fetch"),
            step("fetch:sha256-pip", "fetch"),
            step("fetch:sha256-deb", "fetch"),
            step("native:1", "deb", inputs={"libxml2.deb": "fetch:sha256-deb"}),
            step("wheel:setuptools-70.0-b", "wheel", inputs={"file": "fetch:sha256-pip"}),
            step(
                "build-env:1",
                "env",
                inputs={"wheel.setuptools": "wheel:setuptools-70.0-b"},
                **environment,
            ),
            step(
                "sdist:xmlsec-1.3.13-c",
                "sdist",
                inputs={
                    "sdist": "fetch:sha256-sdist",
                    "base": "native:1",
                    "env": "build-env:1",
                },
            ),
            step("wheel:xmlsec-1.3.13-a", "wheel", inputs={"file": "sdist:xmlsec-1.3.13-c"}),
            step("api:base", inputs={"file.xmlsec": "sdist:xmlsec-1.3.13-c"}),
            step(
                "api",
                "env",
                inputs={"wheel.xmlsec": "wheel:xmlsec-1.3.13-a", "pex": "api:base"},
                **environment,
            ),
        ]
        found = {each.key: each for each in contents.plan(recipe, steps, project)}
        components = found["api:components"]
        assert components.arguments["wheels"] == {
            "xmlsec": {"version": "1.3.13", "integrity": "sha256-sdist", "sdist": True}
        }
        assert components.arguments["native"] == {
            "libxml2": {
                "version": "2.9",
                "architecture": "amd64",
                "suite": "bookworm",
                "integrity": "sha256-" + "A" * 43 + "=",
                "source": "",
            }
        }
        assert components.arguments["direct"] == ["xmlsec"]
        assert dict(components.inputs) == {"wheel.xmlsec": "wheel:xmlsec-1.3.13-a"}

    def test_a_frontend_runs_on_nothing_of_ours(self, project: Project) -> None:
        recipe = Recipe("web", Kind.DIST, Path("web.yaml"), inputs={"node": "node-20"})
        found = contents.plan(recipe, [step("web", inputs={"node": "node-20"})], project)
        (bill,) = [each for each in found if each.key == "web:sbom"]
        assert dict(bill.inputs) == {"artefact": "web"}
        assert bill.arguments["built_with"] == {"node": "node-20"}

    def test_steps_without_a_last_one_stay_as_they_are(self, project: Project) -> None:
        recipe = Recipe("odd", Kind.ENV, Path("odd.yaml"))
        steps = (step("odd:part"),)
        assert contents.plan(recipe, steps, project) == steps


def lay_release(build: Build) -> None:
    """Lay a release's folder and its bills, without what a real one needs besides."""
    build.out.mkdir()
    release._lay_bills(build)


class TestRelease:
    NAMES = ("api", "web", "nginx", "release")

    def planner(self, recipe: Recipe, _: SourceTree | None, __: Project) -> tuple[Step, ...]:
        if recipe.kind is not Kind.RELEASE:
            return (step(recipe.name, arguments={"text": recipe.name}),)
        inputs = {"python": "web", "nginx": "nginx", "api": "api"}
        return (step("release", "release", inputs=inputs),)

    def plan(self, project: Project, *asked: str, **options: Any) -> Plan:
        kinds = dict.fromkeys(self.NAMES, Kind.ENV) | {"release": Kind.RELEASE}
        recipes = {name: Recipe(name, kind, Path(name)) for name, kind in kinds.items()}
        planners: Mapping[Kind, Any] = dict.fromkeys(Kind, self.planner)
        full = Project(project.settings, recipes)
        sources = options.pop("sources", lambda _: None)
        return plan(full, sources, asked, planners=planners, inventory=contents.plan, **options)

    def test_it_carries_one_bill_of_all_and_one_of_each(
        self, project: Project, fresh: Bench
    ) -> None:
        builders = {**fresh.builders, **WITH_BILLS, "release": lay_release}
        result = realise(self.plan(project, "release"), fresh.store, builders=builders)
        out = real(fresh.store, result, "release")
        assert sorted(path.name for path in (out / "sbom").iterdir()) == [
            "api.cdx.json",
            "nginx.cdx.json",
        ]
        made = checked((out / "sbom.cdx.json").read_text())
        assert made["metadata"]["component"]["name"] == "release"
        assert {each["name"]: facts(each, "member") for each in made["components"]} == {
            "api": ["api"],
            "nginx": ["nginx"],
        }
        assert result.outputs["release:sbom"] in {
            info.path for info in fresh.store.closure([result.outputs["release"]])
        }

    def test_a_member_that_cannot_be_planned_blocks_it_once(self, project: Project) -> None:
        stale = InputError("stale")

        def sources(recipe: Recipe) -> None:
            if recipe.name == "nginx":
                raise stale

        made = self.plan(project, sources=sources, keep_going=True)
        assert made.failed == {"nginx": stale}
        assert made.blocked == {"release": "nginx", "release:sbom": "nginx"}
        assert {"api:sbom", "web:sbom"} <= set(made.order)
