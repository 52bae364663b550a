"""One digest over recipes and locks, found again without opening a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders import recipe_digest, stat_cache
from builders.recipe_digest import recipes_digest
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Cache(dict[str, bytes]):
    def put(self, key: str, value: bytes) -> None:
        self[key] = value


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust each stamp at once, as if every file had been written long ago."""
    monkeypatch.setattr(stat_cache, "RACY", -(10**10))


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    (folder / "backends").mkdir(parents=True)
    (folder / "locks").mkdir()
    (folder / "backends" / "a.yaml").write_text("a")
    (folder / "locks" / "a.toml").write_text("a")
    (folder / "release.yaml").write_text("r")
    return folder


def digest(recipes: Path, cache: Cache) -> str:
    return recipes_digest([recipes, recipes / "locks"], cache=cache)


def add_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "b.yaml").write_text("b")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a recipe": lambda folder: (folder / "backends" / "a.yaml").write_text("b"),
    "a lock": lambda folder: (folder / "locks" / "a.toml").write_text("b"),
    "a new recipe": lambda folder: (folder / "backends" / "b.yaml").write_text("b"),
    "a new folder": lambda folder: add_folder(folder / "new"),
    "a recipe gone": lambda folder: (folder / "release.yaml").unlink(),
    "a recipe renamed": lambda folder: (folder / "release.yaml").rename(folder / "other.yaml"),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_gives_another_digest(recipes: Path, change: str) -> None:
    cache = Cache()
    before = digest(recipes, cache)
    assert digest(recipes, cache) == before
    CHANGES[change](recipes)
    after = digest(recipes, cache)
    assert after != before
    assert after == digest(recipes, Cache())


@pytest.mark.usefixtures("patient")
def test_nothing_changed_opens_nothing(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    before = digest(recipes, cache)

    def look(*_: object) -> None:
        pytest.fail("the folders were looked through again")

    monkeypatch.setattr(recipe_digest, "_look", look)
    assert digest(recipes, cache) == before


@pytest.mark.usefixtures("patient")
def test_what_a_link_leads_to_is_read_each_time(recipes: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("one")
    (recipes / "shared.yaml").symlink_to(tmp_path / "shared.yaml")
    cache = Cache()
    before = digest(recipes, cache)
    (tmp_path / "shared.yaml").write_text("two")
    assert digest(recipes, cache) != before


def test_hidden_files_and_pipes_do_not_count(recipes: Path) -> None:
    before = digest(recipes, Cache())
    (recipes / ".a.yaml.swp").write_text("x")
    os.mkfifo(recipes / "pipe")
    assert digest(recipes, Cache()) == before


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    cache = Cache()
    before = digest(tmp_path / "recipes", cache)
    assert digest(tmp_path / "recipes", cache) == before
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "a.yaml").write_text("a")
    assert digest(tmp_path / "recipes", cache) != before


def test_what_cannot_be_read(recipes: Path) -> None:
    (recipes / "locks" / "a.toml").unlink()
    (recipes / "locks").rmdir()
    (recipes / "locks").write_text("a file where a folder should be")
    with pytest.raises(InputError) as caught:
        digest(recipes, Cache())
    assert caught.value.where == str(recipes / "locks")
