"""Receiving bundles: whole, in parts, again, damaged, mended, killed, and from a failing medium."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
import traceback
from dataclasses import dataclass, replace
from itertools import permutations
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

import deploy.bundle.receive
import deploy.bundle.resume
from deploy.bundle import repair
from deploy.bundle.check import check
from deploy.bundle.crew import Crew, WorkerError
from deploy.bundle.delivery import opened
from deploy.bundle.format import (
    MAGIC,
    DamagedGroupError,
    Footer,
    MediumError,
    OtherPartError,
    PartMissingError,
)
from deploy.bundle.manifest import dump
from deploy.bundle.part import Part
from deploy.bundle.quarantine import FOLDER
from deploy.bundle.receive import DamagedBundleError, alone, receive
from deploy.bundle.resume import OtherStoreError
from deploy.bundle.write import write
from store.assemble import BadPathError
from store.database import DiskFullError
from store.errors import Error, IntegrityError
from store.local import LocalStore
from store.lock import LockedError, hold
from store.seal import EPOCH
from tests.deploy.arrivals import (
    MEBIBYTE,
    Crossing,
    crossing,
    shared,
    take,
    untouched,
    whole,
)
from tests.deploy.bundles import SIGNATURE, agree, sign
from tests.faults.counts import FULL
from tests.lab.fixtures import require
from tests.lab.lab import available
from tests.store.children import child, wait
from tests.store.trees import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.bundle.manifest import BundleManifest

FLIPS = 1_000 if FULL else 25
"""Bits that are flipped under `receive`; reading alone is tried ten times as often elsewhere."""
KILLS = 200 if FULL else 8


@pytest.fixture
def gap(tmp_path: Path) -> Iterator[Crossing]:
    made = crossing(tmp_path.resolve())
    yield made
    made.source.close()


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Crossing]:
    """Give a release with a file that reaches over several parts."""
    made = crossing(tmp_path.resolve(), large=20)
    yield made
    made.source.close()


def test_all_of_a_release_comes_across(gap: Crossing) -> None:
    with gap.site() as store:
        came = take(store, gap.bundle())
        assert whole(store, gap.top)
        assert {info.path for info in store.paths()} == {info.path for info in gap.source.paths()}
        for info in store.paths():
            assert read(store.real(info.path)) == read(gap.source.real(info.path))
        assert len(came.paths) == 4
        assert {root.name for root in store.roots()} == {"gcroots/release", "gcroots/received-1"}


def test_the_same_again_does_nothing(gap: Crossing) -> None:
    files = gap.bundle()
    with gap.site() as store:
        take(store, files)
        came = take(store, files)
        assert (came.paths, came.files, came.size) == ((), 0, 0)
        assert whole(store, gap.top)


def test_what_deltas_build_on_stays_for_three_bundles(gap: Crossing) -> None:
    with gap.site() as store:
        for number in (9, 10, 11, 12):
            take(store, gap.bundle(f"b{number}", number=number))
        kept = {root.name for root in store.roots()}
        assert kept == {"gcroots/release", *(f"gcroots/received-{n}" for n in (10, 11, 12))}


def test_a_shared_file_of_before_is_read_before_it_is_believed(gap: Crossing) -> None:
    """A power cut may have left a name and a size without the bytes."""
    files = gap.bundle()
    with gap.site() as store:
        with opened(files, agree) as delivery:
            assert delivery.bundle is not None
            sha256, blob = next(iter(delivery.bundle.manifest.blobs.items()))
        place = store.links_dir / sha256
        place.write_bytes(b"?" * blob.size)
        os.utime(place, ns=(EPOCH, EPOCH))
        place.chmod(0o444)
        take(store, files)
        assert whole(store, gap.top)


def test_parts_come_together_in_any_order(wide: Crossing) -> None:
    files = wide.bundle(split=16 * MEBIBYTE)
    assert len(files) >= 3
    with wide.site() as store:
        take(store, [*files[2:], *files[:2]])
        assert whole(store, wide.top)


def test_parts_come_one_after_the_other_in_any_order(wide: Crossing) -> None:
    """Of a file that reaches over all of them each brings a piece, which waits."""
    files = wide.bundle(split=16 * MEBIBYTE)
    orders = list(permutations(files))
    for order in orders if FULL else random.Random(3).sample(orders, 2):  # noqa: S311
        with wide.site() as store:
            for file in order[:-1]:
                with pytest.raises(PartMissingError, match="still to come") as caught:
                    take(store, [file])
                assert caught.value.exit_code == 4
                assert untouched(store)
            take(store, order[-1:])
            assert whole(store, wide.top)
            assert not (store.var_dir / FOLDER).exists()
        shutil.rmtree(wide.place.parent)


def test_a_piece_that_waits_is_read_before_it_is_believed(wide: Crossing) -> None:
    first, *others = wide.bundle(split=16 * MEBIBYTE)
    with wide.site() as store:
        with pytest.raises(PartMissingError):
            take(store, [first])
        kept = max((store.var_dir / FOLDER).rglob("*"))
        kept.write_bytes(bytes(kept.stat().st_size))
        with pytest.raises(PartMissingError, match=r"part 1 .* is still to come"):
            take(store, others)
        take(store, [first, *others])
        assert whole(store, wide.top)


def test_missing_parts_are_named(wide: Crossing) -> None:
    files = wide.bundle(split=16 * MEBIBYTE)
    with wide.site() as store, pytest.raises(PartMissingError) as caught:
        take(store, [files[1]])
    others = [n for n in range(1, len(files) + 1) if n != 2]
    assert caught.value.reason.startswith(f"parts {', '.join(map(str, others))} of {len(files)}")


def test_parts_of_two_bundles_are_told_apart(wide: Crossing) -> None:
    first = wide.bundle("a", split=16 * MEBIBYTE)
    second = wide.bundle("b", number=2, split=16 * MEBIBYTE)
    with pytest.raises(OtherPartError) as caught, opened([*first[1:], second[0]], agree):
        pass
    assert caught.value.where == str(second[0])
    with pytest.raises(OtherPartError, match="twice"), opened([first[0], first[0]], agree):
        pass


def test_each_part_bears_what_was_signed(wide: Crossing) -> None:
    """A manifest or a signature is damaged in one part only: that part is named."""
    files = wide.bundle(split=16 * MEBIBYTE)
    with Part.open(files[1]) as part:
        footer = part.footer
    for place in (footer.groups_end + 9, footer.groups_end + footer.manifest_size + 40):
        _flip(files[1], place * 8)
        with pytest.raises(DamagedGroupError) as caught, opened(files, agree):
            pass
        assert caught.value.where == str(files[1])
        _flip(files[1], place * 8)
    with opened(files, agree):
        pass


def test_a_store_elsewhere_is_refused(gap: Crossing, tmp_path: Path) -> None:
    files = gap.bundle()
    with (
        LocalStore.open(tmp_path.resolve() / "other" / "store") as store,
        pytest.raises(OtherStoreError, match="another folder"),
    ):
        take(store, files)


def test_a_flipped_bit_never_becomes_a_path(gap: Crossing) -> None:
    file = gap.bundle()[0]
    size = file.stat().st_size
    dice = random.Random(11)  # noqa: S311 - not a secret
    with gap.site() as store:
        for _ in range(FLIPS):
            bit = dice.randrange(size * 8)
            _flip(file, bit)
            with pytest.raises(Error):
                take(store, [file])
            assert untouched(store), bit
            _flip(file, bit)
            for each in store.links_dir.iterdir():
                each.unlink()
        take(store, [file])
        assert whole(store, gap.top)


def test_negative_control_without_hashes_damage_gets_in(
    gap: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were groups believed, only the trees would show it: that is too late for what is kept."""
    file = gap.bundle()[0]
    with opened([file], agree) as delivery:
        assert delivery.bundle is not None
        group = delivery.bundle.manifest.groups[0]
    _flip(file, (group.offset + group.size // 2) * 8)

    def believe(self: Part, wanted: object) -> bytes:
        del wanted
        return os.pread(self._descriptor, group.size, group.offset)

    with gap.site() as store:
        monkeypatch.setattr(Part, "group", believe)
        with pytest.raises(IntegrityError):
            take(store, [file])


def test_what_is_good_of_a_damaged_bundle_is_kept(gap: Crossing) -> None:
    file = gap.bundle()[0]
    place = _middle(file, 0)
    _flip(file, place)
    with gap.site() as store:
        with pytest.raises(DamagedBundleError, match="damaged, in 1 group with ") as caught:
            take(store, [file])
        assert caught.value.where == str(file)
        assert untouched(store)
        _flip(file, place)
        before = shared(store)
        assert before > 0
        came = take(store, [file])
        assert 0 < came.files < before + came.files == shared(store)
        assert whole(store, gap.top)


def test_damaged_pieces_are_replaced_by_a_small_file(gap: Crossing) -> None:
    file = gap.bundle()[0]
    _flip(file, _middle(file, 1))
    with opened([file], agree) as delivery:
        assert delivery.bundle is not None
        report = check(delivery.bundle, lambda _: None)
        assert len(report.damaged) == 1
        asked = gap.medium / "list"
        asked.write_text(str(repair.request(delivery.bundle, report.damaged)))
        wanted = repair.load(asked)
        label = repair.label(delivery.bundle.manifest)
    mended = gap.medium / "mended"
    write(gap.source, repair.content(gap.source, wanted), mended, label=label, sign=sign)
    with gap.site() as store:
        take(store, [mended, file])
        assert whole(store, gap.top)
    shutil.rmtree(gap.place.parent)
    with gap.site() as store:
        take(store, [mended])
        assert untouched(store)
        take(store, [file])
        assert whole(store, gap.top)
    with pytest.raises(OtherPartError, match="another bundle"):
        take(store, [mended, *gap.bundle("c", number=2)])


def test_a_list_of_damage_names_what_was_sent_and_no_more(gap: Crossing) -> None:
    """It is not signed: sizes come from the bundle, and other files of the store stay there."""
    with opened(gap.bundle(), agree) as delivery:
        assert delivery.bundle is not None
        manifest = delivery.bundle.manifest
    sha256, blob = next(iter(manifest.blobs.items()))
    asked = repair.Request("hpc1", 1, manifest.digest, {sha256: 1 << 50})
    assert repair.checked(asked, manifest).files == {sha256: blob.size}
    other = repair.Request("hpc1", 1, manifest.digest, {sha256: blob.size, "1" * 64: 9})
    with pytest.raises(repair.BadRequestError, match="the list has 1 file that bundle 1 has not"):
        repair.checked(other, manifest)


def test_a_list_of_damage_is_short(tmp_path: Path) -> None:
    file = tmp_path / "list"
    for text in (b" " * repair.LARGEST + b"[]", b"[" + b"[]," * repair.MOST + b"1]"):
        file.write_bytes(text)
        with pytest.raises(repair.BadRequestError, match="too long"):
            repair.load(file)
    files = {f"{number:064x}": number + 1 for number in range(20_000)}
    file.write_text(str(repair.Request("hpc1", 1, "0" * 64, files)))
    assert repair.load(file).files == files


def test_what_the_builder_lost_cannot_be_replaced(gap: Crossing) -> None:
    wanted = repair.Request("hpc1", 1, "0" * 64, {"1" * 64: 9})
    with pytest.raises(repair.LostFilesError, match="no longer has 1 file of the bundle"):
        repair.content(gap.source, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format":2,"site":"s","number":1,"bundle":"B","files":{"B":1}}',
        '{"format":1,"site":1,"number":1,"bundle":"B","files":{"B":1}}',
        '{"format":1,"site":"s","number":0,"bundle":"B","files":{"B":1}}',
        '{"format":1,"site":"s","number":true,"bundle":"B","files":{"B":1}}',
        '{"format":1,"site":"s","number":1,"bundle":"../B","files":{"B":1}}',
        '{"format":1,"site":"s","number":1,"bundle":"B","files":{"../../etc/passwd":1}}',
        '{"format":1,"site":"s","number":1,"bundle":"B","files":{"B":-1}}',
        '{"format":1,"site":"s","number":1,"bundle":"B","files":{}}',
        "[" * 10_000,
    ],
)
def test_what_is_no_list_of_damage_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "list"
    file.write_text(text.replace("B", "0" * 64))
    with pytest.raises(repair.BadRequestError):
        repair.load(file)


def test_a_good_bundle_is_verified_without_a_trace(gap: Crossing) -> None:
    files = gap.bundle()
    before = sorted(gap.medium.iterdir())
    with opened(files, agree) as delivery:
        assert delivery.bundle is not None
        report = check(delivery.bundle, lambda _: None)
    report.check()
    assert report.files == len(delivery.bundle.manifest.blobs)
    assert sorted(gap.medium.iterdir()) == before
    assert not gap.place.exists()


def test_verify_names_what_is_missing(wide: Crossing) -> None:
    files = wide.bundle(split=16 * MEBIBYTE)
    with opened(files[1:], agree) as delivery:
        assert delivery.bundle is not None
        report = check(delivery.bundle, lambda _: None)
    assert report.missing == (1,)
    with pytest.raises(PartMissingError):
        report.check()
    _flip(files[1], _middle(files[1], None))
    with opened(files[1:], agree) as delivery:
        assert delivery.bundle is not None
        report = check(delivery.bundle, lambda _: None)
    with pytest.raises(DamagedBundleError):
        report.check()


def _rewritten(file: Path, change: Callable[[BundleManifest], BundleManifest]) -> None:
    """Let a bundle of one part say something else, as if its builder had signed that."""
    with opened([file], agree) as delivery:
        assert delivery.bundle is not None
        manifest = change(delivery.bundle.manifest)
        frames = [delivery.bundle.parts[1].group(each) for each in delivery.bundle.manifest.groups]
    _laid(file, manifest, frames)


def _regrouped(file: Path, frame: Callable[[bytes], bytes]) -> None:
    """Put another frame in the place of the first one, with its hash and size as if signed."""
    with opened([file], agree) as delivery:
        assert delivery.bundle is not None
        manifest, part = delivery.bundle.manifest, delivery.bundle.parts[1]
        frames = [part.group(each) for each in manifest.groups]
        frames[0] = frame(delivery.bundle.contents(0))
    digest = hashlib.sha256(frames[0]).hexdigest()
    first = replace(manifest.groups[0], size=len(frames[0]), sha256=digest)
    _laid(file, replace(manifest, groups=(first, *manifest.groups[1:])), frames)


def _laid(file: Path, manifest: BundleManifest, frames: list[bytes]) -> None:
    body = MAGIC + b"".join(frames)
    stored = dump(replace(manifest, parts=(len(body),)))
    digest = hashlib.sha256(stored).digest()
    footer = Footer(1, 1, len(body), len(stored), len(SIGNATURE), digest)
    file.write_bytes(body + stored + SIGNATURE + bytes(footer))


def _zeros(_: bytes) -> bytes:
    """Compress ten gigabytes of zeros, without a word of how many they are."""
    packer = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    block = bytes(64 * MEBIBYTE)
    count = 160 if FULL else 8
    return b"".join([*(packer.compress(block) for _ in range(count)), packer.flush()])


def _boasting(raw: bytes) -> bytes:
    """Compress more than the frame's header says, which is what the manifest says."""
    frame = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(len(raw) * 64)))
    packed = zstandard.get_frame_parameters(bytes(frame))
    assert packed.content_size == len(raw) * 64
    size = len(raw) * 64
    at = bytes(frame).index(size.to_bytes(4, "little"))
    frame[at : at + 4] = len(raw).to_bytes(4, "little")
    return bytes(frame)


def _changed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(raw[:-1] + bytes([raw[-1] ^ 1]))


def _taken_by_children(do: Callable[[], None]) -> int:
    """Do something apart; return the kB that the largest process it began grew to beyond ours."""
    ours, theirs = Pipe()
    pid = os.fork()
    if not pid:
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            do()
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            assert peak, "it began no process"
            theirs.send(peak - pages * resource.getpagesize() // 1024)
        except BaseException:  # noqa: BLE001 - nobody else would say why there is no answer
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    os.waitpid(pid, 0)
    taken: int = ours.recv()
    return taken


@pytest.mark.parametrize(
    "frame", [_zeros, _boasting, _changed, bytes, lambda _: b"\x28\xb5\x2f\xfd"]
)
def test_groups_that_hold_something_else_than_was_signed(
    gap: Crossing, frame: Callable[[bytes], bytes]
) -> None:
    """A builder that lies, or one whose key was stolen: memory and store are out of its reach."""
    file = gap.bundle()[0]
    _regrouped(file, frame)

    def receive() -> None:
        with gap.site() as store:
            with pytest.raises(DamagedBundleError):
                take(store, [file])
            assert untouched(store)

    assert _taken_by_children(receive) < 150_000
    with opened([file], agree) as delivery:
        assert delivery.bundle is not None
        assert [each.group for each in check(delivery.bundle, lambda _: None).damaged] == [0]


def test_a_path_that_is_not_what_it_was_signed_to_be(gap: Crossing) -> None:
    file = gap.bundle()[0]

    def lie(manifest: BundleManifest) -> BundleManifest:
        last = replace(manifest.paths[-1], nar_sha256="a" * 64)
        top = last.path(manifest.store)
        return replace(manifest, paths=(*manifest.paths[:-1], last), top=top)

    _rewritten(file, lie)
    with gap.site() as store:
        with pytest.raises(BadPathError):
            take(store, [file])
        assert untouched(store)


def test_a_disk_without_room_is_told_before(gap: Crossing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy.bundle.resume, "SPARE", 1 << 60)
    with gap.site() as store:
        with pytest.raises(DiskFullError, match="no room"):
            take(store, gap.bundle())
        assert shared(store) == 0
        assert untouched(store)


def test_where_there_is_no_room_it_is_said_what_frees_some(
    gap: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release that is received last is needed, whatever else keeps it."""
    with gap.site() as store:
        for number in (9, 10, 11):
            take(store, gap.bundle(f"b{number}", number=number))
        roots = store.var_dir / "gcroots"
        monkeypatch.setattr(deploy.bundle.resume, "SPARE", 1 << 60)
        with pytest.raises(DiskFullError) as caught:
            take(store, gap.bundle("b12", number=12))
        assert f"rm {roots}/received-9 {roots}/received-10; then" in str(caught.value.hint)
        for number in (9, 10):
            (roots / f"received-{number}").unlink()
        with pytest.raises(DiskFullError) as caught:
            take(store, gap.bundle("b13", number=13))
        assert "rm " not in str(caught.value.hint)


def test_killed_at_any_moment_it_is_finished_by_running_it_again(gap: Crossing) -> None:
    files = gap.bundle()
    began = time.monotonic()
    with gap.site() as store:
        take(store, files)
    usual = time.monotonic() - began
    dice, whole_ones = random.Random(12), 0  # noqa: S311 - not a secret
    for _ in range(KILLS):
        shutil.rmtree(gap.place.parent)
        pid = child(gap.place, lambda store: _take_quietly(store, files))
        time.sleep(dice.uniform(0, usual * 1.2))
        os.kill(pid, signal.SIGKILL)
        wait(pid)
        with gap.site() as store:
            whole_ones += bool(store.paths())
            assert store.verify().clean
            for info in store.paths():
                assert store.closure([info.path])
            take(store, files)
            assert whole(store, gap.top)
            assert [each.name for each in store.store_dir.glob(".tmp-*")] == []
    assert whole_ones < KILLS


def _take_quietly(store: LocalStore, files: list[Path]) -> None:
    take(store, files)


def test_a_worker_that_is_killed_is_told_of() -> None:
    def die(_: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    tasks = iter([1, 2, 3])
    with pytest.raises(WorkerError), Crew[int, int](die, 2) as crew:
        crew.run(lambda: next(tasks, None), lambda _: None)


def test_what_a_worker_raises_is_raised() -> None:
    def refuse(task: int) -> int:
        raise MediumError(f"task {task}", where="here", hint="again")

    tasks = iter([7])
    with pytest.raises(MediumError, match="task 7") as caught, Crew[int, int](refuse, 2) as crew:
        crew.run(lambda: next(tasks, None), lambda _: None)
    assert (caught.value.where, caught.value.hint) == ("here", "again")


def test_workers_share_what_there_is_to_do() -> None:
    tasks = iter(range(40))
    found: dict[int, int] = {}

    def work(task: int) -> tuple[int, int]:
        time.sleep(0.002)
        return task, os.getpid()

    with Crew[int, tuple[int, int]](work, 2) as crew:
        crew.run(lambda: next(tasks, None), lambda done: found.update([done]))
    assert sorted(found) == list(range(40))
    assert len(set(found.values())) == 2
    assert os.getpid() not in found.values()


def test_a_second_one_waits_and_says_for_whom(
    gap: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy.bundle.receive, "WAIT", 0.05)
    files = gap.bundle()
    with gap.site() as store, hold(store.var_dir / "locks" / "received"):
        with pytest.raises(LockedError):
            take(store, files)
        assert untouched(store)


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Stick]:
    require(available())
    made = Stick(tmp_path / "image", tmp_path / "stick")
    made.place.mkdir()
    with made.image.open("wb") as file:
        file.truncate(64 * MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", made.image], check=True)
    yield made
    subprocess.run(["umount", "--lazy", made.place], check=False, capture_output=True)


@dataclass(frozen=True, slots=True)
class Stick:
    """A medium that can be pulled out: a file system in a file."""

    image: Path
    place: Path

    def mount(self, *options: str) -> None:
        said = ",".join(["loop", *options])
        subprocess.run(["mount", "-o", said, self.image, self.place], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.place], check=True)


@pytest.mark.lab
def test_a_medium_that_is_pulled_out_is_told_of_and_put_back_is_read_to_the_end(
    wide: Crossing, stick: Stick
) -> None:
    stick.mount()
    file = stick.place / "b"
    shutil.copy(wide.bundle()[0], file)
    stick.unmount()
    image = stick.image.read_bytes()
    stick.mount("ro")
    with wide.site() as store:
        with opened([file], agree) as delivery:
            assert delivery.bundle is not None
            os.truncate(stick.image, 4 * MEBIBYTE)
            failure = pytest.raises(MediumError, match=os.strerror(errno.EIO))
            with failure as caught, alone(store):
                receive(store, delivery.bundle, lambda _: None)
            assert caught.value.where == str(file)
            assert "run it again" in str(caught.value.hint)
        assert untouched(store)
        kept = shared(store)
        stick.unmount()
        stick.image.write_bytes(image)
        stick.mount("ro")
        came = take(store, [file])
        assert came.files == shared(store) - kept
        assert whole(store, wide.top)


def _flip(file: Path, bit: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(bit // 8)
        byte = stream.read(1)[0]
        stream.seek(bit // 8)
        stream.write(bytes([byte ^ 1 << bit % 8]))


def _middle(file: Path, number: int | None) -> int:
    """Return the bit in the middle of a group of a part; without a number, of its first one."""
    with opened([file], agree) as delivery:
        assert delivery.bundle is not None
        part = next(iter(delivery.bundle.parts))
        inside = [each for each in delivery.bundle.manifest.groups if each.part == part]
    group = inside[number or 0]
    return (group.offset + group.size // 2) * 8
