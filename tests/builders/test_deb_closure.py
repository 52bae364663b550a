"""Closures of kind `deb`: locked by what is asked for, built from all that it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import deb
from builders.base_system import minimal
from builders.deb_lock import lock
from builders.deb_pins import LockError, parse_lock, read_lock
from builders.dpkg_status import installed
from builders.project import Project
from builders.recipe import Kind, Recipe, SuiteSpec
from builders.settings import Mirrors, load_settings
from store.local import LocalStore
from tests.builders.archive_site import Archive, Package, archive, needs_apt, signer
from tests.builders.debs import Entry
from tests.builders.workbench import BASE, BUILDERS, Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builders.settings import Settings
    from tests.builders.archive_site import Signer

pytestmark = needs_apt

APP = Package("app", fields={"Depends": "lib"}, files=(Entry("./usr/share/app", b"1"),))
LIB = Package("lib", files=(Entry("./usr/share/lib", b"2"),))
ONE_SUITE = ("bookworm",)


@pytest.fixture(scope="module")
def key() -> Iterator[Signer]:
    with signer("archive") as made:
        yield made


@pytest.fixture
def site(key: Signer) -> Iterator[Archive]:
    with archive(key) as served:
        served.publish(APP, LIB)
        yield served


@pytest.fixture
def settings(site: Archive, tmp_path: Path) -> Settings:
    (tmp_path / "sealift.yaml").write_text("sources: .\n")
    (tmp_path / "recipes" / "locks").mkdir(parents=True)
    mirrors = Mirrors(debian=site.mirror, debian_security=f"{site.registry.url}/debian-security")
    return replace(load_settings(tmp_path), mirrors=mirrors, keyring=site.signer.keyring)


def recipe(*packages: str, closure: bool = True, **options: Any) -> Recipe:
    said = {"packages": packages, "suites": ONE_SUITE, **options}
    if closure:
        said["closure"] = True
    return Recipe("it", Kind.DEB, Path("it.yaml"), options=said)


def write(asked: Recipe, settings: Settings) -> None:
    text = lock(asked, None, Project(settings, {}))
    (settings.locks_dir / "it.json").write_text(text)


def test_all_that_is_needed_is_unpacked(settings: Settings, tmp_path: Path) -> None:
    write(recipe("app"), settings)
    steps = deb.plan(recipe("app"), None, Project(settings, {}))
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        bench = Bench(store, builders={**BUILDERS, "deb": deb.build})
        result = bench.build([BASE, *steps], "it")
        assert bench.read(result, "it", "usr/share/lib") == "2"
        assert bench.read(result, "it", "usr/share/app") == "1"


@pytest.mark.parametrize(
    ("locked", "asked", "reason"),
    [
        (recipe("app"), recipe("app", "lib"), "other packages: lib$"),
        (recipe("app"), recipe("app", suites=("bookworm", "sid")), "from other suites"),
        (recipe("app"), recipe("app", closure=False), "the lock holds a closure"),
        (recipe("app", "lib", closure=False), recipe("app", "lib"), "the lock holds no closure"),
    ],
)
def test_another_question_needs_another_lock(
    settings: Settings, locked: Recipe, asked: Recipe, reason: str
) -> None:
    write(locked, settings)
    deb.plan(locked, None, Project(settings, {}))
    with pytest.raises(LockError, match=reason) as caught:
        deb.plan(asked, None, Project(settings, {}))
    assert caught.value.hint == "sealift lock it"


def changed(settings: Settings, change: Callable[[dict[str, Any]], object]) -> LockError:
    """Change a lock by hand; give what is said to it."""
    file = settings.locks_dir / "it.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(LockError) as caught:
        deb.plan(recipe("app"), None, Project(settings, {}))
    assert caught.value.where == str(file)
    return caught.value


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["packages"].pop("lib"),
        lambda said: said["packages"]["lib"].update(sha256="0" * 64),
        lambda said: said["suites"].update(bookworm="20000101T000000Z"),
        lambda said: said["asked"].update(present={"app": "1"}),
        lambda said: said.pop("digest"),
    ],
)
def test_a_closure_that_was_changed_by_hand_is_refused(
    settings: Settings, change: Callable[[dict[str, Any]], object]
) -> None:
    write(recipe("app"), settings)
    assert changed(settings, change).reason == "the lock is damaged: it was changed by hand"


@pytest.mark.parametrize("name", ["../evil", "App", "a", "a b", "-o=x", ""])
def test_a_name_that_is_none_is_refused(settings: Settings, name: str) -> None:
    write(recipe("app"), settings)
    error = changed(settings, lambda said: said["packages"].update({name: said["packages"]["lib"]}))
    assert f"{name!r} is no name of a package" in error.reason


def test_a_lock_that_does_not_hold_what_it_answers_is_refused(settings: Settings) -> None:
    write(recipe("app"), settings)
    file = settings.locks_dir / "it.json"
    whole = read_lock(file, "it")
    file.write_text(str(replace(whole, packages={"lib": whole.packages["lib"]})))
    with pytest.raises(LockError, match=r"does not hold what it was asked for: app$"):
        deb.plan(recipe("app"), None, Project(settings, {}))


@pytest.mark.parametrize("closure", [True, False])
def test_a_suite_with_a_mirror_and_a_keyring_of_its_own(
    settings: Settings, site: Archive, *, closure: bool
) -> None:
    with signer("vendor") as vendor:
        other = Archive(site.registry, vendor, folder="/vendor")
        other.publish(Package("tool"), suite="stable", component="extra")
        keyring = settings.recipes_dir / "keyrings" / "vendor.gpg"
        keyring.parent.mkdir(parents=True)
        keyring.write_bytes(vendor.keyring.read_bytes())
        spec = SuiteSpec("stable", other.mirror, ("extra",), "keyrings/vendor.gpg")
        asked = recipe("lib", "tool", suites=("bookworm", spec), closure=closure)
        write(asked, settings)
    steps = deb.plan(asked, None, Project(settings, {}))
    urls = [url for step in steps if step.download for url in step.download.urls[:1]]
    assert sorted(urls) == [
        f"{site.mirror}/pool/lib_1.0_amd64.deb",
        f"{other.mirror}/pool/tool_1.0_amd64.deb",
    ]
    made = parse_lock((settings.locks_dir / "it.json").read_text())
    assert made.mirrors == {f"{other.mirror} stable": other.mirror}


def test_the_minimal_base_is_what_a_release_requires(settings: Settings, site: Archive) -> None:
    site.publish(
        APP,
        LIB,
        Package("apt", fields={"Depends": "libapt"}),
        Package("libapt"),
        Package("dpkg", fields={"Essential": "yes", "Pre-Depends": "lib"}),
        Package("mount", fields={"Priority": "required", "Recommends": "app"}),
        Package("usr-is-merged"),
    )
    for suite, folder in (("bookworm-updates", "/debian"), ("bookworm-security", None)):
        there = replace(site, folder=folder or "/debian-security")
        there.publish(suite=suite)
    base = minimal("bookworm", settings)
    names = [each.name for each in installed(base.status, where="it")]
    assert names == ["apt", "dpkg", "lib", "libapt", "mount", "usr-is-merged"]
    assert "Recommends" not in base.status
    assert base.text("x").startswith(
        "# x: the required packages of bookworm, and apt, 6 packages\n"
    )
