"""A cache in a folder that somebody else may have written: nothing leads out of it."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from store.binary_cache import BadCacheError
from store.cache_folder import CacheFolder, CacheFolderError
from store.cache_read import take, told
from store.cache_write import write
from store.database import DiskFullError
from store.errors import Error
from store.local import LocalStore
from tests.store.caches import quiet, three

if TYPE_CHECKING:
    from pathlib import Path

    from store.path import StorePath

DIGEST = "0" * 32
NAMES = ["nix-cache-info", f"{DIGEST}.narinfo", "nar/x.nar.zst"]


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache")


@pytest.mark.parametrize("name", NAMES)
def test_what_was_put_is_got(folder: CacheFolder, name: str) -> None:
    assert folder.get(name) is None
    assert not folder.exists(name)
    for contents in (b"first", b"x" * 3_000_000):
        folder.put(name, io.BytesIO(contents))
        stream = folder.get(name)
        assert stream is not None
        with stream:
            assert stream.read() == contents
        assert folder.exists(name)
    assert [p.name for p in folder.root.rglob("*") if p.is_file()] == [name.rpartition("/")[2]]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "nar/../x", ".", "", ".hidden", "nar//x", "a\x00b", "a\nb"]
)
def test_names_that_lead_out_are_neither_read_nor_written(folder: CacheFolder, name: str) -> None:
    folder.root.mkdir()
    for attempt in (folder.get, folder.exists, lambda name: folder.put(name, io.BytesIO())):
        with pytest.raises(BadCacheError, match="leads out"):
            attempt(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["link", "pipe", "folder", "device"])
def test_only_regular_files_are_read(
    folder: CacheFolder, tmp_path: Path, name: str, what: str
) -> None:
    """A pipe without a writer would be waited for; a link may lead to what others may not see."""
    place = folder.root / name
    place.parent.mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    match what:
        case "link":
            place.symlink_to(tmp_path / "secret")
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case _ if os.geteuid() == 0:
            os.mknod(place, 0o20644, os.makedev(1, 5))
        case _:
            pytest.skip("only root makes devices")
    with pytest.raises(BadCacheError):
        folder.get(name)


def test_folders_of_a_cache_are_no_links(folder: CacheFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("secret")
    folder.root.mkdir()
    (folder.root / "nar").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadCacheError):
        folder.get("nar/x")
    with pytest.raises(BadCacheError):
        folder.put("nar/y", io.BytesIO(b"y"))
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["x"]


def test_a_link_in_place_of_a_file_is_replaced_and_not_written_through(
    folder: CacheFolder, tmp_path: Path
) -> None:
    folder.root.mkdir()
    (tmp_path / "other").write_text("kept")
    (folder.root / "nix-cache-info").symlink_to(tmp_path / "other")
    folder.put("nix-cache-info", io.BytesIO(b"new"))
    assert (tmp_path / "other").read_text() == "kept"
    assert not (folder.root / "nix-cache-info").is_symlink()


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    CacheFolder(tmp_path / "link").put("x", io.BytesIO(b"x"))
    assert (tmp_path / "real" / "x").read_bytes() == b"x"


def test_what_a_killed_writer_left_goes_and_what_another_writes_stays(
    folder: CacheFolder,
) -> None:
    (folder.root / "nar").mkdir(parents=True)
    for left in (folder.root / ".tmp-1", folder.root / "nar" / ".tmp-2"):
        left.write_text("cut off")
    held = folder.root / "nar" / ".tmp-held"
    with subprocess.Popen(
        ["flock", held, "sh", "-c", "echo; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with folder.writing():
            pass
        other.communicate(b"\n")
    names = sorted(str(p.relative_to(folder.root)) for p in folder.root.rglob("*"))
    assert names == ["log", "nar", "nar/.tmp-held", "realisations"]


def test_digests_are_those_of_narinfos(folder: CacheFolder) -> None:
    folder.root.mkdir()
    for name in (f"{DIGEST}.narinfo", f"{'1' * 32}.narinfo", "x.narinfo", f"{DIGEST}.ls"):
        (folder.root / name).write_text("")
    assert folder.digests() == [DIGEST, "1" * 32]
    with pytest.raises(CacheFolderError):
        CacheFolder(folder.root / "nowhere").digests()


def test_a_medium_that_fails_is_said_to(folder: CacheFolder) -> None:
    """Reading one's own memory at address zero gives EIO, as a medium that was pulled out does."""
    folder.put("x", io.BytesIO(b"x"))
    stream = folder.get("x")
    assert stream is not None
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    with stream:
        os.dup2(memory, stream.fileno())
        os.close(memory)
        with pytest.raises(CacheFolderError) as caught:
            stream.read()
    assert os.strerror(errno.EIO) in caught.value.reason
    assert caught.value.where == str(folder.root / "x")


def test_a_full_medium_is_said_to_be_full(folder: CacheFolder) -> None:
    class Full(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFullError):
        folder.put("x", Full())
    assert list(folder.root.iterdir()) == []


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = CacheFolder(tmp_path / "file" / "cache")
    with pytest.raises(Error), folder.writing():
        pass
    with pytest.raises(Error):
        folder.put("x", io.BytesIO())


@pytest.mark.parametrize("what", ["narinfo", "nar"])
def test_a_link_in_a_cache_is_refused_as_a_whole(tmp_path: Path, what: str) -> None:
    place = tmp_path.resolve() / "site"
    folder = CacheFolder(tmp_path / "cache")
    with LocalStore.open(place / "store") as store:
        top = three(store)[-1].path
        write(store, [top], folder, key=None, observe=quiet)
    place.rename(tmp_path / "before")
    victim = _victim(folder, top, what)
    victim.rename(tmp_path / "moved")
    victim.symlink_to(tmp_path / "moved")
    with LocalStore.open(place / "store") as store:
        with pytest.raises(BadCacheError):
            take(store, [top], folder, trusted=None, observe=quiet)
        assert store.paths() == []
        victim.unlink()
        (tmp_path / "moved").rename(victim)
        assert top in told(folder, folder.digests(), str(store.store_dir))
        take(store, [top], folder, trusted=None, observe=quiet)
        assert store.info(top)


def _victim(folder: CacheFolder, top: StorePath, what: str) -> Path:
    narinfo = folder.root / f"{top.digest}.narinfo"
    if what == "narinfo":
        return narinfo
    url = next(x for x in narinfo.read_text().splitlines() if x.startswith("URL: "))
    return folder.root / url[5:]
