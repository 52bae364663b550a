"""Locking sdists: found, read and never run; with what they are built, to the last hash."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from builders import python_resolve
from builders.archive import ArchiveError
from builders.fetch import MismatchError
from builders.lock_files import lock_file
from builders.python_lock import (
    LockError,
    NoWheelError,
    PythonLock,
    ResolveError,
    StaleLockError,
    load,
    parse,
    render,
    requirements_of,
    target_of,
)
from builders.python_pins import Sdist, Wheel
from builders.requirements import RequirementError, parse_lines
from builders.sdist_archive import SdistError
from builders.wheel_tags import Target
from tests.builders.debs import Entry
from tests.builders.registry import serving
from tests.builders.sdists import make_sdist, publish_sdist
from tests.builders.wheels import Site, make_wheel, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.recipe import Recipe
    from store.errors import Error


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


def asking(site: Site, *requirements: str, **options: Any) -> Recipe:
    recipe = site.env("asking", *requirements)
    return site.add(replace(recipe, options={**recipe.options, **options}))


def lock(site: Site, *requirements: str, **options: Any) -> PythonLock:
    text = python_resolve.lock(asking(site, *requirements, **options), None, site.project)
    return parse(text, where="here")


def pins(packages: tuple[Wheel | Sdist, ...]) -> list[str]:
    return [pinned.pin for pinned in packages]


def test_a_package_without_a_wheel_is_taken_as_an_sdist_with_what_builds_it(site: Site) -> None:
    publish(site.registry, make_wheel("maker", "2.0", requires=["part"]), make_wheel("part"))
    publish_sdist(site.registry, "old", make_sdist("old", requires=["maker>=1"]))
    found = lock(site, "old==1.0")
    (old,) = found.sdists
    assert (old.pin, old.filename) == ("old==1.0", "old-1.0.tar.gz")
    assert old.requires == ("maker>=1",)
    assert pins(old.build) == ["maker==2.0", "part==1.0"]
    assert not found.wheels


def test_what_an_sdist_needs_to_run_is_locked_as_it_says(site: Site) -> None:
    publish(site.registry, make_wheel("needed", "1.0"), make_wheel("needed", "2.0"))
    publish_sdist(site.registry, "old", make_sdist("old", depends=["needed<2"]))
    found = lock(site, "old")
    assert pins(found.packages) == ["needed==1.0", "old==1.0"]
    assert found.sdists[0].depends == ("needed<2",)


def test_nothing_of_an_sdist_runs_when_it_is_locked(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = f"open({str(mark)!r}, 'w').close()\n"
    content = make_sdist(
        "old",
        files={"setup.py": evil, "made.py": evil, "PKG-INFO": "Name: old\nVersion: 1.0\n"},
    )
    publish_sdist(site.registry, "old", content)
    assert pins(lock(site, "old").packages) == ["old==1.0"]
    assert not mark.exists()


def test_a_package_that_the_recipe_names_is_built_although_it_has_a_wheel(site: Site) -> None:
    publish(site.registry, make_wheel("both"))
    publish_sdist(site.registry, "both", make_sdist("both"))
    assert lock(site, "both").wheels
    assert pins(lock(site, "both", sdists=("both",)).sdists) == ["both==1.0"]


def test_one_that_is_built_is_the_one_that_others_are_built_with(site: Site) -> None:
    publish(site.registry, make_wheel("both", "1.0"), make_wheel("both", "3.0"))
    publish_sdist(site.registry, "both", make_sdist("both", "2.0"), "2.0")
    publish_sdist(site.registry, "old", make_sdist("old", requires=["both>=1"]))
    found = lock(site, "old", "both==2.0", sdists=("both",))
    both, old = found.sdists
    assert old.build == (both,)


def test_what_a_build_needs_may_be_an_sdist_itself(site: Site) -> None:
    publish(site.registry, make_wheel("maker"))
    publish_sdist(site.registry, "inner", make_sdist("inner", requires=["maker"]))
    publish_sdist(site.registry, "old", make_sdist("old", requires=["inner"]))
    (old,) = lock(site, "old").sdists
    (inner,) = old.build
    assert isinstance(inner, Sdist)
    assert pins(inner.build) == ["maker==1.0"]


def test_a_source_without_pyproject_is_built_with_setuptools(site: Site) -> None:
    publish(site.registry, make_wheel("setuptools", "80.0"), make_wheel("wheel", "0.40"))
    content = make_sdist("old", files={"pyproject.toml": ""})
    publish_sdist(site.registry, "old", content)
    (old,) = lock(site, "old").sdists
    assert old.requires == ("setuptools>=40.8.0", "wheel")
    assert pins(old.build) == ["setuptools==80.0", "wheel==0.40"]


def test_a_recipes_build_requirements_stand_for_those_of_the_same_name(site: Site) -> None:
    publish(
        site.registry,
        *(make_wheel("maker", version) for version in ("1.0", "2.0")),
        make_wheel("kept"),
        make_wheel("more"),
    )
    publish_sdist(site.registry, "old", make_sdist("old", requires=["Maker>=2", "kept"]))
    own = {"old": ("maker<2", "more")}
    (old,) = lock(site, "old", build_requirements=own).sdists
    assert old.requires == ("kept", "maker<2", "more")
    assert pins(old.build) == ["kept==1.0", "maker==1.0", "more==1.0"]


def test_other_build_requirements_make_a_lock_stale(site: Site) -> None:
    publish(site.registry, make_wheel("maker"))
    publish_sdist(site.registry, "old", make_sdist("old", requires=["maker"]))
    recipe = asking(site, "old")
    file = lock_file(recipe, site.project.settings)
    file.write_text(python_resolve.lock(recipe, None, site.project))
    target = target_of(recipe, site.project)
    assert load(file, requirements_of(recipe, None), target, name="asking").sdists
    for options in ({"build_requirements": {"old": ("maker<9",)}}, {"sdists": ("old",)}):
        other = requirements_of(asking(site, "old", **options), None)
        with pytest.raises(StaleLockError):
            load(file, other, target, name="asking")


@pytest.mark.parametrize("key", ["sdists", "build_requirements"])
def test_a_name_of_which_nothing_is_built_is_refused(site: Site, key: str) -> None:
    publish(site.registry, make_wheel("top"))
    publish_sdist(site.registry, "other", make_sdist("other"))
    value: Any = ("other",) if key == "sdists" else {"other": ("top",)}
    with pytest.raises(SdistError, match=f"`{key}` names 'other'"):
        lock(site, "top", **{key: value})


def test_an_sdist_that_is_needed_to_build_itself_is_refused(site: Site) -> None:
    publish_sdist(site.registry, "one", make_sdist("one", requires=["two"]))
    publish_sdist(site.registry, "two", make_sdist("two", requires=["one"]))
    with pytest.raises(SdistError, match=r"one==1\.0 → two==1\.0 → one==1\.0"):
        lock(site, "one")


def test_a_package_without_an_sdist_cannot_be_built(site: Site) -> None:
    publish(site.registry, make_wheel("top"))
    with pytest.raises((NoWheelError, ResolveError), match=r"no sdist|no answer"):
        lock(site, "top", sdists=("top",))


def test_a_build_requirement_that_nobody_has_is_named(site: Site) -> None:
    publish_sdist(site.registry, "old", make_sdist("old", requires=["nowhere>=3"]))
    with pytest.raises(ResolveError) as caught:
        lock(site, "old")
    assert "nowhere" in (caught.value.got or "")
    assert "to build old==1.0" in (caught.value.where or "")


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (make_sdist("evil"), SdistError, "is not what its name says"),
        (make_sdist("old", "2.0"), SdistError, "is not what its name says"),
        (make_sdist("old", files={"PKG-INFO": ""}), SdistError, "is not what its name says"),
        (b"no archive", ArchiveError, "damaged"),
        (make_sdist("old", more=[Entry("../evil")]), ArchiveError, "climbs"),
        (make_sdist("old", more=[Entry("old-1.0/x", kind=b"4")]), ArchiveError, "block device"),
        (make_sdist("old", more=[Entry("evil/x")]), ArchiveError, "second folder"),
        (make_sdist("old", files={"pyproject.toml": "[["}), SdistError, "pyproject.toml is none"),
        (
            make_sdist("old", files={"pyproject.toml": "build-system = 1"}),
            SdistError,
            "is no table",
        ),
        (
            make_sdist("old", files={"pyproject.toml": "[build-system]\nrequires = 'x'"}),
            SdistError,
            "is no list",
        ),
        (make_sdist("old", requires=["x @ git+https://x/y"]), RequirementError, "not a package"),
    ],
)
def test_an_sdist_that_makes_no_sense_is_refused(
    site: Site, content: bytes, error: type[Error], told: str
) -> None:
    publish_sdist(site.registry, "old", content)
    with pytest.raises(error, match=told):
        lock(site, "old")


def test_an_index_that_sends_other_bytes_is_refused(site: Site) -> None:
    path = publish_sdist(site.registry, "old", make_sdist("old"))
    site.registry.files[path] = make_sdist("old", depends=["evil"])
    with pytest.raises(MismatchError):
        lock(site, "old")


ASKED = parse_lines(["old"], "here")
TARGET = Target((3, 11))
MAKER = Wheel("maker", "2.0", "https://x/maker-2.0-py3-none-any.whl", "aa" * 32, 5)
INNER = Sdist("inner", "1.0", "https://x/inner-1.0.tar.gz", "bb" * 32, 6, build=(MAKER,))
OLD = Sdist(
    "old",
    "1.0",
    "https://x/old-1.0.tar.gz",
    "cc" * 32,
    7,
    build=(INNER, MAKER),
    requires=("inner", 'maker ; python_version < "4"'),
    depends=('needed ; extra == "x"',),
)


def test_parse_and_render_are_inverses() -> None:
    text = render([OLD], ASKED, TARGET)
    lock = parse(text, where="here")
    assert lock.packages == (OLD,)
    assert render(lock.packages, ASKED, TARGET) == text


def test_what_is_locked_to_run_is_not_locked_twice_to_build() -> None:
    text = render([OLD, MAKER], ASKED, TARGET)
    assert text.count("maker-2.0-py3-none-any.whl") == 1
    assert parse(text, where="here").packages == (MAKER, OLD)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '    "maker==2.0",\n',
            '    "maker==3.0",\n',
            r"built with maker==3\.0, which it does not",
        ),
        ('    "maker==2.0",\n', '    "old==1.0",\n', r"old==1\.0 is needed to build itself"),
        ("cc" * 32, "cc" * 31, "not a SHA-256"),
        ("old-1.0.tar.gz", "evil-1.0.tar.gz", "is an sdist of evil"),
        ("old-1.0.tar.gz", "old-1.0.zip", "is an sdist of"),
        ("requires = [", "wants = [", "'requires' is missing"),
    ],
)
def test_a_lock_that_does_not_hold_together_is_refused(old: str, new: str, told: str) -> None:
    text = render([OLD], ASKED, TARGET)
    assert old in text
    with pytest.raises(LockError, match=told):
        parse(text.replace(old, new, 1), where="here")
