"""Unpacking wheels: as an installer would, the same every time, and nothing outside."""

from __future__ import annotations

import io
import json
import marshal
import os
import stat
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from builders.derive import SCRIPTS
from store.local import LocalStore
from tests.builders.registry import other, serving
from tests.builders.wheels import Site, make_wheel, real, reasons, zip_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        yield store


def unpack(
    folder: Path, content: bytes, filename: str = "top-1.0-py3-none-any.whl"
) -> subprocess.CompletedProcess[str]:
    """Run the script as the step does; the output is `folder/out`."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "file"
    wheel.write_bytes(content)
    arguments = {"wheel": str(wheel), "filename": filename, "out": str(folder / "out")}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    argv = [sys.executable, "-I", "-S", str(SCRIPTS / "wheel.py"), str(folder / "arguments.json")]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


FILES = {
    "top/__init__.py": "import os\nNAME = {'b', 'a', 'c'} | frozenset('xyz')\n",
    "top/data.txt": "data",
    "single.py": "def f(x=1):\n    return [i for i in range(x) if i in {1, 2, 3}]\n",
    "top-1.0.data/scripts/run": "#!python\nprint('hi')\n",
    "top-1.0.data/data/share/top/thing.cfg": "a = 1\n",
    "top-1.0.data/purelib/extra.py": "A = 1\n",
    "top-1.0.data/headers/top.h": "int x;\n",
    "top/broken.py": "print 'two'\n",
}


def test_everything_lands_where_it_belongs(tmp_path: Path) -> None:
    done = unpack(tmp_path, make_wheel("top", files=FILES)[1])
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    names = {name for name in tree(out) if "__pycache__" not in name}
    assert names == {
        ".prefix/bin/run",
        ".prefix/include/top/top.h",
        ".prefix/share/top/thing.cfg",
        "extra.py",
        "single.py",
        "top-1.0.dist-info/METADATA",
        "top-1.0.dist-info/RECORD",
        "top-1.0.dist-info/WHEEL",
        "top/__init__.py",
        "top/broken.py",
        "top/data.txt",
    }
    assert os.access(out / ".prefix/bin/run", os.X_OK)
    assert not os.access(out / "top/data.txt", os.X_OK) or os.geteuid() == 0


def test_bytecode_is_ahead_of_time_and_never_checked(tmp_path: Path) -> None:
    unpack(tmp_path, make_wheel("top", files=FILES)[1])
    cache = sys.implementation.cache_tag
    for name in ("__pycache__/single", "top/__pycache__/__init__"):
        code = (tmp_path / f"out/{name}.{cache}.pyc").read_bytes()
        assert int.from_bytes(code[4:8], "little") == 0b01
        assert str(tmp_path) not in repr(marshal.loads(code[16:]))  # noqa: S302 - made here
    assert not list((tmp_path / "out/top/__pycache__").glob("broken.*"))


def test_suites_of_tests_are_left_uncompiled(tmp_path: Path) -> None:
    files = {f"top/{name}.py": "A = 1\n" for name in ("tests/one", "tests/deep/two", "testing/x")}
    unpack(tmp_path, make_wheel("top", files=files)[1])
    compiled = {path.parent.parent.name for path in tmp_path.rglob("*.pyc")}
    assert compiled == {"testing"}


def test_two_places_and_times_make_the_same_bytes(tmp_path: Path) -> None:
    content = make_wheel("top", files=FILES)[1]
    assert unpack(tmp_path / "one", content).returncode == 0
    assert unpack(tmp_path / "a" / "very" / "other" / "place", content).returncode == 0
    assert tree(tmp_path / "one/out") == tree(tmp_path / "a/very/other/place/out")


def member(name: str, mode: int = 0o100644, *, flags: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.flag_bits |= flags
    return info


def with_members(*members: tuple[zipfile.ZipInfo | str, str]) -> bytes:
    base = [
        ("top-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n"),
        ("top-1.0.dist-info/METADATA", "Name: top\n"),
    ]
    return zip_of([*base, *members])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a zip"),
        (b"PK\x03\x04 and then nothing", "not a zip"),
        (make_wheel("top", files=FILES)[1][:-40], "not a zip"),
        (with_members(("../out.py", "")), "leaves the wheel"),
        (with_members(("top/../../out.py", "")), "leaves the wheel"),
        (with_members(("/etc/passwd", "")), "not a relative path"),
        (with_members(("top\\x.py", "")), "not a relative path"),
        (with_members(("./x.py", "")), "leaves the wheel"),
        (with_members(("top//x.py", "")), "leaves the wheel"),
        (with_members(("top/a\nb.py", "")), "control character"),
        (with_members((member("link", stat.S_IFLNK | 0o777), "/etc/passwd")), "neither a file"),
        (with_members((member("pipe", stat.S_IFIFO | 0o644), "")), "neither a file"),
        (with_members(("top/x.py", "1"), ("top/x.py", "2")), "two members"),
        (with_members(("top", "1"), ("top/x.py", "2")), "a file and a folder"),
        (with_members(("x.py", "1"), ("top-1.0.data/purelib/x.py", "2")), "two members land"),
        (with_members(("top-1.0.data/purelib/../../x.py", "")), "leaves the wheel"),
        (with_members(("top-1.0.data/platstdlib/x.py", "")), "unknown scheme"),
        (with_members(("other-1.0.dist-info/WHEEL", "")), "2 .dist-info"),
        (zip_of([("x.py", "")]), "0 .dist-info"),
        (zip_of([("top-1.0.dist-info/METADATA", "")]), "WHEEL is missing"),
        (zip_of([("top-1.0.dist-info/WHEEL", "Wheel-Version: 2.0\n")]), "is not known"),
        (zip_of([("oth-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")]), "does not belong"),
    ],
)
def test_hostile_wheels_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    done = unpack(tmp_path / "here", content)
    assert done.returncode != 0
    assert says in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert set(os.listdir(tmp_path / "here")) <= {"file", "arguments.json", "out"}  # noqa: PTH208


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    content = bytearray(with_members(*((f"top/{n}.py", "A = 1\n") for n in range(3))))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        # The central directory's size of the member: what unpacking is told to make.
        content[at + 24 : at + 28] = (0xFFFFFFFE).to_bytes(4, "little")
        at = content.find(b"PK\x01\x02", at + 4)
    done = unpack(tmp_path, bytes(content))
    assert "larger than any wheel" in done.stderr
    assert not tree(tmp_path / "out")


def test_damaged_contents_are_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of([*_stored("top/x.txt", b"A" * 5000)]))
    at = content.index(b"AAAA")
    content[at] ^= 1
    done = unpack(tmp_path, bytes(content))
    assert done.returncode != 0
    assert "bad wheel: 'top/x.txt'" in done.stderr


@pytest.mark.parametrize("name", ["top/x.txt", "top-1.0.dist-info/WHEEL"])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_compression_is_refused(tmp_path: Path, name: str, method: int) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("top/x.txt", b"A" * 5000)
        archive.writestr("top-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n" * 50)
    content = bytearray(stream.getvalue())
    with zipfile.ZipFile(stream) as archive:
        start = archive.getinfo(name).header_offset + 30 + len(name)
    content[start + 9 : start + 16] = b"\xff" * 7
    done = unpack(tmp_path, bytes(content))
    assert f"bad wheel: {name!r}" in done.stderr or f"bad wheel: {name}:" in done.stderr
    assert "Traceback" not in done.stderr


def _stored(name: str, data: bytes) -> list[tuple[zipfile.ZipInfo | str, bytes]]:
    info = zipfile.ZipInfo(name)
    return [
        ("top-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
        (info, data),
    ]


def test_a_tampered_wheel_is_not_built_from(site: Site, store: LocalStore) -> None:
    recipe = site.env("app", "top")
    pinned = site.pin(recipe, make_wheel("top", files={"top.py": "A = 1\n"}))["top"]
    path = pinned.url.removeprefix(site.registry.url)
    site.registry.faults[path] = other(make_wheel("top", files={"top.py": "A = 2\n"})[1])
    result = site.build(store, "app")
    assert not result.ok
    assert result.failures[0].error.slug == "hash-mismatch"
    # Negative control: with the bytes that the lock pins the same plan builds.
    del site.registry.faults[path]
    assert (real(store, site.build(store, "app"), "app") / "site" / "top.py").is_file()


def test_a_file_that_is_gone_is_named(site: Site, store: LocalStore) -> None:
    recipe = site.env("app", "top")
    pinned = site.pin(recipe, make_wheel("top"))["top"]
    del site.registry.files[pinned.url.removeprefix(site.registry.url)]
    result = site.build(store, "app")
    assert not result.ok
    assert pinned.filename in reasons(result)


def test_recipes_share_a_wheels_step(site: Site, store: LocalStore) -> None:
    wheel = make_wheel("top", files={"top.py": "A = 1\n"})
    for name in ("one", "two"):
        site.pin(site.env(name, "top"), wheel)
    steps = site.steps("one", "two")
    assert sum(key.startswith("wheel:") for key in steps) == 1
    assert sum(key.startswith("fetch:") for key in steps) == 1
    result = site.build(store, "one", "two")
    first, second = (real(store, result, name) / "site" / "top.py" for name in ("one", "two"))
    assert first.readlink() == second.readlink()


def test_a_mirror_of_the_files_is_asked(site: Site) -> None:
    recipe = site.env("app", "top")
    site.pin(recipe, make_wheel("top"))
    (step,) = [step for step in site.steps("app").values() if step.download]
    assert step.download is not None
    assert step.download.urls[0].startswith(site.registry.url)
    assert step.download.size == len(make_wheel("top")[1])
