"""Locks made by uv: against an index of our own, and against PyPI."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builders import python_resolve, uv
from builders.lock_files import lock_file
from builders.python_lock import (
    LockError,
    NoWheelError,
    ResolveError,
    YankedError,
    load,
    parse,
    render,
    target_of,
)
from builders.requirements import parse_lines
from builders.uv import NeedsSourceError, Question
from builders.wheel_tags import Target
from tests.builders.registry import serving
from tests.builders.wheels import Site, make_wheel, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.errors import Error

NATIVE = "cp311-cp311-manylinux_2_{}_x86_64"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


def lock(site: Site, *requirements: str) -> str:
    recipe = site.env("tools2", *requirements)
    return python_resolve.lock(recipe, None, site.project)


def test_one_wheel_of_each_package(site: Site) -> None:
    native = [make_wheel("native", tag=NATIVE.format(floor)) for floor in (17, 28, 34)]
    publish(
        site.registry,
        make_wheel("top", "1.0"),
        make_wheel("top", "1.5", requires=["native>=1", "Under_Score"]),
        make_wheel("top", "2.0"),
        make_wheel("under_score", "0.1"),
        *native,
    )
    text = lock(site, "Top<2")
    wheels = parse(text, where="here").wheels
    assert [(wheel.name, wheel.version) for wheel in wheels] == [
        ("native", "1.0"),
        ("top", "1.5"),
        ("under-score", "0.1"),
    ]
    assert wheels[0].filename == f"native-1.0-{NATIVE.format(28)}.whl"
    assert text == lock(site, "Top<2")


def test_what_was_locked_can_be_built_from(site: Site) -> None:
    publish(site.registry, make_wheel("top"))
    recipe = site.env("tools2", "top")
    file = lock_file(recipe, site.project.settings)
    file.write_text(python_resolve.lock(recipe, None, site.project))
    asked = parse_lines(["top"], "here")
    assert load(file, asked, target_of(recipe, site.project), name="tools2").wheels


def test_constraints_hold(site: Site) -> None:
    publish(site.registry, make_wheel("top", "1.0"), make_wheel("top", "2.0"))
    recipe = site.service("app", {"requirements.txt": "top\n-c pins.txt\n", "pins.txt": "top<2\n"})
    publish(site.registry, make_wheel("gunicorn"))
    text = python_resolve.lock(recipe, site.source(recipe), site.project)
    versions = {wheel.name: wheel.version for wheel in parse(text, where="here").wheels}
    assert versions == {"gunicorn": "1.0", "top": "1.0"}


def test_nothing_asked_gives_an_empty_lock(site: Site) -> None:
    recipe = site.service("app", {"requirements.txt": "# nothing\n"}, extra=())
    text = python_resolve.lock(recipe, site.source(recipe), site.project)
    assert parse(text, where="here").wheels == ()


def test_a_package_with_neither_wheel_nor_sdist_is_named(site: Site) -> None:
    publish(site.registry, make_wheel("old", "1.0", tag="cp27-cp27mu-manylinux1_x86_64"))
    with pytest.raises(NoWheelError, match=r"old.* has no wheel .* no sdist") as caught:
        lock(site, "old==1.0")
    assert "glibc" in (caught.value.hint or "")


def test_a_wheel_for_too_new_a_system_is_not_taken(site: Site) -> None:
    publish(site.registry, make_wheel("native", tag=NATIVE.format(36)))
    with pytest.raises(NoWheelError, match=r"native.* has no wheel"):
        lock(site, "native")


def test_a_yanked_release_is_named_with_its_reason(site: Site) -> None:
    publish(site.registry, make_wheel("top"), yanked="it ate my files")
    with pytest.raises(YankedError, match=r"top==1\.0 was taken back") as caught:
        lock(site, "top==1.0")
    assert caught.value.got == "it ate my files"


@pytest.mark.parametrize("requirement", ["missing", "top>=9"])
def test_what_there_is_not_is_named(site: Site, requirement: str) -> None:
    publish(site.registry, make_wheel("top"))
    with pytest.raises(ResolveError, match="no answer") as caught:
        lock(site, requirement)
    assert requirement.partition(">")[0] in (caught.value.got or "")


def test_contradictions_are_explained(site: Site) -> None:
    publish(site.registry, make_wheel("top", requires=["base<2"]), make_wheel("base", "2.0"))
    with pytest.raises(ResolveError) as caught:
        lock(site, "top", "base>=2")
    assert "base" in (caught.value.got or "")


def test_what_no_hash_pins_is_refused(site: Site) -> None:
    mirrors = site.project.settings.mirrors
    wheel = {"url": "https://x/top-1.0-py3-none-any.whl", "hashes": {"md5": "00"}}
    package = {"name": "top", "version": "1.0", "wheels": [wheel]}
    with pytest.raises(LockError, match="gives no SHA-256"):
        python_resolve.pick(package, Target((3, 11)), mirrors, "here")


def test_a_mirrors_address_is_not_locked_in(site: Site) -> None:
    mirrors = replace(site.project.settings.mirrors, pypi_files="http://mirror/files")
    wheel = {"url": "http://mirror/files/ab/top-1.0-py3-none-any.whl", "hashes": {"sha256": "00"}}
    package = {"name": "top", "version": "1.0", "wheels": [wheel]}
    picked = python_resolve.pick(package, Target((3, 11)), mirrors, "here")
    assert picked.url == "https://files.pythonhosted.org/ab/top-1.0-py3-none-any.whl"


def test_an_index_that_is_down_is_named(tmp_path: Path) -> None:
    with serving() as registry:
        site = Site(tmp_path / "site", registry)
    recipe = site.env("tools2", "top")
    with pytest.raises(ResolveError) as caught:
        python_resolve.lock(recipe, None, site.project)
    assert "mirrors" in (caught.value.hint or "")


def test_the_users_settings_have_no_say(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(site.registry, make_wheel("top"))
    config = tmp_path / "config" / "uv" / "uv.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[index]]\nurl = "http://127.0.0.1:9/simple"\ndefault = true\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_INDEX", "http://127.0.0.1:9/simple")
    assert parse(lock(site, "top"), where="here").wheels


def test_the_floor_is_rounded_down_for_uv() -> None:
    spelled = [uv._platform(Target((3, 11), (2, floor))) for floor in (5, 24, 28, 36)]
    assert [text.rpartition("_")[2] for text in spelled] == ["17", "17", "28", "36"]


@pytest.mark.network
def test_a_real_lock_is_a_lock_by_pep_751(tmp_path: Path) -> None:
    with serving() as registry:
        site = Site(tmp_path / "site", registry)
    asked = parse_lines(["flask>=3", "pandas"], "here")
    target = Target((3, 11), (2, 28))
    index = "https://pypi.org/simple"
    mirrors = site.project.settings.mirrors
    packages = uv.resolve(Question(asked, target, index, "here"))
    wheels = [python_resolve.pick(package, target, mirrors, "here") for package in packages]
    named = {wheel.name: wheel for wheel in wheels}
    assert {"flask", "pandas", "numpy", "werkzeug"} <= named.keys()
    assert "cp311-cp311-manylinux" in named["numpy"].filename
    assert all(wheel.size for wheel in wheels)
    data = tomllib.loads(render(wheels, asked, target))
    assert data["lock-version"] == "1.0"


@pytest.mark.network
@pytest.mark.parametrize(
    ("requirement", "error"),
    [("xmlsec==1.3.13", NeedsSourceError), ("requests==2.32.0", YankedError)],
)
def test_real_packages_that_are_not_simply_taken(requirement: str, error: type[Error]) -> None:
    asked = parse_lines([requirement], "here")
    question = Question(asked, Target((3, 11), (2, 28)), "https://pypi.org/simple", "here")
    with pytest.raises(error, match=requirement.partition("=")[0]):
        uv.resolve(question)
