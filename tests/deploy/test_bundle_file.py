"""Bundles on the disk: written, read, split, cut, mixed up and damaged."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from deploy.bundle import countersign as module
from deploy.bundle.base import Delta, whole
from deploy.bundle.countersign import countersign
from deploy.bundle.format import (
    FOOTER,
    GROUP,
    MAGIC,
    MOST_SIGNATURES,
    BadBundleError,
    DamagedGroupError,
    Footer,
    MediumError,
    OtherPartError,
    PartMissingError,
)
from deploy.bundle.part import Part
from deploy.bundle.read import Bundle
from deploy.bundle.write import Written, write
from store.database import DiskFullError
from store.errors import Error, InputError, IntegrityError
from store.local import LocalStore
from store.manifest import Shared, blobs, describe
from tests.deploy import bundles
from tests.deploy.bundles import MEBIBYTE, agree, label, noise, put, read_all, sign, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.path import StorePath

FULL = os.environ.get("SEALIFT_FAULTS") == "full"
FLIPS = 10_000 if FULL else 300
CUTS = 1_000 if FULL else 60
SPLIT = 16 * MEBIBYTE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as opened:
        yield opened


@pytest.fixture
def top(store: LocalStore) -> StorePath:
    return bundles.release(store)


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    place = tmp_path / "medium"
    place.mkdir()
    return place


def test_it_holds_every_file_of_the_closure(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    made = written(store, top, medium / "b")
    with Bundle.open(made.files, agree) as found:
        assert found.manifest == made.manifest
        assert found.manifest.top == top
        assert found.missing_parts() == ()
        infos = store.closure([top])
        assert found.manifest.store_paths() == tuple(info.path for info in infos)
        for info, listed in zip(infos, found.manifest.paths, strict=True):
            assert listed.nar_sha256 == info.nar_sha256
            for inside, file in listed.files():
                place = os.fsencode(store.real(info.path)) + (b"/" + inside if inside else b"")
                with open(place, "rb") as stream:  # noqa: PTH123 - bytes
                    assert (found.document(file.sha256) or b"") == stream.read()


def test_groups_are_full_and_small(store: LocalStore, top: StorePath, medium: Path) -> None:
    made = written(store, top, medium / "b").manifest
    assert all(each.raw <= GROUP for each in made.groups)
    (large,) = [each for each in made.blobs.values() if each.size > GROUP]
    assert [made.groups[each].raw for each in large.span] == [GROUP, GROUP, MEBIBYTE]


def test_the_same_release_gives_the_same_bytes(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    one, two = medium / "one", medium / "two"
    for out, threads in ((one, 1), (two, 5)):
        write(store, whole(store, top), out, label=label(top), sign=sign, threads=threads)
    assert one.read_bytes() == two.read_bytes()
    assert written(store, top, two, number=2).manifest.digest
    assert one.read_bytes() != two.read_bytes()


def test_a_file_that_only_its_path_has_is_found(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    before = written(store, top, medium / "b").manifest.digest
    for each in store.links_dir.iterdir():
        each.unlink()
    content = whole(store, top)
    again = write(store, content, medium / "c", label=label(top), sign=sign)
    assert again.manifest.digest == before


def test_documents_and_keys_travel_along(store: LocalStore, top: StorePath, medium: Path) -> None:
    bill = (store.real(top) / "sbom.cdx.json").read_bytes()
    made = write(
        store,
        whole(store, top),
        medium / "b",
        label=label(top),
        sign=sign,
        documents={"sbom": bill, "provenance": b"[]"},
        trust={"signers": b"somebody", "revoked": b""},
    )
    with Bundle.open(made.files, agree) as found:
        documents, trust = found.manifest.documents, found.manifest.trust
        assert found.document(documents["sbom"]) == bill
        assert found.document(documents["provenance"]) == b"[]"
        assert {name: found.document(each) for name, each in trust.items()} == {
            "signers": b"somebody"
        }
    assert len(made.manifest.blobs) == len(blobs(made.manifest.paths)) + 2


def test_a_patch_is_made_of_the_older_file(store: LocalStore, medium: Path) -> None:
    old, new = noise(MEBIBYTE), noise(MEBIBYTE) + b"one line"
    before, after = put(store, "old", old), put(store, "new", new)
    shared = Shared(store.links_dir)
    files = {
        path: describe(info, store.real(path), shared)
        for path in (before, after)
        if (info := store.info(path))
    }
    ((_, was),), ((sha256, _),) = (list(blobs([files[each]]).items()) for each in (before, after))
    content = Delta((files[after],), None, {}, {sha256: was})
    made = write(store, content, medium / "b", label=label(after), sign=sign)
    assert made.size < 5000
    with Bundle.open(made.files, agree) as found:
        patch = found.manifest.patches[sha256]
        assert (patch.base, patch.size) == (was.sha256, len(new))
        assert found.patch(patch.group, old) == new
        assert found.document(sha256) is None
        with suppress(DamagedGroupError):
            assert found.patch(patch.group, noise(MEBIBYTE, 2)) != new


@pytest.fixture
def split(store: LocalStore, medium: Path) -> Written:
    """Write a bundle of three parts."""
    blob = {b"b%d" % each: noise(3 * MEBIBYTE, each) for each in range(12)}
    return written(store, put(store, "release", blob), medium / "b", split=SPLIT)


def test_parts_are_smaller_than_asked_and_know_each_other(split: Written) -> None:
    assert [file.name for file in split.files] == ["b.001", "b.002", "b.003"]
    assert all(file.stat().st_size < SPLIT for file in split.files)
    assert sum(file.stat().st_size for file in split.files) == split.size
    for number, file in enumerate(split.files, 1):
        with Part.open(file) as part:
            assert (part.number, part.parts, part.id) == (number, 3, split.manifest.digest)
            assert part.manifest_bytes() == split.stored


def test_parts_come_in_any_order(split: Written) -> None:
    wanted = read_all(split.files)
    assert len(wanted) == split.raw
    assert all(read_all(order) == wanted for order in permutations(split.files))


def test_what_is_in_the_parts_at_hand_can_be_read(split: Written) -> None:
    with Bundle.open(split.files[1:], agree) as found:
        assert found.missing_parts() == (1,)
        for number, group in enumerate(found.manifest.groups):
            assert found.has(number) == (group.part != 1)
            if found.has(number):
                assert len(found.contents(number)) == group.raw
            else:
                with pytest.raises(PartMissingError, match="part 1"):
                    found.contents(number)


def test_a_part_twice_is_refused(split: Written) -> None:
    files = [*split.files, split.files[1]]
    with pytest.raises(OtherPartError, match="part 2 is there twice"):
        Bundle.open(files, agree)


def test_parts_of_two_bundles_are_refused(store: LocalStore, split: Written, medium: Path) -> None:
    other = written(store, split.manifest.top, medium / "o", number=2, split=SPLIT)
    with pytest.raises(OtherPartError, match="different bundles") as caught:
        Bundle.open([split.files[0], other.files[1], split.files[2]], agree)
    assert caught.value.where == str(other.files[1])


def test_a_part_that_took_the_number_of_another_is_found(split: Written) -> None:
    first, second = split.files[0], split.files[1]
    data = second.read_bytes()
    with Part.open(second) as part:
        footer = part.footer
    lie = Footer(1, 3, *(getattr(footer, each) for each in Footer.__slots__[2:]))
    first.write_bytes(data[:-FOOTER] + bytes(lie))
    with pytest.raises((BadBundleError, DamagedGroupError)):
        read_all(split.files)


def test_a_damaged_manifest_is_read_from_another_part(split: Written) -> None:
    wanted = read_all(split.files)
    with Part.open(split.files[0]) as part:
        offset = part.footer.groups_end + 10
    _flip(split.files[0], offset)
    assert read_all(split.files) == wanted
    with pytest.raises(DamagedGroupError, match="manifest"):
        Bundle.open(split.files[:1], agree)


def test_too_many_too_small_parts_are_refused(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    with pytest.raises(InputError, match="no room") as caught:
        written(store, top, medium / "b", split=MEBIBYTE)
    assert caught.value.hint == "--split 16MiB"
    assert list(medium.iterdir()) == []


OTHER = bundles.SIGNATURE.replace(b"AAAA", b"BBBB")


def test_a_signature_more_stands_in_every_part(split: Written) -> None:
    wanted = read_all(split.files)
    countersign(split.files, agree, lambda _: (OTHER,))
    both = (bundles.SIGNATURE, OTHER)
    for file in split.files:
        with Part.open(file) as part:
            assert (part.signatures(), part.manifest_bytes()) == (both, split.stored)
        assert file.stat().st_size < SPLIT
    assert read_all(split.files, lambda _, signatures: signatures == both) == wanted
    with pytest.raises(InputError, match="already"):
        countersign(split.files, lambda *_: None, lambda _: (OTHER,))


def test_an_interrupted_signature_more_leaves_whole_parts_and_is_finished(
    split: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power is cut in the middle of the second part, so nothing is tidied up."""
    wanted, link = read_all(split.files), split.files[0].with_name("link")
    modes = [0o600, 0o640, 0o644]
    for file, mode in zip(split.files, modes, strict=True):
        file.chmod(mode)
    pid = os.fork()
    if not pid:
        try:
            monkeypatch.setattr(module, "write_all", _cut_after(2))
            countersign(split.files, agree, lambda _: (OTHER,))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == CUT
    folder = split.files[0].parent
    assert len({*folder.iterdir()} - {*split.files}) == 1
    assert read_all(split.files, lambda *_: None) == wanted
    split.files[0].rename(folder / "moved")
    link.symlink_to("moved")
    countersign([link, *split.files[1:]], lambda *_: None, lambda _: (OTHER,))
    assert {*folder.iterdir()} == {link, folder / "moved", *split.files[1:]}
    assert link.is_symlink()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (link, *split.files[1:])] == modes
    for file in (link, *split.files[1:]):
        with Part.open(file) as part:
            assert part.signatures() == (bundles.SIGNATURE, OTHER)


def test_what_took_the_place_of_a_part_is_not_signed(split: Written) -> None:
    other = split.files[0].with_name("other")
    other.write_bytes(split.files[0].read_bytes())

    def swap(_: bytes) -> tuple[bytes, ...]:
        other.replace(split.files[0])
        return (OTHER,)

    with pytest.raises(MediumError, match="took the place"):
        countersign(split.files, agree, swap)
    with Part.open(split.files[0]) as part:
        assert part.signatures() == (bundles.SIGNATURE,)


CUT = 77


def _cut_after(times: int) -> Callable[[int, bytes], None]:
    """Return what writes as often, the last time only some of it, and ends the process there."""
    left = times

    def write(descriptor: int, data: bytes) -> None:
        nonlocal left
        left -= 1
        os.write(descriptor, data if left else data[:50])
        if not left:
            os._exit(CUT)

    return write


def test_a_signature_more_where_the_kernel_does_not_copy(
    split: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> int:
        raise OSError(errno.EXDEV, "no")

    wanted = read_all(split.files)
    monkeypatch.setattr(os, "copy_file_range", cannot)
    countersign(split.files, agree, lambda _: (OTHER,))
    both = (bundles.SIGNATURE, OTHER)
    assert read_all(split.files, lambda _, signatures: signatures == both) == wanted


def test_without_room_for_a_copy_a_part_stays_as_it_is(
    split: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    before = {file: file.read_bytes() for file in split.files}
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(DiskFullError) as caught:
        countersign(split.files, agree, lambda _: (OTHER,))
    assert "sign where there is room" in str(caught.value.hint)
    folder = split.files[0].parent
    assert {each: each.read_bytes() for each in folder.iterdir()} == before


def test_a_part_is_not_signed_alone(split: Written) -> None:
    before = split.files[0].read_bytes()
    with pytest.raises(PartMissingError, match="signed together"):
        countersign(split.files[:2], agree, lambda _: (OTHER,))
    assert split.files[0].read_bytes() == before


def test_there_is_an_end_to_signatures(split: Written) -> None:
    many = [SIGNATURES % (b"%d" % each) for each in range(MOST_SIGNATURES)]
    with pytest.raises(BadBundleError, match="signatures"):
        countersign(split.files, agree, lambda _: many)
    assert read_all(split.files)


SIGNATURES = b"-----BEGIN SSH SIGNATURE-----\n%b\n-----END SSH SIGNATURE-----\n"


def test_nothing_is_looked_at_before_the_signature(medium: Path) -> None:
    """What nobody signed is not even decompressed."""
    asked: list[bytes] = []

    def refuse(data: bytes, _: object) -> None:
        asked.append(data)
        raise IntegrityError("nobody signed this")

    rubbish = b"no manifest at all"
    footer = Footer(1, 1, len(MAGIC), len(rubbish), 0, hashlib.sha256(rubbish).digest())
    file = medium / "b"
    file.write_bytes(MAGIC + rubbish + bytes(footer))
    with pytest.raises(IntegrityError, match="nobody signed"):
        Bundle.open([file], refuse)
    assert asked == [rubbish]
    with pytest.raises(BadBundleError):
        Bundle.open([file], lambda *_: None)


def _flip(file: Path, offset: int, bit: int = 0) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1 << bit]))


@contextmanager
def _flipped(file: Path, offset: int, bit: int) -> Iterator[None]:
    _flip(file, offset, bit)
    try:
        yield
    finally:
        _flip(file, offset, bit)


def test_a_flipped_bit_is_found_wherever_it_is(store: LocalStore, medium: Path) -> None:
    top = put(store, "release", {b"f%d" % each: noise(700, each) for each in range(40)})
    made = written(store, top, medium / "b")
    file, chance = made.files[0], random.Random(4)  # noqa: S311 - for tests
    wanted = read_all([file])

    def check(data: bytes, signatures: object) -> None:
        if (data, signatures) != (made.stored, (bundles.SIGNATURE,)):
            raise IntegrityError("not what was signed")

    for _ in range(FLIPS):
        offset, bit = chance.randrange(made.size), chance.randrange(8)
        with _flipped(file, offset, bit), pytest.raises(Error):
            read_all([file], check)
    assert read_all([file]) == wanted


def test_a_cut_is_found_wherever_it_is(store: LocalStore, medium: Path) -> None:
    made = written(store, put(store, "release", {b"f": noise(5000)}), medium / "b")
    data, chance = made.files[0].read_bytes(), random.Random(5)  # noqa: S311 - for tests
    for _ in range(CUTS):
        made.files[0].write_bytes(data[: chance.randrange(len(data))])
        with pytest.raises(BadBundleError):
            Bundle.open(made.files, agree)


def test_a_part_that_becomes_shorter_meanwhile_is_found(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    made = written(store, top, medium / "b")
    with Bundle.open(made.files, agree) as found:
        os.truncate(made.files[0], 5 * MEBIBYTE)
        with pytest.raises(DamagedGroupError, match="shorter"):
            found.contents(len(found.manifest.groups) - 1)


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing", "text"])
def test_what_is_no_file_of_a_bundle_is_refused(medium: Path, kind: str) -> None:
    file = medium / "b"
    make: dict[str, Callable[[], object]] = {
        "folder": file.mkdir,
        "pipe": lambda: os.mkfifo(file),
        "nothing": lambda: None,
        "text": lambda: file.write_text("x" * 1000),
    }
    make[kind]()
    with pytest.raises(InputError if kind == "nothing" else BadBundleError) as caught:
        Bundle.open([file], agree)
    assert caught.value.where == str(file)
    assert caught.value.hint or kind != "text"


def test_a_changed_file_of_the_store_is_found(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    file = store.real(top) / "sbom.cdx.json"
    file.chmod(0o644)
    file.write_bytes(b'{"components":{}}')
    with pytest.raises(IntegrityError, match="was changed") as caught:
        written(store, top, medium / "b")
    assert caught.value.hint == "sealift store verify --repair"
    assert list(medium.iterdir()) == []


def test_a_changed_large_file_of_the_store_is_found(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    (large,) = store.store_dir.glob("*-large/blob")
    large.chmod(0o644)
    _flip(large, 8 * MEBIBYTE)
    with pytest.raises(IntegrityError, match="was changed"):
        written(store, top, medium / "b")


def test_what_lies_there_stays(store: LocalStore, top: StorePath, medium: Path) -> None:
    out = medium / "b"
    out.write_bytes(b"mine")
    with pytest.raises(InputError, match="lies there already"):
        write(store, whole(store, top), out, label=label(top), sign=sign)
    assert out.read_bytes() == b"mine"
    assert list(medium.iterdir()) == [out]


@pytest.mark.usefixtures("split")
def test_parts_of_an_older_bundle_do_not_stay(store: LocalStore, medium: Path) -> None:
    small = put(store, "release", {b"a": b"a"})
    written(store, small, medium / "b", split=SPLIT)
    assert [each.name for each in medium.iterdir()] == ["b.001"]


_STUCK = """
import sys, time
from pathlib import Path
from store.local import LocalStore
from tests.deploy import bundles
from deploy.bundle import parts
from deploy.bundle.write import write
def sign(_):
    print("written", flush=True)
    time.sleep(600)
if "named" in sys.argv:
    parts._unnamed = lambda _: None
with LocalStore.open(Path(sys.argv[1])) as store:
    top = store.parse(sys.argv[2])
    content = bundles.whole(store, top)
    write(store, content, Path(sys.argv[3]), label=bundles.label(top), sign=sign, split=1 << 24)
"""


@contextmanager
def stuck(store: LocalStore, top: StorePath, medium: Path, *words: str) -> Iterator[None]:
    """Have another process write all but the end of a bundle, and kill it behind the block."""
    argv = [sys.executable, "-c", _STUCK, str(store.store_dir), str(top), str(medium / "b")]
    with subprocess.Popen([*argv, *words], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"written\n"
            yield
        finally:
            writer.kill()


def test_a_killed_writer_leaves_nothing_where_files_need_no_names(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    try:
        os.close(os.open(medium, os.O_TMPFILE | os.O_WRONLY))
    except OSError as fault:
        pytest.skip(f"files have names here from the first: {fault}")
    with stuck(store, top, medium):
        assert list(medium.iterdir()) == []
    assert list(medium.iterdir()) == []


def test_a_bundle_is_no_folder(store: LocalStore, top: StorePath, medium: Path) -> None:
    with pytest.raises(InputError, match="a folder") as caught:
        write(store, whole(store, top), medium, label=label(top), sign=sign, force=True)
    assert str(medium / "site.bundle") in str(caught.value.hint)


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    other = medium / f".c.{'0' * 16}.1"
    other.touch()
    with stuck(store, top, medium, "named"):
        theirs = {each for each in medium.iterdir() if each.name.startswith(".b.")}
        written(store, top, medium / "b", split=SPLIT)
        assert theirs
        assert theirs < set(medium.iterdir())
    written(store, top, medium / "b", split=SPLIT)
    assert set(medium.iterdir()) == {other, medium / "b.001"}


def test_a_signer_that_fails_leaves_nothing(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    def refuse(_: bytes) -> tuple[bytes, ...]:
        raise InputError("no token")

    with pytest.raises(InputError, match="no token"):
        write(store, whole(store, top), medium / "b", label=label(top), sign=refuse)
    assert list(medium.iterdir()) == []


def test_a_file_system_of_small_files_is_told_from_a_fault(
    store: LocalStore, top: StorePath, medium: Path
) -> None:
    """As FAT is, which ends at 4 GiB."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    content, before = whole(store, top), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MEBIBYTE, limit[1]))
    try:
        with pytest.raises(MediumError, match="too large") as caught:
            write(store, content, medium / "b", label=label(top), sign=sign)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert "--split" in str(caught.value.hint)
    assert list(medium.iterdir()) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a medium of 8 MB."""
    place = tmp_path.resolve() / "small"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=8M", "none", str(place)]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small medium: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_medium_is_told_from_a_fault(store: LocalStore, top: StorePath, small: Path) -> None:
    with pytest.raises(DiskFullError, match="medium is full") as caught:
        written(store, top, small / "b")
    assert "--split" in str(caught.value.hint)
    assert list(small.iterdir()) == []


_PEAK = """
import sys
from pathlib import Path
from store.local import LocalStore
from tests.deploy import bundles
with LocalStore.open(Path(sys.argv[1])) as store:
    top = store.parse(sys.argv[2])
    made = bundles.written(store, top, Path(sys.argv[3]))
from deploy.bundle.read import Bundle
with Bundle.open(made.files, bundles.agree) as found:
    for each in range(len(found.manifest.groups)):
        found.contents(each)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print(line.split()[1])
"""


def test_memory_does_not_grow_with_the_size(store: LocalStore, medium: Path) -> None:
    """300 MB in one file; `VmHWM` is in kilobytes."""
    with store.temporary() as place:
        with (place / "tree").open("wb") as stream:
            stream.truncate(300 * MEBIBYTE)
        top = store.add(place / "tree", "release", durable=False).path
    argv = [sys.executable, "-c", _PEAK, str(store.store_dir), str(top), str(medium / "b")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150_000
