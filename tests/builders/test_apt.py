"""Sets of packages as repositories: what a real apt installs from them, and what moves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import apt, apt_lock
from builders.deb_pins import LockError
from builders.dpkg_status import StatusError
from builders.fetch import FetchError
from builders.project import Project
from builders.recipe import Kind, Recipe
from builders.recipe_units import WEB
from builders.release import plan_release
from builders.settings import Mirrors, load_settings
from store.errors import InputError
from store.local import LocalStore
from tests.builders.archive_site import Archive, Package, archive, needs_apt, signer, status
from tests.builders.debs import DIRECTORY, Entry
from tests.builders.registry import status as answer
from tests.builders.workbench import BASE, BUILDERS, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.step import Step
    from store.path import StorePath
    from tests.builders.archive_site import Signer

pytestmark = needs_apt

DPKG = Package("dpkg")
TREE = (Entry("./", kind=DIRECTORY, mode=0o755), Entry("./usr/", kind=DIRECTORY, mode=0o755))
LIB = Package("lib", "1:2.0~rc1-1", files=(*TREE, Entry("./usr/lib.txt", b"library\n")))
APP = Package(
    "app", "1.0+b1", fields={"Depends": "lib (>= 1:2.0~)", "Multi-Arch": "foreign"}, files=TREE
)
MORE = Package("more", files=(Entry("./more", b"x" * 5000),))
PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "")


@pytest.fixture(scope="module")
def key() -> Iterator[Signer]:
    with signer("archive") as made:
        yield made


@dataclass(frozen=True)
class Site:
    """An archive, and a project that locks and builds what it has."""

    archive: Archive
    project: Project
    bench: Bench

    def base(self, *packages: Package, name: str = "head") -> None:
        """State a base system."""
        file = self.project.settings.recipes_dir / "bases" / f"{name}.status"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# captured\n{status(DPKG, *packages)}")

    def recipe(self, *packages: str, name: str = "set", **options: Any) -> Recipe:
        found = {"packages": packages, "base": "head", "suites": ("bookworm",), **options}
        return Recipe(name, Kind.APT, Path(f"{name}.yaml"), options=found)

    def lock(self, recipe: Recipe) -> None:
        text = apt_lock.lock(recipe, None, self.project)
        folder = self.project.settings.locks_dir
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{recipe.name}.json").write_text(text)

    def plan(self, *packages: str) -> tuple[Step, ...]:
        recipe = self.recipe(*packages)
        self.lock(recipe)
        return apt.plan(recipe, None, self.project)

    def build(self, *packages: str) -> StorePath:
        result = self.bench.build([BASE, *self.plan(*packages)], "set")
        if result.failures:
            raise result.failures[0].error
        return result.outputs["set"]

    def real(self, path: StorePath) -> Path:
        return self.bench.store.real(path)


@contextmanager
def making(folder: Path, key: Signer) -> Iterator[Site]:
    folder = folder.resolve()
    folder.mkdir(exist_ok=True)
    (folder / "sealift.yaml").write_text("sources: .\n")
    with archive(key) as served, LocalStore.open(folder / "store") as store:
        mirrors = Mirrors(debian=served.mirror)
        settings = replace(load_settings(folder), mirrors=mirrors, keyring=key.keyring)
        made = Site(
            served, Project(settings, {}), Bench(store, builders={**BUILDERS, "apt": apt.build})
        )
        made.base()
        served.publish(APP, LIB, MORE)
        yield made


@pytest.fixture
def site(tmp_path: Path, key: Signer) -> Iterator[Site]:
    with making(tmp_path, key) as made:
        yield made


@dataclass(frozen=True)
class Head:
    """A root folder with an apt and a dpkg of its own, and one source: a repository."""

    root: Path
    repository: Path

    def lay(self) -> None:
        for folder in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/cache/apt/archives"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("var/lib/apt/lists", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").write_text(status(DPKG))
        source = f"deb [trusted=yes] file:{self.repository} ./\n"
        (self.root / "etc/apt/sources.list").write_text(source)
        (self.root / "apt.conf").write_text(
            f'Dir "{self.root}/"; Dir::State::status "{self.root}/var/lib/dpkg/status";\n'
            f'Dir::Log "{self.root}"; APT::Architecture "amd64"; APT::Architectures {{"amd64";}};\n'
            f'APT::Sandbox::User "root"; DPkg::Options {{"--root={self.root}"; "--force-not-root";'
            f'"--force-script-chrootless"; "--log={self.root}/log";}};\n'
        )

    def apt_get(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["apt-get", "-q", "-y", *words],
            env={**os.environ, **PROXY, "APT_CONFIG": f"{self.root}/apt.conf", "LC_ALL": "C.UTF-8"},
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )


def head(folder: Path, repository: Path) -> Head:
    made = Head(folder / "head", repository)
    made.lay()
    return made


def test_a_repository_links_to_its_packages(site: Site) -> None:
    path = site.build("app")
    root = site.real(path)
    assert sorted(str(each.relative_to(root)) for each in root.rglob("*")) == [
        "Packages",
        "Release",
        "pool",
        "pool/app_1.0+b1_amd64.deb",
        "pool/lib_1-2.0_rc1-1_amd64.deb",
        "sealift.json",
    ]
    deb = root / "pool" / "lib_1-2.0_rc1-1_amd64.deb"
    assert deb.is_symlink()
    assert deb.read_bytes() == LIB.data
    assert len(site.bench.store.closure([path])) == 3
    said = json.loads((root / "sealift.json").read_text())
    assert said == {
        "format": 1,
        "name": "set",
        "base": "head",
        "asked": ["app"],
        "present": {},
        "packages": {"app": "1.0+b1", "lib": "1:2.0~rc1-1"},
    }
    index = (root / "Packages").read_text()
    assert "Multi-Arch: foreign\n" in index
    assert "Depends: lib (>= 1:2.0~)\n" in index


def test_the_same_bytes_anywhere_and_at_any_time(site: Site) -> None:
    first = site.real(site.build("app"))
    names = ("Packages", "Release")
    before = [(first / name).read_bytes() for name in names]
    assert b"Date: Thu, 01 Jan 1970" in before[1]
    second = site.bench.build([BASE, *site.plan("app")], "set", check=("set",))
    assert not second.failures
    assert [(first / name).read_bytes() for name in names] == before


class TestInstalled:
    """A real apt, with the repository as its only source and no network."""

    def test_all_is_installed_offline(self, site: Site, tmp_path: Path) -> None:
        there = head(tmp_path, site.real(site.build("app")))
        site.archive.registry.files.clear()
        assert there.apt_get("update").returncode == 0
        simulated = there.apt_get("install", "-s", "app=1.0+b1", "lib=1:2.0~rc1-1")
        assert "Inst lib (1:2.0~rc1-1" in simulated.stdout
        done = there.apt_get("install", "app=1.0+b1", "lib=1:2.0~rc1-1")
        if os.geteuid() != 0 and done.returncode:
            pytest.skip(f"dpkg installs for root alone: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
        assert (there.root / "usr/lib.txt").read_text() == "library\n"
        installed = (there.root / "var/lib/dpkg/status").read_text()
        assert installed.count("Status: install ok installed") == 3

    def test_a_flipped_byte_is_refused(self, site: Site, tmp_path: Path) -> None:
        root = site.real(site.build("app"))
        there = head(tmp_path, root)
        assert there.apt_get("update").returncode == 0
        deb = (root / "pool" / "lib_1-2.0_rc1-1_amd64.deb").resolve()
        data = bytearray(deb.read_bytes())
        data[-1] ^= 1
        deb.chmod(0o644)
        deb.write_bytes(data)
        done = there.apt_get("install", "app")
        assert done.returncode != 0
        assert "Hash Sum mismatch" in done.stderr
        assert not (there.root / "usr/lib.txt").exists()

    def test_a_changed_index_is_refused(self, site: Site, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(site.real(site.build("app")), copy, symlinks=True)
        (copy / "Packages").chmod(0o644)
        text = (copy / "Packages").read_text()
        (copy / "Packages").write_text(text.replace("lib (>= 1:2.0~)", "lib (>= 1:1.0~)"))
        done = head(tmp_path, copy).apt_get("update")
        assert done.returncode != 0
        assert "Hash Sum mismatch" in done.stderr

    def test_a_head_may_go_back_to_the_set_before(self, site: Site, tmp_path: Path) -> None:
        """One source line, through a link that is swapped: apt offers what lies there now."""
        current = tmp_path / "current"
        old, new = (site.real(site.build(*names)) for names in (("app",), ("app", "more")))
        there = head(tmp_path, current)
        for root, found in ((old, False), (new, True), (old, False)):
            current.unlink(missing_ok=True)
            current.symlink_to(root)
            assert there.apt_get("update").returncode == 0
            assert (there.apt_get("install", "-s", "more").returncode == 0) is found


def test_one_more_package_moves_itself_and_the_indexes(site: Site) -> None:
    store = site.bench.store

    before = {info.path for info in store.closure([site.build("app")])}
    after = store.closure([site.build("app", "more")])
    moved = [info for info in after if info.path not in before]
    assert sorted(info.path.name for info in moved) == ["more_1.0_amd64.deb", "set-packages"]
    assert len(after) == len(before) + 1
    assert sum(info.nar_size for info in moved) < len(MORE.data) + 8192


def test_sets_share_what_they_have_in_common(site: Site) -> None:
    keys = {step.key for step in site.plan("app")} & {step.key for step in site.plan("lib")}
    assert len([key for key in keys if key.startswith("fetch:")]) == 1


class TestStale:
    """A lock answers one question; another one needs another lock."""

    def plan(self, site: Site, recipe: Recipe) -> None:
        with pytest.raises(LockError) as caught:
            apt.plan(recipe, None, site.project)
        assert caught.value.hint == "sealift lock set"
        raise caught.value

    def test_the_base_has_changed(self, site: Site) -> None:
        recipe = site.recipe("app")
        site.lock(recipe)
        site.base(LIB)
        with pytest.raises(LockError, match="another base system, or that one has changed"):
            self.plan(site, recipe)
        site.lock(recipe)
        assert len(apt.plan(recipe, None, site.project)) == 2

    def test_a_comment_is_no_change(self, site: Site) -> None:
        recipe = site.recipe("app")
        site.lock(recipe)
        file = site.project.settings.recipes_dir / "bases" / "head.status"
        file.write_text("# again\n# and again\n" + file.read_text())
        assert len(apt.plan(recipe, None, site.project)) == 3

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"packages": ("app", "more")}, "other packages: more$"),
            ({"suites": ("bookworm", "bookworm-updates")}, "other suites"),
            ({"base": "other"}, "another base system"),
        ],
    )
    def test_the_recipe_has_changed(self, site: Site, options: dict[str, Any], reason: str) -> None:
        site.base(name="other")
        recipe = site.recipe("app")
        site.lock(recipe)
        changed = replace(recipe, options={**recipe.options, **options})
        with pytest.raises(LockError, match=reason):
            self.plan(site, changed)

    def test_there_is_no_such_base(self, site: Site) -> None:
        with pytest.raises(LockError, match="no base system 'hade'") as caught:
            apt.plan(site.recipe("app", base="hade"), None, site.project)
        assert caught.value.expected == "one of head"
        assert caught.value.hint == "sealift capture hade"

    @pytest.mark.parametrize(
        "damage",
        ["no field\n", "Package: a\nStatus: gone\n", "\x00\x01\n", "Package: lib\nVersion 1\n"],
    )
    def test_a_damaged_base_is_named(self, site: Site, damage: str) -> None:
        site.base(LIB)
        file = site.project.settings.recipes_dir / "bases" / "head.status"
        file.write_text(f"{file.read_text()}\n{damage}")
        with pytest.raises(StatusError) as caught:
            site.lock(site.recipe("app"))
        assert caught.value.where == str(file)
        assert "/tmp" not in str(caught.value.got)  # noqa: S108 - the solver's own folder

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"Depends": "lib', '"Depends": "\\nFilename: /etc/shadow'),
            ('"Depends": "', '"Depends\\nFilename": "'),
            ('"Depends": "', '"Dépends": "'),
            ('"asked": {', '"asked": {}, "other": {'),
        ],
    )
    def test_a_lock_that_was_tampered_with(self, site: Site, old: str, new: str) -> None:
        recipe = site.recipe("app")
        site.lock(recipe)
        file = site.project.settings.locks_dir / "set.json"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(LockError, match="damaged"):
            self.plan(site, recipe)


def test_maintainer_scripts_do_not_run_here(site: Site, tmp_path: Path) -> None:
    """On a head they run, as root, by its dpkg; the store only carries the package as it is."""
    trace = tmp_path / "trace"
    script = f"#!/bin/sh\ntouch {trace}\n"
    scripts = dict.fromkeys(("preinst", "postinst", "prerm", "config"), script)
    site.archive.publish(replace(APP, scripts=scripts), LIB)
    root = site.real(site.build("app"))
    assert not trace.exists()
    assert (root / "pool" / "app_1.0+b1_amd64.deb").stat().st_size > 0


def test_a_package_that_is_gone_from_everywhere(site: Site) -> None:
    site.archive.registry.faults[f"/debian/{LIB.filename}"] = answer(404)
    steps = [
        replace(step, download=replace(step.download, urls=step.download.urls[:1]))
        if step.download
        else step
        for step in site.plan("app")
    ]
    result = site.bench.build([BASE, *steps], "set")
    error = result.failures[0].error
    assert isinstance(error, FetchError)
    assert error.reason == "'lib_2.0_rc1-1_amd64.deb' is nowhere any more"
    assert error.where == f"{site.archive.mirror}/{LIB.filename}"
    assert "404" in str(error.got)
    assert error.hint is not None
    assert error.hint.startswith("pin what there is now: sealift lock set; ")
    assert "mirror" in error.hint


class TestRelease:
    """A head has one version of a package, whichever set it comes with."""

    @pytest.fixture
    def members(self, site: Site) -> Project:
        """Make two sets that share a package, and a release without services."""
        inputs = {name: name for name in ("base", "python", "nginx", "openssl", "supervisor")}
        sets = [site.recipe("app", name="one"), site.recipe("lib", name="two")]
        for each in sets:
            site.lock(each)
        top = Recipe("release", Kind.RELEASE, Path("release.yaml"), inputs=inputs)
        recipes = {recipe.name: recipe for recipe in (*sets, top)}
        return Project(site.project.settings, recipes)

    def step(self, project: Project, **options: Any) -> Step:
        release = replace(project.recipes["release"], options={"web": WEB, **options})
        return plan_release(release, None, project)[-1]

    def test_all_sets_are_carried(self, members: Project) -> None:
        assert self.step(members).arguments["packages"] == ["one", "two"]
        assert self.step(members, packages=("two",)).arguments["packages"] == ["two"]
        assert self.step(members, packages=()).arguments["packages"] == []

    def test_two_versions_of_one_package_are_refused(self, site: Site, members: Project) -> None:
        site.archive.publish(APP, LIB, replace(LIB, version="1:3.0"))
        site.lock(members.recipes["two"])
        with pytest.raises(InputError, match="one and two pin different versions of lib") as caught:
            self.step(members)
        assert caught.value.expected == "1:2.0~rc1-1 (one)"
        assert caught.value.got == "1:3.0 (two)"
        assert caught.value.hint == "sealift lock one two"
        assert self.step(members, packages=("one",)).arguments["packages"] == ["one"]

    @pytest.mark.parametrize("name", ["release", "nothing"])
    def test_only_sets_can_be_named(self, members: Project, name: str) -> None:
        with pytest.raises(InputError, match=f"set of packages '{name}'"):
            self.step(members, packages=(name,))
