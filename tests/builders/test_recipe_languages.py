"""`python: "3.13"`: which toolchain is meant, and what there is to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.fields import RecipeError
from builders.loader import load_recipes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.recipe import Recipe

PYTHON = "kind: toolchain\nlanguage: python\nversion: '{}'\npackages: [aa]\n"
NODE = "kind: toolchain\nlanguage: node\nversion: {}\nnpm: 11.1.0\ninputs: {{python: one}}\n"
ENV = "kind: env\nrequirements: [a]\n"
DIST = "kind: dist\nsource: a\nroute: /\ninputs: {python: one}\n"


def load(folder: Path, text: str, **more: str) -> Mapping[str, Recipe]:
    plain = "kind: deb\npackages: [aa]\n"
    recipes = {
        **dict.fromkeys(("base", "patchelf", "cxx-runtime", "python-tools"), plain),
        "one": PYTHON.format("3.11"),
        "python-3.11": PYTHON.format("3.12"),
        "two": PYTHON.format("3.1"),
        "node-20": NODE.format("20.20.2"),
        "node-next": NODE.format("22.1.0"),
        **more,
        "it": text,
    }
    for name, content in recipes.items():
        (folder / f"{name}.yaml").write_text(content)
    return load_recipes(folder)


@pytest.mark.parametrize(
    ("text", "role", "name"),
    [
        (ENV + "python: '3.11'\n", "python", "one"),
        (ENV + "python: '3.1'\n", "python", "two"),
        (ENV, "python", "python-3.11"),
        (ENV + "inputs: {python: two}\n", "python", "two"),
        (DIST + "node: '22'\n", "node", "node-next"),
        (DIST + "node: 22.1.0\n", "node", "node-next"),
        (DIST, "node", "node-20"),
    ],
)
def test_the_toolchain_of_that_version(tmp_path: Path, text: str, role: str, name: str) -> None:
    assert load(tmp_path, text)["it"].inputs[role] == name


def test_a_toolchain_s_own_version_chooses_nothing(tmp_path: Path) -> None:
    assert "python" not in load(tmp_path, ENV)["one"].inputs


@pytest.mark.parametrize(
    ("key", "reason", "there"),
    [
        ("python: '3.14'", "no toolchain is python 3.14", "3.1 (two), 3.11 (one), 3.12"),
        ("python: '3'", "several toolchains are python 3", "3.1 (two), 3.11 (one)"),
        ("python: 3.11.2", "no toolchain is python 3.11.2", "3.11 (one)"),
    ],
)
def test_what_there_is_is_named(tmp_path: Path, key: str, reason: str, there: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, f"{ENV}{key}\n")
    assert caught.value.reason == reason
    assert there in str(caught.value.expected)
    assert str(caught.value.where).endswith("it.yaml:3:9")


def test_two_toolchains_of_one_version_are_told_apart_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, ENV + "python: '3.11'\n", other=PYTHON.format("3.11"))
    assert caught.value.expected == "3.11 (one), 3.11 (other)"
    assert caught.value.hint == "name the recipe: inputs: {python: NAME}"


def test_to_choose_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="chooses its python twice"):
        load(tmp_path, ENV + "python: '3.11'\ninputs: {python: one}\n")


def test_a_version_is_read_as_it_is_written(tmp_path: Path) -> None:
    other = PYTHON.format("3.10")
    assert load(tmp_path, ENV + "python: 3.10\n", other=other)["it"].inputs["python"] == "other"
