"""Archives of friends are laid as they are; archives of enemies are refused by name."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.archive import ArchiveError, ar_members, reading, unpack_deb
from builders.scripts.extract import BadArchiveError, Limits, Tar
from builders.tree import Policy, Tree
from tests.builders.debs import (
    DIRECTORY,
    HARDLINK,
    SYMLINK,
    Entry,
    ar_bytes,
    deb_bytes,
    tar_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

LONG = "deep/" * 30 + "file"
FORMATS = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)


def lay(root: Path, data: bytes, policy: Policy | None = None, **limits: int) -> Tree:
    tree = Tree(str(root))
    tree.fill(io.BytesIO(data), policy or Policy(), Limits(**limits))
    tree.check()
    return tree


def listing(root: Path) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_bytes()
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_all_kinds_are_laid(tmp_path: Path, form: int) -> None:
    data = tar_bytes(
        Entry("./", kind=DIRECTORY, mode=0o755),
        Entry("./bin/tool", b"#!/bin/sh\n", mode=0o755),
        Entry("./empty/", kind=DIRECTORY, mode=0o755),
        Entry(LONG, b"long"),
        Entry("ünï/☃", b"text"),
        Entry("bin/alias", kind=SYMLINK, target="tool"),
        Entry("bin/twin", kind=HARDLINK, target="./bin/tool"),
        form=form,
    )
    lay(tmp_path / "out", data)
    found = listing(tmp_path / "out")
    assert found["bin/tool"] == found["bin/twin"] == b"#!/bin/sh\n"
    assert found["bin/alias"] == "-> tool"
    assert found["empty"] == "/"
    assert found[LONG] == b"long"
    assert found["ünï/☃"] == b"text"
    assert (tmp_path / "out/bin/tool").stat().st_mode & 0o111
    assert not (tmp_path / "out" / LONG).stat().st_mode & 0o111


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_links_are_read(tmp_path: Path, form: int) -> None:
    target = "x" * 150
    data = tar_bytes(Entry("link", kind=SYMLINK, target=target), Entry(target, b"1"), form=form)
    lay(tmp_path / "out", data)
    assert (tmp_path / "out/link").read_bytes() == b"1"


def test_a_link_may_come_before_what_it_leads_to(tmp_path: Path) -> None:
    data = tar_bytes(Entry("a/link", kind=SYMLINK, target="../b/file"), Entry("b/file", b"1"))
    assert lay(tmp_path / "out", data).check() == []


HOSTILE: dict[str, tuple[tuple[Entry, ...], str]] = {
    "absolute": ((Entry("/etc/passwd", b"x"),), "'/etc/passwd': an absolute name"),
    "doubly absolute": ((Entry("//etc/passwd", b"x"),), "an absolute name"),
    "climbs": ((Entry("../up", b"x"),), "'../up': a name that climbs"),
    "climbs within": ((Entry("a/../../up", b"x"),), "climbs"),
    "climbs and stays": ((Entry("a/../b", b"x"),), "climbs"),
    "climbing folder": ((Entry("..", kind=DIRECTORY),), "climbs"),
    "absolute link": ((Entry("l", kind=SYMLINK, target="/etc"),), "'l': a link to '/etc'"),
    "link outside": ((Entry("a/l", kind=SYMLINK, target="../../up"),), "'a/l': a link to"),
    "link to the parent": ((Entry("l", kind=SYMLINK, target=".."),), "'l': a link to '..'"),
    "link to nowhere": ((Entry("l", kind=SYMLINK, target=""),), "a link to nowhere"),
    "through a link": (
        (Entry("d", kind=DIRECTORY), Entry("l", kind=SYMLINK, target="d"), Entry("l/f", b"x")),
        "'l/f': its folder 'l' is a symlink",
    ),
    "link through a link": (
        (
            Entry("s/t/up", kind=SYMLINK, target="../.."),
            Entry("out", kind=SYMLINK, target="s/t/up/../x"),
        ),
        "'out': a link that leaves the archive",
    ),
    "link in the place of a folder": (
        (Entry("d/f", b"x"), Entry("d", kind=SYMLINK, target="e")),
        "'d': it is there already",
    ),
    "file over a link": (
        (Entry("l", kind=SYMLINK, target="t"), Entry("l", b"x")),
        "'l': it is there already",
    ),
    "under a file": ((Entry("f", b"x"), Entry("f/g", b"x")), "its folder 'f' is a file"),
    "circle": (
        (Entry("a", kind=SYMLINK, target="b"), Entry("b", kind=SYMLINK, target="a")),
        "a link in a circle",
    ),
    "hard link outside": ((Entry("h", kind=HARDLINK, target="../up"),), "climbs"),
    "hard link to the host": ((Entry("h", kind=HARDLINK, target="/etc/passwd"),), "absolute"),
    "hard link to nothing": ((Entry("h", kind=HARDLINK, target="f"),), "'h': a hard link to 'f'"),
    "hard link to a link": (
        (Entry("l", kind=SYMLINK, target="f"), Entry("h", kind=HARDLINK, target="l")),
        "'h': a hard link to 'l'",
    ),
    "character device": ((Entry("null", kind=b"3"),), "'null': a character device"),
    "block device": ((Entry("sda", kind=b"4"),), "'sda': a block device"),
    "pipe": ((Entry("fifo", kind=b"6"),), "'fifo': a named pipe"),
    "setuid": ((Entry("su", b"x", mode=0o4755),), "'su': setuid"),
    "setgid": ((Entry("wall", b"x", mode=0o2755),), "'wall': setuid, setgid"),
    "sticky": ((Entry("tmp", kind=DIRECTORY, mode=0o1777),), "'tmp': setuid, setgid or sticky"),
    "unknown type": ((Entry("odd", kind=b"Z"),), "'odd': an entry of unknown type"),
    "twice": ((Entry("f", b"x"), Entry("./f", b"y")), "'f': it is there already"),
    "root as a file": ((Entry(".", b"x"),), "in the place of the root"),
    "long component": ((Entry("n" * 256, b"x"),), "a name that no file can have"),
    "long name": ((Entry("n/" * 600 + "f", b"x"),), "a name that no file can have"),
    "deep name": ((Entry("n/" * 200 + "f", b"x"),), "a name that no file can have"),
    "link with contents": ((Entry("l", b"x", kind=SYMLINK, target="f"),), "with contents"),
}


@pytest.mark.parametrize(("entries", "reason"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_hostile_tar(tmp_path: Path, entries: tuple[Entry, ...], reason: str, form: int) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(BadArchiveError) as caught:
        lay(inner / "out", tar_bytes(*entries, form=form))
    assert reason in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert [path.name for path in inner.iterdir()] == ["out"]


RAW: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short"),
    "no end": (tar_bytes(Entry("f", b"x"))[:1024], "cut short"),
    "checksum": (tar_bytes(Entry("f", b"x")).replace(b"ustar", b"vstar"), "checksum"),
    "more after the end": (tar_bytes(Entry("f")) + b"x" * 512, "more after the end"),
    "endless zeros": (tar_bytes(Entry("f")) + bytes(2 << 20), "more after the end"),
}


@pytest.mark.parametrize(("data", "reason"), RAW.values(), ids=RAW)
def test_damaged_tar(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(BadArchiveError, match=reason):
        lay(tmp_path / "out", data)


def test_names_must_be_utf_8(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1"
    ) as archive:
        archive.addfile(tarfile.TarInfo("caf\xe9"))
    with pytest.raises(BadArchiveError, match="not UTF-8"):
        lay(tmp_path / "out", stream.getvalue())


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"GNU.sparse.major": "1", "path": "f"}, "a sparse file"),
        ({"size": "1e9"}, "no number"),
        ({"size": "9" * 30}, "no number"),
        ({"path": "/abs"}, "an absolute name"),
        ({"path": "../up"}, "climbs"),
        ({"path": "a\0b"}, "a name that no file can have"),
    ],
)
def test_hostile_pax_headers(tmp_path: Path, headers: dict[str, str], reason: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("f")
        info.pax_headers = headers
        archive.addfile(info)
    with pytest.raises(BadArchiveError, match=reason):
        lay(tmp_path / "out", stream.getvalue())


def test_a_global_header_may_comment_and_not_rename(tmp_path: Path) -> None:
    assert lay(tmp_path / "out", _with_global({"comment": "a commit"})).kinds["f"] == "file"
    with pytest.raises(BadArchiveError, match="global header"):
        lay(tmp_path / "other", _with_global({"path": "f"}))


def _with_global(headers: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers
    ) as archive:
        archive.addfile(tarfile.TarInfo("f"))
    return stream.getvalue()


def test_limits_hold_before_anything_is_written(tmp_path: Path) -> None:
    many = tar_bytes(*(Entry(f"f{index}") for index in range(30)))
    with pytest.raises(BadArchiveError, match="more than 10 members"):
        lay(tmp_path / "many", many, members=10)
    with pytest.raises(BadArchiveError, match="'big': more than 100 bytes in all"):
        lay(tmp_path / "big", tar_bytes(Entry("small", b"x"), Entry("big", b"x" * 100)), total=100)
    assert listing(tmp_path / "big") == {"small": b"x"}


def test_a_size_that_is_claimed_and_not_there(tmp_path: Path) -> None:
    info = tarfile.TarInfo("huge")
    info.size = 1 << 40
    with pytest.raises(BadArchiveError, match="'huge': more than"):
        lay(tmp_path / "out", info.tobuf(tarfile.GNU_FORMAT))


def test_an_allow_list_drops_special_bits(tmp_path: Path) -> None:
    data = tar_bytes(Entry("./bin/su", b"x", mode=0o4755))
    lay(tmp_path / "out", data, Policy(special={"bin/su"}))
    assert (tmp_path / "out/bin/su").stat().st_mode & 0o7777 == 0o755


def test_what_is_not_kept_is_not_there(tmp_path: Path) -> None:
    data = tar_bytes(
        Entry("a/", kind=DIRECTORY), Entry("a/f", b"1"), Entry("b/", kind=DIRECTORY), Entry("b/g")
    )
    policy = Policy(keep=lambda place: not place.startswith("b/"), empty=False)
    lay(tmp_path / "out", data, policy)
    assert listing(tmp_path / "out") == {"a": "/", "a/f": b"1"}


def test_rooted_links_become_relative_and_move_with_their_target(tmp_path: Path) -> None:
    data = tar_bytes(
        Entry("lib/x/ld.so", b"ld"),
        Entry("lib64/ld.so", kind=SYMLINK, target="/lib/x/ld.so"),
        Entry("usr/bin/ld", kind=SYMLINK, target="../../lib64/ld.so"),
        Entry("etc/same", kind=SYMLINK, target="other"),
    )
    policy = Policy(
        rename=lambda path: f"usr/{path}" if path.startswith("lib") else path, rooted=True
    )
    tree = lay(tmp_path / "out", data, policy)
    assert tree.links == {
        "usr/lib64/ld.so": "../lib/x/ld.so",
        "usr/bin/ld": "../lib64/ld.so",
        "etc/same": "other",
    }
    assert tree.check() == ["etc/same"]
    assert (tmp_path / "out/usr/bin/ld").read_bytes() == b"ld"


def test_two_archives_share_folders_and_not_files(tmp_path: Path) -> None:
    tree = lay(tmp_path / "out", tar_bytes(Entry("usr/", kind=DIRECTORY), Entry("usr/a")))
    tree.fill(io.BytesIO(tar_bytes(Entry("usr/", kind=DIRECTORY), Entry("usr/b"))))
    with pytest.raises(BadArchiveError, match="'usr/a': it is there already"):
        tree.fill(io.BytesIO(tar_bytes(Entry("usr/a"))))


GOOD = (Entry("./usr/bin/it", b"it" * 9000, mode=0o755), Entry("./usr/n", b"n" * 700))
CONTROL = ("control.tar.gz", gzip.compress(tar_bytes(Entry("./control", b"Package: it\n"))))
VERSION = ("debian-binary", b"2.0\n")
DATA = tar_bytes(*GOOD)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_packages_are_unpacked(tmp_path: Path, suffix: str) -> None:
    packed = {"": DATA, ".gz": gzip.compress(DATA), ".xz": lzma.compress(DATA)}[suffix]
    unpack(tmp_path, ar_bytes(VERSION, CONTROL, (f"data.tar{suffix}", packed)))
    assert listing(tmp_path / "out")["usr/bin/it"] == b"it" * 9000


def test_zstandard_is_read_where_it_can_be_and_refused_elsewhere(tmp_path: Path) -> None:
    # One raw block (RFC 8878, 3.1.1): magic, descriptor, window, block header, bytes.
    block = DATA[: 1 << 16].ljust(1 << 16, b"\0")
    header = b"\x28\xb5\x2f\xfd\x00\x38" + ((len(block) << 3) | 1).to_bytes(3, "little")
    data = ar_bytes(VERSION, CONTROL, ("data.tar.zst", header + block))
    if any(find_spec(name) for name in ("zstandard", "compression")):
        unpack(tmp_path, data)
        assert "usr/n" in listing(tmp_path / "out")
    else:
        with pytest.raises(ArchiveError, match="cannot read Zstandard"):
            unpack(tmp_path, data)


def test_additional_members_are_passed_over(tmp_path: Path) -> None:
    unpack(tmp_path, ar_bytes(VERSION, ("_gpgorigin", b"x"), CONTROL, ("data.tar", DATA)))
    assert "usr/n" in listing(tmp_path / "out")


BOMB = lzma.compress(bytes(64 << 20))
BAD_DEBS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no ar archive"),
    "no ar": (b"PK\3\4" + bytes(100), "no ar archive"),
    "nothing in it": (ar_bytes(), "no debian-binary"),
    "another format": (ar_bytes(("debian-binary", b"3.0\n"), CONTROL), "unknown format"),
    "wrong order": (ar_bytes(VERSION, ("data.tar", DATA), CONTROL), "control.tar should stand"),
    "no data": (ar_bytes(VERSION, CONTROL), "no data.tar"),
    "unknown compression": (ar_bytes(VERSION, CONTROL, ("data.tar.lz", b"")), "compression '.lz'"),
    "two data.tar": (
        ar_bytes(VERSION, CONTROL, ("data.tar", DATA), ("data.tar", DATA)),
        "nothing more should stand here",
    ),
    "unknown member": (ar_bytes(VERSION, ("evil", b"x"), CONTROL), "'evil'"),
    "xz cut short": (ar_bytes(VERSION, CONTROL, ("data.tar.xz", BOMB[:200])), "cut short"),
    "no xz": (ar_bytes(VERSION, CONTROL, ("data.tar.xz", b"no xz at all")), "damaged"),
    "after xz": (
        ar_bytes(VERSION, CONTROL, ("data.tar.xz", lzma.compress(DATA) + b"more")),
        "more after the end",
    ),
    "gz cut short": (ar_bytes(VERSION, CONTROL, ("data.tar.gz", gzip.compress(DATA)[:-9])), "it"),
    "bomb": (ar_bytes(VERSION, CONTROL, ("data.tar.xz", BOMB)), "more after the end"),
    "negative size": (
        ar_bytes(VERSION, CONTROL).replace(b"4         `", b"-4        `"),
        "header of the ar archive",
    ),
    "bad magic of a header": (
        ar_bytes(VERSION, CONTROL).replace(b"`\n", b"``"),
        "header of the ar archive",
    ),
}


@pytest.mark.parametrize(("data", "reason"), BAD_DEBS.values(), ids=BAD_DEBS)
def test_bad_packages(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason) as caught:
        unpack(tmp_path, data)
    assert caught.value.where == "it.deb"


@pytest.mark.parametrize(("entries", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_packages(tmp_path: Path, entries: tuple[Entry, ...], reason: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack(tmp_path, deb_bytes(*entries))
    assert reason in caught.value.reason
    assert "it.deb" in caught.value.reason


def test_a_package_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = deb_bytes(*GOOD)
    for length in range(0, len(whole) - 1, 7):
        place = tmp_path / str(length)
        place.mkdir()
        with pytest.raises(ArchiveError):
            unpack(place, whole[:length])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, len(DATA) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_harms_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    place = tmp_path_factory.mktemp("changed")
    changed = DATA[:at] + bytes([byte]) + DATA[at + 1 :]
    with suppress(ArchiveError):
        unpack(place, ar_bytes(VERSION, CONTROL, ("data.tar", changed)))
    assert {path.name for path in place.iterdir()} == {"it.deb", "out"}


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb, Debian's own")
def test_dpkg_deb_lays_the_same(tmp_path: Path) -> None:
    data = deb_bytes(
        Entry("./", kind=DIRECTORY, mode=0o755),
        Entry("./usr/", kind=DIRECTORY, mode=0o755),
        *GOOD,
        Entry(f"./usr/{LONG}", b"long"),
        Entry("./usr/alias", kind=SYMLINK, target="bin/it"),
        Entry("./usr/twin", kind=HARDLINK, target="./usr/n"),
    )
    unpack(tmp_path, data)
    command = ["dpkg-deb", "-x", str(tmp_path / "it.deb"), str(tmp_path / "theirs")]
    subprocess.run(command, check=True)
    assert listing(tmp_path / "out") == listing(tmp_path / "theirs")


def test_a_section_ends_where_its_member_ends() -> None:
    stream = io.BytesIO(ar_bytes(VERSION, CONTROL, ("data.tar", DATA)))
    sizes = {name: len(section.read()) for name, section in ar_members(stream)}
    assert sizes == {"control.tar.gz": len(CONTROL[1]), "data.tar": len(DATA)}


def test_members_that_nobody_reads_are_passed_over() -> None:
    tar = Tar(io.BytesIO(tar_bytes(Entry("big", b"x" * 3000), Entry("small", b"y"))))
    read = {member.name: b"".join(tar.contents()) for member in tar if member.name == "small"}
    assert read == {"small": b"y"}


def unpack(place: Path, data: bytes) -> Tree:
    (place / "it.deb").write_bytes(data)
    tree = Tree(str(place / "out"))
    unpack_deb(place / "it.deb", tree)
    with reading("it.deb"):
        tree.check()
    return tree
