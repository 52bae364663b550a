"""The `suites:` of recipes, and the options of kind `apt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.fields import RecipeError
from builders.loader import load_recipe
from builders.recipe import Kind, SuiteSpec

if TYPE_CHECKING:
    from pathlib import Path

    from builders.recipe import Recipe

UBUNTU = """\
  - suite: jammy-updates
    mirror: http://archive.ubuntu.com/ubuntu/
    components: [main, universe]
    keyring: keyrings/ubuntu.gpg
"""


def load(folder: Path, text: str) -> Recipe:
    file = folder / "it.yaml"
    file.write_text(text)
    return load_recipe(file)


def apt(folder: Path, suites: str, *, base: str = "base: head\n") -> Recipe:
    return load(folder, f"kind: apt\npackages: [it]\n{base}suites:\n{suites}")


def test_suites_are_names_or_say_where_they_are(tmp_path: Path) -> None:
    found = apt(tmp_path, f"  - bookworm\n  - {{suite: sid, components: [contrib]}}\n{UBUNTU}")
    assert found.kind is Kind.APT
    assert found.options["base"] == "head"
    assert found.options["suites"] == (
        "bookworm",
        SuiteSpec("sid", components=("contrib",)),
        SuiteSpec(
            "jammy-updates",
            "http://archive.ubuntu.com/ubuntu",
            ("main", "universe"),
            "keyrings/ubuntu.gpg",
        ),
    )


@pytest.mark.parametrize(
    ("suites", "reason"),
    [
        ("  []", "the list is empty"),
        ("  - bookworm\n  - bookworm\n", "listed twice"),
        ("  - Bookworm\n", "no Debian suite"),
        ("  - ../bookworm\n", "no Debian suite"),
        ("  - {components: [main]}\n", "key 'suite' is missing"),
        ("  - {suite: sid, mirrors: x}\n", "unknown key 'mirrors'"),
        ("  - {suite: sid, mirror: 'http://x/debian'}\n", "has a keyring of its own"),
        ("  - {suite: sid, mirror: 'file:///etc', keyring: k.gpg}\n", "is no URL"),
        ("  - {suite: sid, mirror: 'http://u:p@x/', keyring: k.gpg}\n", "user or password"),
        ("  - {suite: sid, mirror: 'http://x y/', keyring: k.gpg}\n", "is no URL"),
        ("  - {suite: sid, keyring: ../../etc/k.gpg}\n", "does not stay in its folder"),
        ("  - {suite: sid, keyring: /etc/k.gpg}\n", "does not stay in its folder"),
        ("  - {suite: sid, components: ['main ] /']}\n", "is no component"),
        ("  - {suite: sid, components: [main, main]}\n", "listed twice"),
    ],
)
def test_suites_that_are_refused(tmp_path: Path, suites: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason) as caught:
        apt(tmp_path, suites)
    assert "p@x" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: apt\npackages: [it]\n", "key 'base' is missing"),
        ("kind: apt\nbase: head\n", "key 'packages' is missing"),
        ("kind: apt\nbase: head\npackages: []\n", "the list is empty"),
        ("kind: apt\nbase: ../head\npackages: [it]\n", "no recipe name"),
        ("kind: apt\nbase: head\npackages: [-o]\n", "no Debian package name"),
        ("kind: apt\nbase: head\npackages: [it=1]\n", "no Debian package name"),
        ("kind: apt\nbase: head\npackages: [it]\nprune: [x]\n", "unknown key 'prune'"),
        ("kind: deb\npackages: [it]\nclosure: all\n", "wrong type"),
        ("kind: deb\npackages: [it]\nlinks: [x]\n", "wrong type"),
        ("kind: deb\npackages: [it]\nlinks: {../x: y}\n", "does not stay in its folder"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load(tmp_path, text)


def test_links_and_closures(tmp_path: Path) -> None:
    found = load(tmp_path, "kind: deb\npackages: [it]\nclosure: true\nlinks: {bin/a: b}\n")
    assert found.options["closure"] is True
    assert dict(found.options["links"]) == {"bin/a": "b"}
    plain = load(tmp_path, "kind: deb\npackages: [it]\n")
    assert "closure" not in plain.options
    assert "links" not in plain.options
