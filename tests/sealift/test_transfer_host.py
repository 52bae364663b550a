"""A transfer host has no recipes: commands that need none work, once something was received."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sealift.conftest import Folder


def test_where_bundles_are_received_no_recipes_are_needed(folder: Folder) -> None:
    (folder.root / "recipes").rmdir()
    before = folder.run("path-info", "release")
    assert "the recipes folder does not exist" in before.stderr
    (folder.root / "var" / "received").mkdir(parents=True)
    after = folder.run("path-info", "release")
    assert "'release' is neither a store path nor a recipe" in after.stderr
    assert folder.run("list").returncode == 0


def test_a_folder_that_is_named_must_be_there(folder: Folder) -> None:
    (folder.root / "var" / "received").mkdir(parents=True)
    file = folder.root / "sealift.yaml"
    file.write_text(file.read_text() + "recipes: elsewhere\n")
    assert "the recipes folder does not exist" in folder.run("list").stderr
