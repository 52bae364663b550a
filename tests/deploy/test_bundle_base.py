"""The base of a delta: what a receipt lets a bundle leave out, and when the base is not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from deploy import holding
from deploy.bundle import records
from deploy.bundle.base import check_receipt, delta, missing, require, whole
from deploy.bundle.manifest import Base
from deploy.bundle.read import Bundle
from deploy.bundle.receive import alone, receive
from deploy.bundle.write import Label, write
from deploy.errors import BaseMissingError, OtherSiteError
from deploy.receipt import Machine, Receipt
from store.frames import PATCH_LIMIT
from store.local import LocalStore
from store.manifest import EMPTY, Shared, blobs, describe
from tests.store.ends import AFTER, BEFORE, platform
from tests.store.trees import lay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deploy.bundle.base import Delta
    from deploy.bundle.receive import Received
    from store.manifest import File
    from store.path import StorePath
    from tests.store.trees import Tree

DIGEST = "d" * 64
SIGNATURE = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as opened:
        yield opened


def put(
    store: LocalStore, name: str, tree: Tree, references: Sequence[StorePath] = ()
) -> StorePath:
    with store.temporary() as place:
        lay(place / "tree", tree)
        return store.add(place / "tree", name, references=references, durable=False).path


def holds(store: LocalStore, *tops: StorePath) -> Receipt:
    """Return the receipt of a site that holds the closures of these, the first the newest."""
    infos = tuple(store.closure(tops))
    machine = Machine("transfer", None, tuple(info.path for info in infos))
    roots = tuple((f"gcroots/{number}", top) for number, top in enumerate(tops))
    return Receipt("hpc1", str(store.store_dir), 1, None, roots, infos, (machine,), DIGEST)


def test_without_a_receipt_all_is_carried(store: LocalStore) -> None:
    top = put(store, "release", {b"a": b"1"}, [put(store, "wheel", {b"w": b"2"})])
    found = whole(store, top)
    assert found.base is None
    assert [each.name for each in found.manifests] == ["wheel", "release"]
    assert found.whole == blobs(found.manifests)
    assert not found.patched


def test_a_changed_line_is_a_patch_of_its_file(tmp_path: Path) -> None:
    made = platform(tmp_path.resolve() / "site")
    found = delta(made.source, made.second, holds(made.source, made.first))
    new = {info.path for info in made.source.closure([made.second])}
    old = {info.path for info in made.source.closure([made.first])}
    place = str(made.source.store_dir)
    assert {each.path(place) for each in found.manifests} == new - old
    assert found.base is not None
    assert found.base.receipt == DIGEST
    assert set(found.base.paths) <= old
    files = {each: file for each, file in blobs(found.manifests).items() if each in found.patched}
    sizes = {file.size: found.patched[sha256].size for sha256, file in files.items()}
    assert sizes[len(AFTER)] == len(BEFORE)
    assert len(found.whole) + len(found.patched) <= 3
    made.source.close()


def test_of_what_is_held_as_it_is_nothing_is_carried(store: LocalStore) -> None:
    top = put(store, "release", {b"a": b"1"})
    found = delta(store, top, holds(store, top))
    assert not found.manifests
    assert not found.whole
    assert found.base == Base(DIGEST, (top,))


def test_a_file_that_another_path_has_is_not_carried(store: LocalStore) -> None:
    other = put(store, "other", {b"same": b"known", b"x": b"1"})
    top = put(store, "release", {b"new": b"known", b"more": b"unknown", b"empty": b""})
    found = delta(store, top, holds(store, other))
    assert [file.name for file in found.whole.values()] == [b"more"]
    assert found.base == Base(DIGEST, (other,)), "that path must be there for its file to be"
    assert EMPTY not in found.whole


def test_paths_are_needed_for_their_files_only_if_no_other_has_them(store: LocalStore) -> None:
    """What stays anyway is built on first: it is the last to be collected at the site."""
    wheel = put(store, "wheel", {b"w": b"known"})
    old = put(store, "old", {b"w": b"known", b"v": b"1"})
    top = put(store, "release", {b"copy": b"known"}, [wheel])
    found = delta(store, top, holds(store, old, wheel))
    assert found.base == Base(DIGEST, (wheel,))


def test_only_what_the_transfer_host_holds_counts(store: LocalStore) -> None:
    top = put(store, "release", {b"a": b"1"})
    told = holds(store, top)
    head = Machine("head1", None, told.machines[0].paths)
    elsewhere = Receipt(
        told.site,
        told.store_dir,
        1,
        None,
        (),
        told.infos,
        (Machine("transfer", None, ()), head),
        DIGEST,
    )
    found = delta(store, top, elsewhere)
    assert len(found.manifests) == 1
    assert len(found.whole) == 1


def test_a_wheel_of_another_version_is_patched_from_the_one_before(store: LocalStore) -> None:
    def wheel(version: str) -> StorePath:
        code = b"version = '%s'\n" % version.encode() + b"def f(): ...\n" * 99
        return put(
            store,
            f"flask-{version}",
            {
                b"flask": {b"app.py": code},
                b"flask-%s.dist-info" % version.encode(): {b"METADATA": code + b"meta"},
            },
        )

    old, new = wheel("3.1.2"), wheel("3.1.10")
    found = delta(store, new, holds(store, old))
    assert not found.whole
    assert {file.name for file in found.patched.values()} == {b"app.py", b"METADATA"}
    assert found.base == Base(DIGEST, (old,))


def test_the_nearest_name_is_the_forerunner(store: LocalStore) -> None:
    """Names that differ in what looks like a digest are no reason to take the wrong file."""
    units = {b"sealift-backend_5010.socket": b"5010", b"sealift-MoonlightSunshine.socket": b"8004"}
    old = put(store, "release", units)
    new = put(store, "release", {name: text * 2 for name, text in units.items()})
    found = delta(store, new, holds(store, old))
    files = {file.sha256: file for file in _rows(store, new)}
    assert {files[sha256].name: old.name for sha256, old in found.patched.items()} == {
        name: name for name in units
    }


def test_bytecode_is_patched_from_that_of_the_same_python(store: LocalStore) -> None:
    def wheel(version: str) -> StorePath:
        code = version.encode() * 99
        files = {b"app.cpython-%s.pyc" % each: each + code for each in (b"311", b"313")}
        return put(store, f"flask-{version}", {b"flask": files})

    old, new = wheel("3.1.2"), wheel("3.1.10")
    found = delta(store, new, holds(store, old))
    files = {file.sha256: file for file in _rows(store, new)}
    assert len(found.patched) == 2
    assert all(files[each].name == before.name for each, before in found.patched.items())


def test_the_newest_release_is_what_is_patched(store: LocalStore) -> None:
    first, second, third = (put(store, "release", {b"a": b"%d" % n * 99}) for n in range(3))
    for order, size in (((first, second), first), ((second, first), second)):
        found = delta(store, third, holds(store, *order))
        (before,) = found.patched.values()
        assert before.sha256 == next(_rows(store, size)).sha256


def test_large_files_are_carried_whole(store: LocalStore) -> None:
    old = put(store, "release", {b"a": bytes(PATCH_LIMIT + 1)})
    new = put(store, "release", {b"a": bytes(PATCH_LIMIT) + b"1"})
    found = delta(store, new, holds(store, old))
    assert not found.patched
    assert len(found.whole) == 1


def test_what_is_gone_here_is_known_from_earlier_bundles(store: LocalStore) -> None:
    old = put(store, "release", {b"a": b"known", b"b": b"1" * 99})
    new = put(store, "release", {b"c": b"known", b"b": b"2" * 99})
    told = holds(store, old)
    (info,) = store.closure([old])
    record = describe(info, store.real(old), Shared(store.links_dir))
    store.add_root("new", new)
    store.collect()
    without = delta(store, new, told)
    assert len(without.whole) == 2
    found = delta(store, new, told, [record])
    assert [file.name for file in found.whole.values()] == [b"b"], "its forerunner is gone here"
    assert found.base == Base(DIGEST, (old,))


def test_a_base_that_is_there_is_enough(store: LocalStore) -> None:
    top = put(store, "release", {b"a": b"1"})
    require(Base(DIGEST, (top,)), store)


def test_what_a_delta_builds_on_must_be_there(store: LocalStore) -> None:
    tops = [put(store, f"wheel-{number}", {b"a": b"%d" % number}) for number in range(20)]
    kept = put(store, "kept", {b"a": b"k"})
    store.add_root("kept", kept)
    base = Base(DIGEST, tuple(sorted([*tops, kept])))
    store.collect()
    assert missing(base, store) == sorted(tops)
    with pytest.raises(BaseMissingError) as caught:
        require(base, store)
    error = caught.value
    assert error.reason == "the store lacks 20 paths that the bundle builds on"
    assert error.expected is not None
    assert str(min(tops)) in error.expected
    assert "and 4 more" in error.expected
    assert DIGEST[:16] in str(error.got)
    assert "sealift receipt -o" in str(error.hint)
    assert error.exit_code == 6


def told_by(store: LocalStore) -> Receipt:
    """Return what a transfer host would tell of its store."""
    held = holding.look(store)
    machine = Machine("transfer", None, tuple(info.path for info in held.infos))
    place = str(store.store_dir)
    return Receipt("hpc1", place, 1, 1, held.roots, held.infos, (machine,), DIGEST)


def carry(
    source: LocalStore, content: Delta, target: LocalStore, label: Label, bill: bytes = b""
) -> Received:
    """Write a bundle, with a bill of materials, and receive it."""
    file = target.store_dir.parent / f"{label.number}.sealift"
    said = {"sbom": bill} if bill else {}
    write(source, content, file, label=label, sign=lambda _: [SIGNATURE], documents=said)
    with Bundle.open([file], lambda *_: None) as bundle, alone(target):
        return receive(target, bundle, lambda _: None)


def test_there_and_back_and_there_again(tmp_path: Path) -> None:
    """A whole bundle, a receipt, and a delta that holds the changed line."""
    made = platform(tmp_path.resolve() / "site")
    first = Label("hpc1", 1, 1, made.first)
    second = Label("hpc1", 2, 2, made.second)
    with made.source as source, LocalStore.open(made.place) as target:
        large = carry(source, whole(source, made.first), target, first)
        content = delta(source, made.second, told_by(target))
        small = carry(source, content, target, second)
        assert target.closure([made.second])
        assert target.verify().clean
        assert small.files < large.files
        released = b"".join(p.read_bytes() for p in target.real(made.second).glob("copy.py"))
        assert released == AFTER


def test_documents_are_found_however_they_are_carried(tmp_path: Path) -> None:
    """The bill of materials is a file of the release, and may come as what differs, or not."""
    made = platform(tmp_path.resolve() / "site")
    with made.source as source, LocalStore.open(made.place) as target:
        carry(source, whole(source, made.first), target, Label("hpc1", 1, 1, made.first))
        content = delta(source, made.second, told_by(target))
        (changed,) = (of for of in content.manifests if of.name.endswith(".json"))
        bill = source.real(changed.path(str(source.store_dir))).read_bytes()
        assert hashlib.sha256(bill).hexdigest() in content.patched
        label = Label("hpc1", 2, 2, made.second)
        assert carry(source, content, target, label, bill).documents == {"sbom": bill}
        again = delta(source, made.second, told_by(target))
        label = Label("hpc1", 3, 3, made.second)
        assert carry(source, again, target, label, bill).documents == {"sbom": bill}


def test_a_delta_without_its_base_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    made = platform(tmp_path.resolve() / "site")
    with made.source as source, LocalStore.open(made.place) as target:
        content = delta(source, made.second, holds(source, made.first))
        with pytest.raises(BaseMissingError):
            carry(source, content, target, Label("hpc1", 2, 2, made.second))
        assert not target.paths()
        assert not list(target.links_dir.iterdir())


def test_records_are_kept_for_each_site_and_not_for_ever(tmp_path: Path) -> None:
    made = platform(tmp_path.resolve() / "site")
    with made.source as source:
        content = whole(source, made.first)
        label = Label("hpc1", 1, 1, made.first)
        file = tmp_path / "first.sealift"
        stored = write(source, content, file, label=label, sign=lambda _: [SIGNATURE]).stored
    for number in range(1, records.KEEP + 3):
        records.keep(tmp_path, "hpc1", number, stored)
    records.keep(tmp_path, "hpc1-test", 9, b"damaged")
    left = sorted(each.name for each in (tmp_path / records.FOLDER).glob("hpc1-[0-9]*"))
    assert len(left) == records.KEEP
    assert "hpc1-2.json.zst" not in left
    found = list(records.manifests(tmp_path, "hpc1"))
    assert found[: len(content.manifests)] == list(content.manifests)
    assert not list(records.manifests(tmp_path, "hpc1-test"))
    assert not list(records.manifests(tmp_path, "hpc2"))


def test_a_receipt_of_elsewhere_is_refused(store: LocalStore) -> None:
    told = holds(store)
    check_receipt(told, site="hpc1", store_dir=str(store.store_dir))
    with pytest.raises(OtherSiteError, match="another site"):
        check_receipt(told, site="hpc2", store_dir=str(store.store_dir))
    with pytest.raises(OtherSiteError, match="another place"):
        check_receipt(told, site="hpc1", store_dir="/opt/other/store")


def _rows(store: LocalStore, top: StorePath) -> Iterator[File]:
    (info,) = store.closure([top])
    manifest = describe(info, store.real(top), Shared(store.links_dir))
    yield from (file for _, file in manifest.files())
