"""A transfer host has no recipes: commands that need none work, once something was received."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from store.local import LocalStore
from store.lock import hold
from tests.store.trees import lay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.sealift.conftest import Folder


def test_where_bundles_are_received_no_recipes_are_needed(folder: Folder) -> None:
    (folder.root / "recipes").rmdir()
    before = folder.run("path-info", "release")
    assert "the recipes folder does not exist" in before.stderr
    (folder.root / "var" / "received").mkdir(parents=True)
    after = folder.run("path-info", "release")
    assert "'release' is neither a store path nor a recipe" in after.stderr
    assert folder.run("list").returncode == 0


@pytest.mark.parametrize("words", [("gc",), ("store", "gc")])
def test_room_is_made_where_nothing_was_received_yet(folder: Folder, words: Sequence[str]) -> None:
    """What an interrupted first `receive` left goes: files, and pieces that wait for others."""
    (folder.root / "recipes").rmdir()
    assert folder.run(*words).returncode == 0, "there is no store yet"
    left = folder.root / "store" / ".links" / ("0" * 64)
    piece = folder.root / "var" / "quarantine" / "bundle" / "1"
    piece.parent.mkdir(parents=True)
    for file in (left, piece):
        file.write_bytes(b"x" * 1_000_000)
    with hold(folder.root / "var" / "locks" / "received"):
        assert folder.run(*words).returncode == 0
        assert piece.exists(), "somebody receives"
    left.write_bytes(b"x" * 1_000_000)
    done = folder.run(*words)
    assert done.returncode == 0, done.stderr
    assert "2.0 MB" in done.stderr
    assert not left.exists()
    assert not piece.exists()


def test_what_an_interrupted_receive_left_needs_no_recipes(folder: Folder) -> None:
    (folder.root / "recipes").rmdir()
    with LocalStore.open(folder.root / "store") as store, store.temporary() as place:
        lay(place / "tree", {b"app": b"1"})
        store.add(place / "tree", "taken-in-before", durable=False)
    assert folder.run("store", "gc").returncode == 2
    (folder.root / "var" / "locks" / "received").touch()
    assert folder.run("store", "gc").returncode == 0


def test_a_folder_that_is_named_must_be_there(folder: Folder) -> None:
    (folder.root / "var" / "received").mkdir(parents=True)
    file = folder.root / "sealift.yaml"
    file.write_text(file.read_text() + "recipes: elsewhere\n")
    assert "the recipes folder does not exist" in folder.run("list").stderr
