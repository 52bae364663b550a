from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from store.closure import MissingReferenceError
from store.database import Realised
from store.errors import InputError
from store.hashes import nix32_encode
from store.local import Addition, LocalStore
from store.nar import BadTreeError, hash_tree
from store.path import NotAStorePathError, StorePath
from tests.store.trees import ODD, Tree, added, lay, read, trees

NOBODY = StorePath("0" * 32, "nobody")


def test_what_is_added_is_there(store: LocalStore) -> None:
    info = added(store, ODD, "odd-1.0")
    assert read(store.real(info.path)) == ODD
    assert store.info(info.path) == info
    assert store.valid([info.path, NOBODY]) == {info.path}
    assert store.paths() == [info]
    assert hash_tree(store.real(info.path)).sha256.hex() == info.nar_sha256
    assert store.verify().clean


def test_files_links_and_directories_can_be_objects(store: LocalStore) -> None:
    shapes: tuple[Tree, ...] = (b"file", (b"program",), "link", {}, {b"d": {}})
    for tree in shapes:
        info = added(store, tree)
        assert read(store.real(info.path)) == tree
    assert store.verify().clean


def test_adding_twice_is_adding_once(store: LocalStore) -> None:
    first = added(store, ODD)
    second = added(store, ODD, durable=True)
    assert second.path == first.path
    assert store.paths() == [first]
    assert _leftovers(store) == []


def test_modes_and_times_are_canonical(store: LocalStore) -> None:
    info = added(store, {b"d": {b"f": b"1", b"p": (b"2",)}, b"l": "d"})
    root = store.real(info.path)
    modes = {each.name: stat.S_IMODE(each.lstat().st_mode) for each in root.rglob("[dfp]")}
    assert modes == {"d": 0o555, "f": 0o444, "p": 0o555}
    assert stat.S_IMODE(root.stat().st_mode) == 0o555
    assert {each.lstat().st_mtime for each in (root, *root.rglob("*"))} == {1}


def test_equal_files_lie_on_the_disk_once(store: LocalStore) -> None:
    one = store.real(added(store, {b"a": b"same", b"b": b"same", b"p": (b"same",)}, "one").path)
    two = store.real(added(store, {b"c": b"same"}, "two").path)
    shared = (one / "a").stat()
    assert shared.st_ino == (one / "b").stat().st_ino == (two / "c").stat().st_ino
    assert (one / "p").stat().st_ino != shared.st_ino
    assert len(list(store.links_dir.iterdir())) == 2
    assert shared.st_nlink == 4


def test_a_damaged_shared_file_is_not_shared_again(store: LocalStore) -> None:
    one = store.real(added(store, {b"a": b"same"}, "one").path)
    (one / "a").chmod(0o644)
    (one / "a").write_bytes(b"evil")
    two = store.real(added(store, {b"c": b"same"}, "two").path)
    three = store.real(added(store, {b"d": b"same"}, "three").path)
    assert (two / "c").read_bytes() == (three / "d").read_bytes() == b"same"
    assert [damage.info.path.name for damage in store.verify().damaged] == ["one"]


def test_a_hard_link_to_the_outside_is_cut(store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    outside.chmod(0o640)
    with store.temporary() as place:
        (place / "tree").mkdir()
        os.link(outside, place / "tree" / "a")
        os.link(outside, place / "tree" / "b")
        info = store.add(place / "tree", "linked")
    outside.write_bytes(b"changed later")
    assert stat.S_IMODE(outside.stat().st_mode) == 0o640
    assert read(store.real(info.path)) == {b"a": b"mine", b"b": b"mine"}
    assert store.verify().clean


def test_files_of_the_store_may_be_linked_into_a_tree(store: LocalStore) -> None:
    one = added(store, {b"a": b"big", b"p": (b"run",)}, "one")
    with store.temporary() as place:
        (place / "tree").mkdir()
        for name in ("a", "p"):
            os.link(store.real(one.path) / name, place / "tree" / name)
        two = store.add(place / "tree", "two")
    assert two.nar_sha256 == one.nar_sha256
    assert store.verify().clean


def test_more_names_than_a_file_can_have(store: LocalStore, tmp_path: Path) -> None:
    """Ext4 gives a file 65,000 names; the next takes the place in `.links`."""
    one = store.real(added(store, {b"a": b"popular"}, "one").path)
    limit = os.pathconf(tmp_path, "PC_LINK_MAX")
    if limit > 70_000:
        pytest.skip(f"this file system allows {limit} names")
    crowd = store.store_dir / ".tmp-crowd"
    crowd.mkdir()
    for number in range(limit - 2):
        os.link(one / "a", crowd / str(number))
    two = store.real(added(store, {b"a": b"popular"}, "two").path)
    three = store.real(added(store, {b"a": b"popular"}, "three").path)
    assert (two / "a").stat().st_ino == (three / "a").stat().st_ino
    assert (two / "a").stat().st_ino != (one / "a").stat().st_ino
    assert store.verify().clean


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o4644, 0o2644])
def test_setuid_and_setgid_are_refused(store: LocalStore, mode: int) -> None:
    with store.temporary() as place:
        lay(place / "tree", {b"bin": {b"su": (b"x",)}})
        (place / "tree" / "bin" / "su").chmod(mode)
        with pytest.raises(BadTreeError, match="setuid") as caught:
            store.add(place / "tree", "su")
        assert str(caught.value.where).endswith("bin/su")
    assert store.paths() == []


def test_special_files_are_refused(store: LocalStore) -> None:
    with store.temporary() as place:
        (place / "tree").mkdir()
        os.mkfifo(place / "tree" / "pipe")
        with pytest.raises(BadTreeError):
            store.add(place / "tree", "pipe")
    assert store.paths() == []
    assert _leftovers(store) == []


def test_extended_attributes_go(store: LocalStore) -> None:
    with store.temporary() as place:
        lay(place / "tree", {b"f": b"x"})
        try:
            os.setxattr(place / "tree" / "f", "user.note", b"secret")
        except OSError as error:
            pytest.skip(f"no extended attributes here: {error}")
        info = store.add(place / "tree", "noted")
    assert os.listxattr(store.real(info.path) / "f") == []


def test_unreadable_files_are_read(store: LocalStore) -> None:
    with store.temporary() as place:
        lay(place / "tree", {b"f": b"x"})
        (place / "tree" / "f").chmod(0)
        info = store.add(place / "tree", "closed")
    assert read(store.real(info.path)) == {b"f": b"x"}


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a\nb", "x" * 300])
def test_illegal_names_are_refused_before_anything_is_touched(store: LocalStore, name: str) -> None:
    with store.temporary() as place:
        lay(place / "tree", b"x")
        with pytest.raises(InputError):
            store.add(place / "tree", name)
        assert (place / "tree").stat().st_nlink == 1


def test_references_are_found_and_declared(store: LocalStore) -> None:
    one, two, three, four = (added(store, b"%d" % each, f"p{each}").path for each in range(4))
    tree: Tree = {
        b"text": f"see {store.real(one)}/x".encode(),
        b"link": f"../{two}/x",
        b"unknown": str(four).encode(),
    }
    with store.temporary() as place:
        lay(place / "tree", tree)
        info = store.add(place / "tree", "user", candidates=[one, two, three], references=[three])
    assert info.references == tuple(sorted([one, two, three]))
    assert store.info(info.path) == info
    assert [each.path for each in store.closure([info.path])][-1] == info.path
    assert {each.path for each in store.closure([info.path])} == {one, two, three, info.path}


def test_a_reference_across_a_read_is_found(store: LocalStore) -> None:
    one = added(store, b"x", "one").path
    for offset in range((1 << 18) - 70, (1 << 18) + 2, 9):
        with store.temporary() as place:
            lay(place / "tree", bytes(offset) + str(store.real(one)).encode())
            assert store.add(place / "tree", "far", candidates=[one], durable=False).references


def test_a_reference_that_is_not_valid_is_refused(store: LocalStore) -> None:
    with store.temporary() as place:
        lay(place / "tree", b"x")
        with pytest.raises(MissingReferenceError, match="nobody"):
            store.add(place / "tree", "user", references=[NOBODY])
    assert store.paths() == []


def test_many_are_added_at_once_and_may_refer_to_each_other(store: LocalStore) -> None:
    with store.temporary() as place:
        for number in range(30):
            lay(place / f"t{number}", b"%d" % (number // 2))
        first = store.add_many([Addition(place / "t0", "base")])[0]
        items = [Addition(place / f"t{each}", f"n{each}", [first.path]) for each in range(1, 30)]
        infos = store.add_many(items)
    assert [info.path.name for info in infos] == [item.name for item in items]
    assert all(info.references == (first.path,) for info in infos)
    assert len(store.paths()) == 30
    assert store.add_many([]) == []
    assert store.verify().clean


def test_equal_items_are_one_path(store: LocalStore) -> None:
    with store.temporary() as place:
        for number in range(3):
            lay(place / f"t{number}", {b"same": b"x"})
        infos = store.add_many([Addition(place / f"t{each}", "same") for each in range(3)])
    assert len({info.path for info in infos}) == 1
    assert len(store.paths()) == 1
    assert _leftovers(store) == []


def test_of_many_all_or_none(store: LocalStore) -> None:
    with store.temporary() as place:
        lay(place / "good", b"x")
        os.mkfifo(place / "bad")
        with pytest.raises(BadTreeError):
            store.add_many([Addition(place / "good", "good"), Addition(place / "bad", "bad")])
    assert store.paths() == []


def test_what_vanished_is_not_valid_and_comes_back(store: LocalStore) -> None:
    info = added(store, b"x")
    store.realise("d" * 64, info.path, key="k", derivation="{}", seconds=1.0)
    store.real(info.path).unlink()
    assert store.info(info.path) is None
    assert store.valid([info.path]) == set()
    assert store.realisation("d" * 64) is None
    with pytest.raises(MissingReferenceError):
        store.closure([info.path])
    added(store, b"x")
    assert store.realisation("d" * 64) == info.path
    assert store.verify().clean


def test_garbage_of_the_same_name_makes_way(store: LocalStore, tmp_path: Path) -> None:
    info = added(store, {b"a": b"x"})
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as other:
        with other.database.writing(durable=False):
            other.database.unregister([info.path])
        target = other.real(info.path)
        target.chmod(0o755)
        (target / "half").write_bytes(b"written")
        added(other, {b"a": b"x"})
        assert read(target) == {b"a": b"x"}
        assert other.verify().clean
        assert _leftovers(other) == []


def test_realisations_and_builds(store: LocalStore) -> None:
    one, two = added(store, b"1", "one").path, added(store, b"2", "two").path
    assert store.realisation("a") is None
    assert store.last_derivation("key") is None
    assert store.duration("key") is None
    store.realise("a", one, key="key", derivation='{"n":1}', seconds=1.5)
    store.realise("b", two, key="key", derivation='{"n":2}', seconds=2.5)
    assert store.realisations(["a", "b", "c"]) == {"a": one, "b": two}
    assert store.last_derivation("key") == ('{"n":2}', two)
    assert store.duration("key") == 2.5
    store.forget("a")
    assert store.realisations(["a", "b"]) == {"b": two}
    with pytest.raises(MissingReferenceError):
        store.realise("c", NOBODY, key="key", derivation="", seconds=0)
    assert store.last_derivation("key") == ('{"n":2}', two)


def test_many_are_realised_or_none(store: LocalStore) -> None:
    one, two = added(store, b"1", "one").path, added(store, b"2", "two").path
    good = [Realised("a", one, "k", "{}", 1), Realised("b", two, "l", "{}", 2)]
    with pytest.raises(MissingReferenceError):
        store.realise_many([*good, Realised("c", NOBODY, "m", "{}", 3)])
    assert store.realisations("abc") == {}
    assert store.last_derivation("k") is None
    store.realise_many(good)
    assert store.realisations("abc") == {"a": one, "b": two}


def test_thousands_of_digests_are_looked_up_at_once(store: LocalStore) -> None:
    path = added(store, b"1").path
    store.realise("7", path, key="k", derivation="", seconds=0)
    assert store.realisations([str(each) for each in range(40_000)]) == {"7": path}


def test_memos(store: LocalStore) -> None:
    assert store.memo_get("t", "k") is None
    store.memo_put("t", "k", b"\x00one")
    store.memo_put("u", "k", b"other")
    store.memo_put("t", "k", b"two")
    assert store.memo_get("t", "k") == b"two"


def test_everything_survives_closing(tmp_path: Path) -> None:
    place = tmp_path.resolve() / "store"
    with LocalStore.open(place) as store:
        info = added(store, ODD)
        store.realise("a", info.path, key="k", derivation="{}", seconds=1)
        store.memo_put("t", "k", b"v")
    with LocalStore.open(place) as store:
        assert store.paths() == [info]
        assert store.realisation("a") == info.path
        assert store.memo_get("t", "k") == b"v"


def test_a_path_is_read_in_every_spelling(store: LocalStore) -> None:
    path = StorePath(nix32_encode(bytes(20)), "a-1.0")
    for text in (
        str(path),
        store.real(path),
        str(store.real(path)),
        store.real(path) / "bin" / "x",
    ):
        assert store.parse(text) == path
    for text in ("/etc/passwd", "a", "", str(store.store_dir), f"/other/{path}", "../x"):
        with pytest.raises(NotAStorePathError):
            store.parse(text)


def test_the_store_directory_has_one_spelling(tmp_path: Path) -> None:
    real = tmp_path.resolve()
    (real / "link").symlink_to(real)
    for place in (
        real / "link" / "store",
        real / "x" / ".." / "store",
        (real / "store").relative_to("/"),
        real / "a\nb",
        Path("/"),
    ):
        with pytest.raises(InputError):
            LocalStore.open(place)


def test_threads_may_share_a_store(store: LocalStore) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for each in range(8):
                path = added(store, {b"own": b"%d" % number, b"same": b"%d" % each}).path
                store.realise(f"{number}-{each}", path, key=f"k{number}", derivation="", seconds=0)
                store.memo_put("t", str(number), b"x")
                assert store.realisation(f"{number}-{each}") == path
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.paths()) == 48
    assert store.verify().clean


@given(tree=trees)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_is_added_whole(store: LocalStore, tree: Tree) -> None:
    info = added(store, tree)
    assert read(store.real(info.path)) == tree
    found = hash_tree(store.real(info.path))
    assert (found.sha256.hex(), found.size) == (info.nar_sha256, info.nar_size)


def _leftovers(store: LocalStore) -> list[str]:
    return [each.name for each in store.store_dir.iterdir() if each.name.startswith(".tmp")]
