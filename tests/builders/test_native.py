"""The root in which sdists are compiled: what is asked for it, what decides it, how it is laid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from builders import native
from builders.deb_pins import Asked, DebLock, LockError, Pinned
from builders.lock_files import debs_file
from builders.plan import arrange
from builders.realise import realise
from builders.recipe import Kind, Recipe
from store.errors import InputError
from store.local import LocalStore
from tests.builders.debs import SYMLINK, Entry, deb_bytes
from tests.builders.registry import serving
from tests.builders.wheels import HOST, Site, about, real

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builders.step import Step

LIBRARY = "./usr/lib/x86_64-linux-gnu"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


def compiler(site: Site, **options: Any) -> Recipe:
    said = {"packages": ("gcc", "make"), "prune": ("/usr/share/junk",), "links": {}, **options}
    return site.add(Recipe("compiler", Kind.DEB, site.root / "compiler.yaml", options=said))


def asking(site: Site, *packages: str, name: str = "asking") -> Recipe:
    recipe = site.env(name, "small")
    return site.add(replace(recipe, options={**recipe.options, "build_packages": packages}))


def pin(site: Site, recipe: Recipe, packages: Mapping[str, bytes]) -> None:
    """Publish packages and lock them as the recipe's closure."""
    asked, sources = native.question(recipe, site.project)
    pinned = {}
    others = {name: deb_bytes(Entry(f"./usr/lib/of-{name}", b"")) for name in asked}
    for name, content in sorted((others | dict(packages)).items()):
        path = f"pool/{name}_1.0_amd64.deb"
        site.registry.put(f"/debian/{path}", content)
        sha = hashlib.sha256(content).hexdigest()
        pinned[name] = Pinned("1.0", "amd64", "bookworm", path, sha, len(content))
    lock = DebLock({"bookworm": "20250101T000000Z"}, pinned, asked=Asked.of(asked, sources))
    debs_file(recipe, site.project.settings).write_text(str(lock))


PACKAGES = {
    "libown1": deb_bytes(
        Entry(f"{LIBRARY}/libown.so.1.2", b"library"),
        Entry(f"{LIBRARY}/libown.so.1", kind=SYMLINK, target="libown.so.1.2"),
        Entry("./usr/share/junk/x", b"x"),
    ),
    "libown-dev": deb_bytes(
        Entry("./usr/include/own.h", b"int own;\n"),
        Entry("./lib/own", b"merged"),
        Entry(f"{LIBRARY}/libown.so", kind=SYMLINK, target="libown.so.1"),
        Entry("./usr/lib/python3/dist-packages/evil.py", b"x"),
    ),
}


def test_what_is_asked_for_is_the_compiler_the_headers_and_the_recipes_own(site: Site) -> None:
    compiler(site)
    packages, sources = native.question(asking(site, "libown-dev"), site.project)
    assert packages == sorted(["gcc", f"libpython{HOST}-dev", "libown-dev", "make"])
    assert sources[0].suite == "bookworm"


def test_without_a_compiler_it_is_said_what_is_missing(site: Site) -> None:
    with pytest.raises(InputError, match="no recipe 'compiler'"):
        native.question(asking(site), site.project)


def test_a_compiler_of_another_kind_is_named(site: Site) -> None:
    compiler(site)
    wrong = replace(asking(site), inputs={"python": "python", "compiler": "small"})
    site.env("small")
    with pytest.raises(InputError, match="input 'compiler' is 'small', a recipe of kind env"):
        native.question(wrong, site.project)


def test_a_lock_for_other_packages_is_stale(site: Site) -> None:
    compiler(site)
    recipe = asking(site, "libown-dev")
    with pytest.raises(LockError, match="no lock"):
        native.load(recipe, site.project)
    pin(site, recipe, PACKAGES)
    assert native.load(recipe, site.project).packages
    with pytest.raises(LockError) as caught:
        native.load(asking(site, "libown-dev", "libmore-dev"), site.project)
    assert caught.value.hint == "sealift lock asking"


def test_a_closure_that_lost_a_package_is_refused(site: Site) -> None:
    compiler(site)
    recipe = asking(site, "libown-dev")
    pin(site, recipe, PACKAGES)
    file = debs_file(recipe, site.project.settings)
    document = json.loads(file.read_text())
    del document["packages"]["libown1"]
    file.write_text(json.dumps(document))
    with pytest.raises(LockError, match="changed by hand") as caught:
        native.load(recipe, site.project)
    assert caught.value.hint == "sealift lock asking"


def test_equal_closures_are_one_root_and_others_are_not(site: Site) -> None:
    compiler(site)
    one, two = asking(site, "libown-dev"), asking(site, "libown-dev", name="two")
    for recipe in (one, two):
        pin(site, recipe, PACKAGES)
    assert native.key(one, site.project) == native.key(two, site.project)
    pin(site, two, {**PACKAGES, "libown1": deb_bytes(Entry(f"{LIBRARY}/libown.so.1.2", b"new"))})
    assert native.key(one, site.project) != native.key(two, site.project)
    before = native.key(one, site.project)
    compiler(site, prune=())
    assert native.key(one, site.project) != before


def test_the_root_is_laid_merged_pruned_and_says_whose_library_is_whose(
    site: Site, tmp_path: Path
) -> None:
    compiler(site, links={"usr/bin/cc": "../include/own.h"})
    recipe = asking(site, "libown-dev")
    pin(site, recipe, PACKAGES)
    key = native.key(recipe, site.project)
    mirror = f"{site.registry.url}/debian"
    steps = [_from(step, mirror) for step in native.plan(recipe, site.project)]
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        result = realise(arrange(steps, [key]), store, builders={"native": native.build})
        root = real(store, result, key)
        assert (root / "lib/own").read_text() == "merged"
        assert (root / "usr/bin/cc").read_text() == "int own;\n"
        assert not (root / "usr/share").exists()
        assert not (root / "usr/lib/python3").exists()
        said = about(root)
    place = f"{LIBRARY.removeprefix('./')}/libown.so.1.2"
    assert said["libraries"] == {place: "libown1"}
    assert said["packages"].keys() == {*native.question(recipe, site.project)[0], "libown1"}
    assert "asking" not in json.dumps(said)


def _from(step: Step, mirror: str) -> Step:
    if step.download is None:
        return step
    urls = (f"{mirror}/pool/{step.download.urls[0].rpartition('/')[2]}",)
    return replace(step, download=replace(step.download, urls=urls))
