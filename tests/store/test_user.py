"""The store of an ordinary user, whom read-only modes bind as they do not bind root."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store.children import child, wait
from tests.store.trees import ODD, Tree, added, deep, lay, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.local import LocalStore

NOBODY = 65534
TREE: Tree = {b"odd": ODD, b"deep": deep(20), b"same": b"x"}


@pytest.fixture
def home() -> Iterator[Path]:
    """Give an ordinary user a directory; pytest's own are closed to others."""
    place = Path(tempfile.mkdtemp(prefix="sealift-")).resolve()
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def as_user(home: Path) -> int:
    """Do the round of adding, healing and collecting in a child that is not root."""
    pid = os.fork()
    if pid:
        return wait(pid)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os._exit(wait(child(home / "store", _round)))


def _round(store: LocalStore) -> None:
    info = added(store, TREE, durable=True)
    assert read(store.real(info.path)) == TREE
    assert added(store, TREE).path == info.path
    others: tuple[Tree, ...] = (b"file", "link", {})
    for tree in others:
        added(store, tree)
    _closed(store)
    real = store.real(info.path)
    real.chmod(0o755)
    (real / "more").write_text("x")
    assert not store.verify().clean
    assert store.verify(repair=lambda _: added(store, TREE).path == info.path).clean
    _garbage(store, info.path.name)
    store.collect()
    assert [each.name for each in store.store_dir.iterdir()] == [".links"]
    assert list(store.links_dir.iterdir()) == []


def _closed(store: LocalStore) -> None:
    """Add what even its owner may not read or enter."""
    with store.temporary() as place:
        lay(place / "t", {b"d": {b"f": b"x"}, b"shut": {b"g": b"x"}})
        (place / "t" / "shut").chmod(0)
        (place / "t" / "d" / "f").chmod(0)
        (place / "t" / "d").chmod(0o555)
        (place / "t").chmod(0o555)
        path = store.add(place / "t", "closed").path
    assert read(store.real(path)) == {b"d": {b"f": b"x"}, b"shut": {b"g": b"x"}}


def _garbage(store: LocalStore, name: str) -> None:
    """Let a read-only tree that is not registered stand where one belongs."""
    path = added(store, {b"again": ODD}, name).path
    with store.database.writing(durable=False):
        store.database.unregister([path])
    assert added(store, {b"again": ODD}, name).path == path


def test_an_ordinary_user_has_a_store(home: Path) -> None:
    assert as_user(home) == 0
