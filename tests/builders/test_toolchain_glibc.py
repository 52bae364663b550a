"""A glibc of an interpreter's own: it takes nothing from the head, and the head needs none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import builders
from builders.deb import PackageError
from builders.loader import load_recipes
from builders.plan import plan
from builders.project import Project
from builders.realise import realise
from builders.sandbox import probe
from builders.settings import load_settings
from builders.toolchain_glibc import BLIND, LIBC, blind, blinded
from builders.toolchain_python import LOADER, own_glibc
from store.local import LocalStore
from tests.builders.workbench import works

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(builders.__file__).resolve().parents[1]
NAMES = ("glibc-2.41", "python-3.13")
MODULES = """
import importlib, json, os, pwd, socket, sys
failed = []
for name in sorted(sys.stdlib_module_names - {"antigravity", "this"}):
    try:
        importlib.import_module(name)
    except ImportError as fault:
        failed.append(name)
import ctypes, ssl
files = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
print(json.dumps({
    "failed": failed,
    "files": sorted(files),
    "glibc": os.confstr("CS_GNU_LIBC_VERSION"),
    "encoding": [sys.getfilesystemencoding(), "ä".encode(sys.stdout.encoding).hex()],
    "host": socket.gethostbyname("localhost" if os.path.exists("/etc/hosts") else "127.0.0.1"),
}))
"""
ABSENT = {
    *("_gdbm", "_tkinter", "ensurepip", "idlelib", "tkinter", "turtle", "turtledemo"),
    *("_overlapped", "_winapi", "_wmi", "msvcrt", "nt", "winreg", "winsound"),
    *("_ios_support", "_scproxy"),
}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (b"\0/etc/ld.so.cache\0", b"\0/___/ld.so.cache\0"),
        (b"/usr/lib/locale", b"/___/lib/locale"),
        (b"/lib/\0/usr/lib/\0", b"/___/\0/___/lib/\0"),
    ],
)
def test_a_name_is_blinded_at_its_length(name: bytes, other: bytes) -> None:
    assert blinded(name) == other


def test_every_name_keeps_its_length() -> None:
    for _, names in BLIND:
        for name in names:
            assert len(blinded(name)) == len(name)
            assert blinded(name) != name


def test_a_glibc_that_spells_its_names_in_another_way_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ld.so"
    file.write_bytes(b"\0/etc/ld.so.cache\0")
    blind(file, (b"\0/etc/ld.so.cache\0",))
    with pytest.raises(PackageError) as caught:
        blind(file, (b"\0/etc/ld.so.cache\0",))
    assert caught.value.expected == "/etc/ld.so.cache"


@pytest.mark.parametrize("record", [{}, {"glibc": "2.36"}, {"own_glibc": None}])
def test_what_is_no_glibc_cannot_be_one(tmp_path: Path, record: dict[str, object]) -> None:
    (tmp_path / "sealift.json").write_text(json.dumps(record))
    with pytest.raises(PackageError, match="no glibc"):
        own_glibc(tmp_path)


def project(folder: Path, recipe: str = "") -> Project:
    settings = f"recipes: {ROOT}/recipes\nlocks: {ROOT}/recipes/locks\nstore_dir: store\n"
    if recipe:
        (folder / "recipes").mkdir()
        (folder / "recipes" / "glibc-2.41.yaml").write_text(recipe)
        settings = f"recipes: recipes\nlocks: {ROOT}/recipes/locks\nstore_dir: store\n"
    (folder / "sealift.yaml").write_text(f"sources: .\n{settings}")
    found = load_settings(folder)
    return Project(found, load_recipes(found.recipes_dir))


def test_a_lock_of_another_version_is_refused(tmp_path: Path) -> None:
    text = (ROOT / "recipes/toolchains/glibc-2.41.yaml").read_text()
    made = project(tmp_path, text.replace('version: "2.41"', 'version: "2.40"'))
    with pytest.raises(PackageError) as caught:
        plan(made, lambda _: None, ["glibc-2.41"])
    assert str(caught.value.got).startswith("libc6 2.41-")


def room(*paths: Path) -> list[str]:
    """Spell a sandbox that holds some store paths, and no file of a system."""
    words = [probe(), "--unshare-all", "--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    for path in paths:
        words += ["--ro-bind", str(path), str(path)]
    return [*words, "--"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStore, Path, Path]]:
    folder = tmp_path_factory.mktemp("own").resolve()
    planned = project(folder)
    with LocalStore.open(planned.settings.store_dir) as store:
        result = realise(plan(planned, lambda _: None, NAMES), store)
        assert not result.failures, [failure.error.reason for failure in result.failures]
        libc, python = (store.real(result.outputs[name]) for name in NAMES)
        yield store, libc, python


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")
class TestBuilt:
    """The committed recipes and locks, from the real mirror."""

    def test_every_module_imports_without_any_system(
        self, made: tuple[LocalStore, Path, Path]
    ) -> None:
        _, libc, python = made
        argv = [f"{python}/bin/python3", "-I", "-c", MODULES]
        done = subprocess.run(
            [*room(libc, python), *argv], capture_output=True, text=True, check=False, env={}
        )
        assert done.returncode == 0, done.stderr
        assert set(json.loads(done.stdout)["failed"]) == ABSENT

    @pytest.mark.parametrize("lang", ["C.UTF-8", "de_DE.UTF-8"])
    def test_on_this_machine_it_maps_no_file_of_the_system(
        self, made: tuple[LocalStore, Path, Path], lang: str
    ) -> None:
        _, libc, python = made
        argv = [f"{python}/bin/python3", "-I", "-c", MODULES]
        said = subprocess.check_output(argv, text=True, env={"LANG": lang})
        found = json.loads(said)
        assert set(found["failed"]) == ABSENT
        assert found["glibc"] == "glibc 2.41"
        assert found["encoding"] == ["utf-8", "c3a4"]
        assert found["host"] == "127.0.0.1"
        ours = (f"{libc}/", f"{python}/")
        assert [file for file in found["files"] if not file.startswith(ours)] == []
        assert f"{libc}/{LIBC}" in found["files"]

    def test_its_loader_does_not_know_where_the_system_s_libraries_are(
        self, made: tuple[LocalStore, Path, Path]
    ) -> None:
        said = {}
        for loader in (made[1] / LOADER, Path("/lib64/ld-linux-x86-64.so.2")):
            argv = [str(loader), "--list", "/usr/bin/apt-get"]
            said[loader] = subprocess.run(argv, capture_output=True, text=True, check=False)
        ours, theirs = said.values()
        assert ours.returncode != 0
        assert "libapt-private.so" in ours.stderr
        assert theirs.returncode == 0

    def test_it_refers_to_its_glibc_and_asks_a_head_for_none(
        self, made: tuple[LocalStore, Path, Path]
    ) -> None:
        store, libc, python = made
        info = store.info(store.parse(python))
        assert info is not None
        assert info.references == (store.parse(libc),)
        record = json.loads((python / "sealift.json").read_text())
        assert (record["glibc"], record["own_glibc"]) == (None, "2.41")
