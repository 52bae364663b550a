"""What recipes say of packages that are built from source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.fields import RecipeError
from builders.loader import load_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from builders.recipe import Recipe


def recipe(tmp_path: Path, lines: str) -> Recipe:
    file = tmp_path / "asking.yaml"
    file.write_text(f"kind: env\nrequirements: [top]\n{lines}\n")
    return load_recipe(file)


def test_names_are_spelled_alike(tmp_path: Path) -> None:
    said = recipe(
        tmp_path,
        "sdists: [Lxml, zope.interface]\nbuild_packages: [libxml2-dev]\n"
        "build_requirements: {Xml_Sec: ['setuptools<70']}",
    ).options
    assert said["sdists"] == ("lxml", "zope-interface")
    assert said["build_packages"] == ("libxml2-dev",)
    assert said["build_requirements"] == {"xml-sec": ("setuptools<70",)}


def test_nothing_said_is_nothing_there(tmp_path: Path) -> None:
    assert recipe(tmp_path, "").options.keys() == {"requirements", "glibc"}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("sdists: [lxml==4]", "no name of a Python package"),
        ("sdists: [lxml, LXML]", "listed twice"),
        ("build_packages: [../x]", "no Debian package name"),
        ("build_requirements: {lxml: ['x @ https://x/y.whl']}", "not a package of the index"),
        ("build_requirements: {lxml: ['-r more.txt']}", "cannot be locked"),
        ("build_requirements: [lxml]", "wrong type"),
    ],
)
def test_what_cannot_be_locked_is_refused_with_its_place(
    tmp_path: Path, lines: str, told: str
) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        recipe(tmp_path, lines)
    assert (caught.value.where or "").startswith(f"{tmp_path}/asking.yaml:3:")
