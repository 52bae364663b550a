"""Caches written and read back; of a hostile one nothing is registered."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import time
import tracemalloc
import zlib
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from store import cache_read
from store.binary_cache import BadCacheError, narinfo_name
from store.cache_keys import PublicKey, SecretKey
from store.cache_read import Taken, describe_one, outermost, take, told
from store.cache_write import DamagedPathError
from store.errors import Error
from store.frames import FrameError
from store.info import PathInfo
from store.local import LocalStore
from store.nar import CLOSE, CONTENTS, DIRECTORY, ENTRY, ENTRY_NODE, MAGIC, REGULAR, dump, word
from store.narinfo import content_address, describe
from store.path import StorePath, fixed_path
from store.restore import restore
from store.unpack import KINDS, LARGE, USUAL, HungryError, Unpacked, is_hungry
from tests.store.caches import Memory, bend, entry, filled, quiet, three
from tests.store.trees import added, read

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from store.nar import Limits, NarHash, Source
    from store.narinfo import NarInfo

KEY = SecretKey.generate("site-1")
OTHER = SecretKey.generate("site-2")


class Ends(NamedTuple):
    """A cache that a store was written to, and an empty store in the same place."""

    cache: Memory
    infos: list[PathInfo]
    trees: Sequence[object]
    store: LocalStore

    @property
    def top(self) -> StorePath:
        return self.infos[-1].path


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    """A path with two references, in a signed cache, and a store without them."""
    place = tmp_path.resolve() / "site"
    cache = Memory()
    with LocalStore.open(place / "store") as first:
        infos = three(first)
        filled(first, infos, cache, KEY)
        trees = [read(first.real(info.path)) for info in infos]
    place.rename(tmp_path / "first")
    with LocalStore.open(place / "store") as store:
        yield Ends(cache, infos, trees, store)


def taken(
    ends: Ends,
    *tops: StorePath,
    trusted: Collection[PublicKey] | None = (KEY.public,),
) -> Taken:
    return take(ends.store, tops or [ends.top], ends.cache, trusted=trusted, observe=quiet)


def refused(ends: Ends, *, trusted: Collection[PublicKey] | None = None) -> Error:
    """Take what must not be taken; return why not. Nothing may be left of it."""
    before = ends.store.paths()
    with pytest.raises(Error) as caught:
        taken(ends, trusted=trusted)
    assert ends.store.paths() == before
    left = [place.name for place in ends.store.store_dir.iterdir()]
    assert sorted(left) == sorted([".links", *(str(info.path) for info in before)])
    return caught.value


def fetched(ends: Ends) -> list[str]:
    return [name for name in ends.cache.read if name.startswith("nar/")]


def repacked(ends: Ends, nar: bytes, size: int | None = None) -> None:
    """Put another NAR in place of the top's; what is told of the file is true."""
    data = zstandard.compress(nar)
    told = entry(ends.cache, ends.top, ends.store.store_dir)
    info = replace(told.info, nar_size=size or told.info.nar_size)
    file = hashlib.sha256(data).hexdigest()
    bent = replace(told, info=info, file_sha256=file, file_size=len(data))
    ends.cache.files[told.url] = data
    ends.cache.files[narinfo_name(ends.top)] = str(bent).encode()


def test_a_closure_comes_back_as_it_went(ends: Ends) -> None:
    seen: list[tuple[int, int]] = []
    got = take(
        ends.store,
        [ends.top],
        ends.cache,
        trusted=[OTHER.public, KEY.public],
        observe=lambda done, total: seen.append((done, total)),
    )
    assert got.added == tuple(info.path for info in ends.infos)
    assert got.raw == sum(info.nar_size for info in ends.infos) == seen[-1][0] == seen[-1][1]
    assert got.compressed == sum(len(v) for k, v in ends.cache.files.items() if "nar/" in k)
    assert [read(ends.store.real(info.path)) for info in ends.infos] == ends.trees
    assert ends.store.verify().clean
    for info in ends.infos:
        known = ends.store.info(info.path)
        assert known == replace(info, registered=known.registered if known else 0)


def test_what_is_there_is_not_fetched_again(ends: Ends) -> None:
    taken(ends, ends.infos[0].path)
    ends.cache.read.clear()
    assert taken(ends).added == tuple(info.path for info in ends.infos[1:])
    assert entry(ends.cache, ends.infos[0].path, ends.store.store_dir).url not in ends.cache.read
    ends.cache.read.clear()
    assert taken(ends) == Taken((), 0, 0)
    assert ends.cache.read == ["nix-cache-info"]


def test_a_damaged_path_is_taken_again(ends: Ends) -> None:
    taken(ends)
    path = ends.infos[0].path
    with ends.store.replacing(path):
        assert taken(ends, path).added == (path,)


def test_a_cache_is_written_in_an_order_that_never_lies(ends: Ends) -> None:
    """Each NAR before its narinfo, references before referrers: what is cut off is whole."""
    names = [name for name in ends.cache.written if name.endswith(".narinfo")]
    assert names == [narinfo_name(info.path) for info in ends.infos]
    for info in ends.infos:
        told = entry(ends.cache, info.path, ends.store.store_dir)
        written = ends.cache.written
        assert written.index(told.url) < written.index(narinfo_name(info.path))


def test_writing_twice_writes_nothing(store: LocalStore) -> None:
    cache, infos = Memory(), three(store)
    first = filled(store, infos, cache)
    assert first.closure == first.added == tuple(info.path for info in infos)
    again, before = filled(store, infos, cache), dict(cache.files)
    assert (again.added, again.raw, again.compressed) == ((), 0, 0)
    other = Memory()
    filled(store, infos, other)
    assert other.files == before == cache.files


def test_a_key_that_comes_later_signs_what_is_there(store: LocalStore) -> None:
    cache, infos = Memory(), three(store)
    filled(store, infos, cache)
    for key in (KEY, OTHER, KEY):
        assert filled(store, infos, cache, key).added == ()
    for info in infos:
        told = entry(cache, info.path, store.store_dir)
        assert [each.split(":")[0] for each in told.signatures] == ["site-1", "site-2"]
        assert told.signed_by([KEY.public])
        assert told.signed_by([OTHER.public])


@pytest.mark.parametrize("fault", ["no NAR", "no narinfo", "nonsense", "another"])
def test_what_a_cache_lost_is_written_again(store: LocalStore, fault: str) -> None:
    cache, infos = Memory(), three(store)
    filled(store, infos, cache)
    name, before = narinfo_name(infos[0].path), dict(cache.files)
    match fault:
        case "no NAR":
            del cache.files[entry(cache, infos[0].path, store.store_dir).url]
        case "no narinfo":
            del cache.files[name]
        case "nonsense":
            cache.files[name] = b"nonsense\n"
        case _:
            bend(cache, infos[0].path, "NarSize", "1")
    assert filled(store, infos, cache).added == (infos[0].path,)
    assert cache.files == before


def test_a_damaged_path_is_not_spread(store: LocalStore) -> None:
    cache, infos = Memory(), three(store)
    lib = next(info for info in infos if info.path.name == "lib")
    file = store.real(lib.path) / "lib"
    file.chmod(0o644)
    for contents in (b"y" * 5000, b"x" * 4999, b"x" * 500_000):
        file.write_bytes(contents)
        with pytest.raises(DamagedPathError) as caught:
            filled(store, infos, cache)
        assert caught.value.where == str(store.real(lib.path))
        assert narinfo_name(lib.path) not in cache.files
        assert narinfo_name(infos[-1].path) not in cache.files
    file.parent.chmod(0o755)
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(Error):
        filled(store, infos, cache)


def test_a_cache_of_another_place_is_neither_read_nor_written(ends: Ends) -> None:
    ends.cache.files["nix-cache-info"] = b"StoreDir: /nix/store\n"
    assert refused(ends).slug == "cache-other-store"
    mine = added(ends.store, b"x")
    with pytest.raises(Error) as caught:
        filled(ends.store, [mine], ends.cache)
    assert caught.value.slug == "cache-other-store"
    del ends.cache.files["nix-cache-info"]
    assert len(taken(ends).added) == 3


def test_what_a_cache_tells_of(ends: Ends) -> None:
    store_dir = str(ends.store.store_dir)
    digests = [info.path.digest for info in ends.infos]
    assert told(ends.cache, digests, store_dir) == [info.path for info in ends.infos]
    assert outermost(ends.infos) == [ends.top]
    assert describe_one(ends.cache, ends.top, store_dir, None) is not None
    assert describe_one(ends.cache, replace(ends.top, digest="0" * 32), store_dir, None) is None


class Fault(NamedTuple):
    """A lie, and how it is refused; `early` before any NAR is read."""

    bend: Callable[[Ends], object]
    slug: str
    early: bool
    says: str = ""


def _flip(ends: Ends) -> None:
    name = entry(ends.cache, ends.top, ends.store.store_dir).url
    data = bytearray(ends.cache.files[name])
    data[len(data) // 2] ^= 1
    ends.cache.files[name] = bytes(data)


def _flip_without_hash(ends: Ends) -> None:
    _flip(ends)
    bend(ends.cache, ends.top, "FileHash", None)
    bend(ends.cache, ends.top, "FileSize", None)


def _nar(ends: Ends, which: int = -1) -> bytes:
    return b"".join(
        dump(ends.store.store_dir.parent.parent / "first/store" / str(ends.infos[which].path))
    )


def _appended(ends: Ends) -> None:
    bent = entry(ends.cache, ends.top, ends.store.store_dir)
    data = ends.cache.files[bent.url] + b"more"
    ends.cache.files[bent.url] = data
    bent = replace(bent, file_sha256=hashlib.sha256(data).hexdigest(), file_size=len(data))
    ends.cache.files[narinfo_name(ends.top)] = str(bent).encode()


def _copied(ends: Ends) -> None:
    ends.cache.files[narinfo_name(ends.top)] = ends.cache.files[narinfo_name(ends.infos[0].path)]


def _lost(ends: Ends, which: int, suffix: str) -> None:
    path = ends.infos[which].path
    url = entry(ends.cache, path, ends.store.store_dir).url
    del ends.cache.files[url if suffix == ".nar" else narinfo_name(path)]


def _readdressed(ends: Ends, nar: bytes) -> None:
    """Make another NAR the right one of the top, by every hash; only the name in it differs."""
    sha256 = hashlib.sha256(nar).hexdigest()
    path = fixed_path(
        store_dir=str(ends.store.store_dir),
        name="app+1",
        nar_sha256=bytes.fromhex(sha256),
        references=(),
    )
    info = PathInfo(path, sha256, len(nar))
    data = zstandard.compress(nar)
    bent = describe(
        info,
        str(ends.store.store_dir),
        url="nar/bent",
        compression="zstd",
        file_sha256=hashlib.sha256(data).hexdigest(),
        file_size=len(data),
    )
    ends.cache.files["nar/bent"] = data
    ends.cache.files[narinfo_name(path)] = str(bent).encode()
    ends.infos.append(info)


def _file(contents: bytes) -> bytes:
    size = len(contents)
    return REGULAR + CONTENTS + size.to_bytes(8, "little") + contents + bytes(-size % 8) + CLOSE


def _folder(*names: bytes) -> bytes:
    entries = (ENTRY + word(name) + ENTRY_NODE + _file(b"x") + CLOSE for name in names)
    return MAGIC + DIRECTORY + b"".join(entries) + CLOSE


OTHER_NAR = MAGIC + _file(b"y")
LIES = {
    "a flipped bit": Fault(_flip, "bad-cache", early=False, says="the file of"),
    "a flipped bit and no file hash": Fault(_flip_without_hash, "bad-cache", early=False),
    "another NAR": Fault(
        lambda e: repacked(e, _nar(e, 0)), "bad-cache", early=False, says="more than"
    ),
    "another whole NAR": Fault(
        lambda e: repacked(e, OTHER_NAR, len(OTHER_NAR)),
        "bad-cache",
        early=False,
        says="the NAR of",
    ),
    "a size too large": Fault(
        lambda e: bend(e.cache, e.top, "NarSize", str(e.infos[-1].nar_size + 1)),
        "bad-cache",
        early=False,
        says="the NAR of",
    ),
    "a size too small": Fault(
        lambda e: bend(e.cache, e.top, "NarSize", str(e.infos[-1].nar_size - 1)),
        "bad-cache",
        early=False,
        says="more than",
    ),
    "a file too large": Fault(
        lambda e: bend(e.cache, e.top, "FileSize", "10"), "bad-cache", early=False, says="size"
    ),
    "a file too small": Fault(
        lambda e: bend(e.cache, e.top, "FileSize", "999"), "bad-cache", early=False, says="size"
    ),
    "no room": Fault(
        lambda e: bend(e.cache, e.top, "NarSize", str(1 << 40)), "disk-full", early=True
    ),
    "bytes after the frame": Fault(_appended, "bad-cache", early=False, says="unpacked"),
    "bytes after the NAR": Fault(
        lambda e: repacked(e, _nar(e) + bytes(8), e.infos[-1].nar_size + 8),
        "bad-cache",
        early=False,
        says="bytes after the end",
    ),
    "an empty file": Fault(lambda e: repacked(e, b""), "bad-cache", early=False, says="ends early"),
    "a reference that lacks": Fault(
        lambda e: _lost(e, 0, ".narinfo"), "missing-reference", early=True
    ),
    "a top that lacks": Fault(lambda e: _lost(e, -1, ".narinfo"), "missing-reference", early=True),
    "a NAR that lacks": Fault(
        lambda e: _lost(e, -1, ".nar"), "bad-cache", early=False, says="lacks the NAR"
    ),
    "a reference dropped": Fault(
        lambda e: bend(e.cache, e.top, "References", str(e.infos[0].path)),
        "not-content-addressed",
        early=True,
    ),
    "a reference to itself": Fault(
        lambda e: bend(e.cache, e.top, "References", str(e.top)),
        "not-content-addressed",
        early=True,
    ),
    "another hash": Fault(
        lambda e: bend(e.cache, e.top, "NarHash", f"sha256:{'ab' * 32}"),
        "not-content-addressed",
        early=True,
    ),
    "another content address": Fault(
        lambda e: bend(e.cache, e.top, "CA", content_address(e.infos[0])), "bad-cache", early=True
    ),
    "the address of a text": Fault(
        lambda e: bend(e.cache, e.top, "CA", "text:sha256:" + "0" * 52), "bad-cache", early=True
    ),
    "another path": Fault(_copied, "bad-cache", early=True, says="it tells of"),
    "another name": Fault(
        lambda e: bend(e.cache, e.top, "StorePath", f"{e.store.store_dir}/{e.top.digest}-evil"),
        "bad-cache",
        early=True,
        says="two names",
    ),
    "a NAR outside": Fault(
        lambda e: bend(e.cache, e.top, "URL", "../../etc/shadow"),
        "bad-cache",
        early=True,
        says="outside",
    ),
    "a compression that is not read": Fault(
        lambda e: bend(e.cache, e.top, "Compression", "br"), "bad-cache", early=True, says="'br'"
    ),
    "another compression": Fault(
        lambda e: bend(e.cache, e.top, "Compression", "xz"),
        "bad-cache",
        early=False,
        says="compressed",
    ),
    "a narinfo of 5 MB": Fault(
        lambda e: e.cache.files.update({narinfo_name(e.top): b"x" * 5_000_000}),
        "bad-cache",
        early=True,
        says="more than",
    ),
    "a narinfo that is no text": Fault(
        lambda e: e.cache.files.update({narinfo_name(e.top): b"\xff\n"}),
        "bad-cache",
        early=True,
        says="no text",
    ),
    "entries out of order": Fault(
        lambda e: _readdressed(e, _folder(b"b", b"a")),
        "bad-cache",
        early=False,
        says="out of order",
    ),
    "an entry twice": Fault(
        lambda e: _readdressed(e, _folder(b"a", b"a")), "bad-cache", early=False, says="twice"
    ),
    "a name that leads out": Fault(
        lambda e: _readdressed(e, _folder(b"..")), "bad-cache", early=False, says="file's name"
    ),
    "a name with a folder": Fault(
        lambda e: _readdressed(e, _folder(b"a/../../b")), "bad-cache", early=False, says="name"
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hostile_cache_is_refused_before_anything_is_registered(ends: Ends, lie: str) -> None:
    fault = LIES[lie]
    fault.bend(ends)
    error = refused(ends)
    assert error.slug == fault.slug
    assert fault.says in error.reason
    assert bool(fetched(ends)) != fault.early
    assert error.where


UNTRUSTED: dict[str, tuple[Callable[[Ends], None], str]] = {
    "none": (lambda e: bend(e.cache, e.top, "Sig", None), "is not signed"),
    "another key's": (
        lambda e: bend(e.cache, e.top, "Sig", OTHER.sign(_told(e).fingerprint)),
        "by others",
    ),
    "another key's of the same name": (
        lambda e: bend(
            e.cache, e.top, "Sig", SecretKey.generate("site-1").sign(_told(e).fingerprint)
        ),
        "trusted name",
    ),
    "that of another path": (
        lambda e: bend(
            e.cache,
            e.top,
            "Sig",
            entry(e.cache, e.infos[0].path, e.store.store_dir).signatures[0],
        ),
        "trusted name",
    ),
    "over another size": (
        lambda e: bend(e.cache, e.top, "NarSize", str(e.infos[-1].nar_size + 1)),
        "trusted name",
    ),
}


def _told(ends: Ends) -> NarInfo:
    return entry(ends.cache, ends.top, ends.store.store_dir)


@pytest.mark.parametrize("signature", UNTRUSTED)
def test_what_no_trusted_key_signed_is_refused(ends: Ends, signature: str) -> None:
    change, says = UNTRUSTED[signature]
    change(ends)
    error = refused(ends, trusted=[KEY.public])
    assert error.slug == "untrusted-path"
    assert says in error.reason
    assert fetched(ends) == []


def test_where_no_key_is_trusted_nothing_is(ends: Ends) -> None:
    assert refused(ends, trusted=[]).slug == "untrusted-path"


def test_content_addresses_suffice_where_no_signature_is_asked_for(ends: Ends) -> None:
    for info in ends.infos:
        bend(ends.cache, info.path, "Sig", None)
        bend(ends.cache, info.path, "CA", None)
        bend(ends.cache, info.path, "FileHash", None)
        bend(ends.cache, info.path, "FileSize", None)
    assert len(taken(ends, trusted=None).added) == 3


def test_zeros_that_were_compressed_small_take_little(ends: Ends) -> None:
    """The NAR says it has a file of 10 GB, and its frame has one; the narinfo says 560 bytes."""
    packer = zstandard.ZstdCompressor().compressobj()
    size = 10 << 30
    start = MAGIC + REGULAR + CONTENTS + size.to_bytes(8, "little")
    data = packer.compress(start)
    zeros = bytes(1 << 20)
    data += b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    bent = replace(_told(ends), file_sha256=hashlib.sha256(data).hexdigest(), file_size=len(data))
    ends.cache.files[bent.url] = data
    ends.cache.files[narinfo_name(ends.top)] = str(bent).encode()
    tracemalloc.start()
    try:
        error = refused(ends)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "at most" in error.reason or "more than" in error.reason
    assert peak < 16 << 20


def test_a_file_without_end_is_not_read_to_its_end(ends: Ends) -> None:
    """Neither size nor hash of the file is told, and it does not end."""
    bend(ends.cache, ends.top, "FileHash", None)
    bend(ends.cache, ends.top, "FileSize", None)
    url, given = _told(ends).url, 0

    class Endless(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            nonlocal given
            given += size
            return bytes(size)

    class Bent(Memory):
        def get(self, name: str, /) -> io.BytesIO | None:
            return Endless() if name == url else super().get(name)  # type: ignore[return-value]

    bent = Ends(Bent(ends.cache.files), *ends[1:])
    assert refused(bent).slug == "bad-cache"
    assert given < 1 << 20


def test_a_closure_without_end_is_refused(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_read, "PATHS_LIMIT", 2)
    monkeypatch.setattr(cache_read._check_count, "__defaults__", (2, "paths"))
    assert "more than 2 paths" in refused(ends).reason
    monkeypatch.undo()
    monkeypatch.setattr(cache_read, "TEXTS_LIMIT", 1000)
    assert "1000 bytes of descriptions" in refused(ends).reason


def test_of_descriptions_without_end_few_are_read(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are asked for at the same time as the one that is too much."""
    paths = [StorePath(f"{number:032}", "x") for number in range(500)]
    ends.cache.files |= {narinfo_name(path): b"x" * 1000 for path in paths}
    monkeypatch.setattr(cache_read, "TEXTS_LIMIT", 500)
    ends.cache.read.clear()
    with pytest.raises(BadCacheError, match="500 bytes of descriptions"):
        taken(ends, *paths)
    assert len(ends.cache.read) < 50


def test_one_bad_path_of_many_registers_none(ends: Ends) -> None:
    url = entry(ends.cache, ends.infos[0].path, ends.store.store_dir).url
    ends.cache.files[url] = ends.cache.files[url][:-1]
    refused(ends)


class CutError(Error):
    """The place is no longer reached."""


class Cut(Memory):
    """A cache that is cut off after so many questions."""

    def __init__(self, files: dict[str, bytes], left: int) -> None:
        super().__init__(files)
        self.left = left

    def _ask(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CutError("cut off")

    def get(self, name: str, /) -> BinaryIO | None:
        self._ask()
        return super().get(name)

    def put(self, name: str, source: BinaryIO, /) -> None:
        self._ask()
        super().put(name, source)

    def exists(self, name: str, /) -> bool:
        self._ask()
        return super().exists(name)


def test_wherever_writing_is_cut_off_what_is_told_of_is_there(store: LocalStore) -> None:
    infos, whole = three(store), Memory()
    filled(store, infos, whole, KEY)
    cuts = 0
    for left in range(1000):
        cache = Cut({}, left)
        try:
            filled(store, infos, cache, KEY)
        except CutError:
            cuts += 1
        names = {info.path: narinfo_name(info.path) for info in infos}
        for info in infos:
            if names[info.path] in cache.files:
                assert entry(cache, info.path, store.store_dir).url in cache.files
                assert all(names[each] in cache.files for each in info.references)
        finished = Memory(cache.files)
        filled(store, infos, finished, KEY)
        assert finished.files == whole.files
        if cache.left >= 0:
            break
    assert cuts > 10


def test_wherever_reading_is_cut_off_nothing_is_registered(ends: Ends) -> None:
    cuts = 0
    for left in range(1000):
        cut = Cut(ends.cache.files, left)
        try:
            taken(Ends(cut, *ends[1:]))
        except CutError:
            cuts += 1
            assert ends.store.paths() == []
        else:
            break
    assert cuts > 5
    assert ends.store.verify().clean
    assert len(ends.store.paths()) == 3


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "none": bytes,
    "bzip2": bz2.compress,
    "gzip": gzip.compress,
}


def drained(data: bytes, kind: str, size: int = 1000) -> bytes:
    stream = Unpacked(io.BytesIO(data), kind)
    return b"".join(iter(lambda: stream.read(size), b""))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=5000), size=st.integers(1, 3000))
def test_whatever_was_compressed_is_read(kind: str, data: bytes, size: int) -> None:
    assert drained(PACKERS[kind](data), kind, size) == data
    assert drained(PACKERS[kind](data) + PACKERS[kind](b"more"), kind, size) == data + b"more"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_damaged_streams_are_refused(kind: str) -> None:
    whole = PACKERS[kind](bytes(range(256)) * 40)
    with pytest.raises(FrameError):
        drained(b"nonsense" * 10, kind)
    with pytest.raises(FrameError):
        drained(whole + b"nonsense", kind)
    if kind != "zstd":  # whose reader ends where its source does: the NAR is then cut off
        with pytest.raises(FrameError):
            drained(whole[:-9], kind)


def test_decoders_that_ask_for_much_memory_are_refused() -> None:
    """A frame of zstd with a window of 1 GiB, and a block of xz with a dictionary of 4 GiB."""
    frame = bytes.fromhex("28b52ffd 00 a0") + (5 << 3 | 1).to_bytes(3, "little") + b"hello"
    with pytest.raises(FrameError, match="memory"):
        drained(frame, "zstd")
    small = bytearray(lzma.compress(b"hello"))
    assert small[14:16] == b"\x21\x01"
    small[16] = 40
    small[20:24] = zlib.crc32(small[12:20]).to_bytes(4, "little")
    with pytest.raises(FrameError, match=r"[Mm]emory"):
        drained(bytes(small), "xz")
    small[16] = 20
    small[20:24] = zlib.crc32(small[12:20]).to_bytes(4, "little")
    assert drained(bytes(small), "xz") == b"hello"


def long(data: bytes) -> bytes:
    """Compress by a decoder that keeps 64 MiB."""
    said = zstandard.ZstdCompressionParameters.from_level(3, window_log=26)
    packer = zstandard.ZstdCompressor(compression_params=said).compressobj()
    return packer.compress(data) + packer.flush()


def test_what_needs_much_memory_is_known_by_its_beginning() -> None:
    nar = b"x" * 1000
    strong = {"zstd": long(nar), "xz": lzma.compress(nar, preset=9)}
    for kind, data in strong.items():
        assert is_hungry(io.BytesIO(data), kind)
        assert drained(data, kind) == nar
        with pytest.raises(HungryError):
            Unpacked(io.BytesIO(data), kind, USUAL).read(1)
    for kind in KINDS:
        assert not is_hungry(io.BytesIO(PACKERS[kind](nar)), kind)
        assert not is_hungry(io.BytesIO(b"nonsense"), kind)


def test_what_needs_much_memory_is_unpacked_one_after_another(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    for info in ends.infos:
        pack(ends, info, "zstd", long)
    mutex, now, most, limits = Lock(), 0, 0, set()

    def restoring(source: Source, tree: Path, *, limits: Limits) -> NarHash:
        nonlocal now, most
        with mutex:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        try:
            return restore(source, tree, limits=limits)
        finally:
            with mutex:
                now -= 1

    class Known(Unpacked):
        def __init__(self, stream: BinaryIO, kind: str, memory: int = 0) -> None:
            limits.add(memory)
            super().__init__(stream, kind, memory)

    monkeypatch.setattr("store.cache_nar.restore", restoring)
    monkeypatch.setattr("store.cache_nar.Unpacked", Known)
    three = [info.path for info in ends.infos]
    take(ends.store, three, ends.cache, trusted=[KEY.public], observe=quiet, threads=3)
    assert (most, limits) == (1, {LARGE})


def test_what_grows_hungry_later_is_refused(ends: Ends) -> None:
    """The first frame needs little, the second much; both are one NAR."""
    pack(ends, ends.infos[-1], "zstd", lambda nar: zstandard.compress(nar[:100]) + long(nar[100:]))
    assert "memory" in refused(ends).reason


def pack(ends: Ends, info: PathInfo, kind: str, packer: Callable[[bytes], bytes]) -> None:
    """Compress a NAR in another way; what is told of it is true."""
    told = entry(ends.cache, info.path, ends.store.store_dir)
    data = packer(zstandard.decompress(ends.cache.files[told.url]))
    file = hashlib.sha256(data).hexdigest()
    bent = replace(told, compression=kind, file_sha256=file, file_size=len(data))
    ends.cache.files[told.url] = data
    ends.cache.files[narinfo_name(info.path)] = str(bent).encode()


def test_caches_by_every_compression_are_taken(ends: Ends) -> None:
    for info, kind in zip(ends.infos, ("xz", "bzip2", "none"), strict=True):
        pack(ends, info, kind, PACKERS[kind])
    assert len(taken(ends).added) == 3
    assert [read(ends.store.real(info.path)) for info in ends.infos] == ends.trees


def test_what_is_not_there_is_no_closure(store: LocalStore) -> None:
    with pytest.raises(Error) as caught:
        filled(store, [PathInfo(StorePath("0" * 32, "x"), "00" * 32, 1)], Memory())
    assert caught.value.slug == "missing-reference"
    with pytest.raises(BadCacheError):
        told(Memory({f"{'0' * 32}.narinfo": b"x"}), ["0" * 32], str(store.store_dir))
