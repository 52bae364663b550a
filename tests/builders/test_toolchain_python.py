"""CPython out of packages: where things go, and that it runs wherever it lies."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import builders
from builders.loader import load_recipes
from builders.plan import plan
from builders.project import Project
from builders.prune import pruner
from builders.realise import realise
from builders.sandbox import probe
from builders.settings import load_settings
from builders.toolchain_python import PRUNE, layout
from store.local import LocalStore
from tests.builders.workbench import works

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.path import StorePath

ROOT = Path(builders.__file__).resolve().parents[1]
NAMES = ("python-3.11", "nginx", "base")
GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2")
LOADER = "ld-linux-x86-64.so.2"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("usr/bin/python3.11", "bin/python3.11"),
        ("usr/lib/python3.11/os.py", "lib/python3.11/os.py"),
        ("usr/lib/x86_64-linux-gnu/libssl.so.3", "lib/libssl.so.3"),
        ("lib/x86_64-linux-gnu/libz.so.1", "lib/libz.so.1"),
        ("usr/share/doc/zlib1g/copyright", "share/doc/zlib1g/copyright"),
        ("usr/lib/x86_64-linux-gnu/engines-3/afalg.so", None),
        ("usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", None),
        ("usr/bin/python3.11-config", None),
        ("etc/python3.11/sitecustomize.py", None),
        ("bin/sh", None),
    ],
)
def test_what_belongs_to_the_interpreter_has_a_place(path: str, place: str | None) -> None:
    found = layout("python3.11")(path)
    assert found == (place or f"unwanted/{path}")


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("lib/python3.11/test/support/__init__.py", True),
        ("lib/python3.11/lib2to3/tests/data/a.py", True),
        ("lib/python3.11/EXTERNALLY-MANAGED", True),
        ("lib/python3.11/lib-dynload/_testcapi.cpython-311-x86_64-linux-gnu.so", True),
        ("lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", False),
        ("lib/python3.11/unittest/case.py", False),
        ("lib/python3.11/doctest.py", False),
        ("lib/python3.11/_sysconfigdata__x86_64-linux-gnu.py", False),
    ],
)
def test_tests_and_what_needs_tk_stay_out(path: str, *, out: bool) -> None:
    assert pruner(PRUNE)(path) is out


@contextmanager
def built(folder: Path) -> Iterator[tuple[LocalStore, dict[str, StorePath]]]:
    """Build the real recipes in a store of their own."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folders = f"recipes: {ROOT}/recipes\nlocks: {ROOT}/recipes/locks\nstore_dir: store\n"
    (folder / "sealift.yaml").write_text(f"sources: .\n{folders}")
    settings = load_settings(folder)
    project = Project(settings, load_recipes(settings.recipes_dir))
    with LocalStore.open(settings.store_dir) as store:
        result = realise(plan(project, lambda _: None, NAMES), store)
        assert not result.failures, [failure.error.reason for failure in result.failures]
        yield store, {name: result.outputs[name] for name in NAMES}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStore, dict[str, Path]]]:
    with built(tmp_path_factory.mktemp("made")) as (store, paths):
        yield store, {name: store.real(path) for name, path in paths.items()}


MODULES = """
import importlib, json, sys
failed = {}
for name in sorted(sys.stdlib_module_names - {"antigravity", "this"}):
    try:
        importlib.import_module(name)
    except ImportError as fault:
        failed[name] = str(fault)
files = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
print(json.dumps({"failed": failed, "files": sorted(files), "prefix": sys.prefix}))
"""
LEFT_OUT = {"_gdbm", "_tkinter", "ensurepip", "idlelib", "tkinter", "turtle", "turtledemo"}
WINDOWS = {"_msi", "_overlapped", "_winapi", "msilib", "msvcrt", "nt", "winreg", "winsound"}
ABSENT = LEFT_OUT | WINDOWS | {"_scproxy"}


def bare_room(base: Path, path: Path) -> list[str]:
    """Spell a sandbox that holds a store path, glibc and nothing else."""
    words = [probe(), "--unshare-all", "--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    library = base / "usr/lib/x86_64-linux-gnu"
    for name in GLIBC:
        words += ["--ro-bind", str(library / name), f"/lib/x86_64-linux-gnu/{name}"]
    words += ["--ro-bind", str(library / LOADER), f"/lib64/{LOADER}"]
    return [*words, "--ro-bind", str(path), str(path), "--"]


def shell_room(base: Path) -> list[str]:
    """Spell a sandbox that holds the base and an empty folder to work in."""
    words = [probe(), "--unshare-all", "--die-with-parent", "--setenv", "PATH", "/usr/bin"]
    words += ["--ro-bind", f"{base}/usr", "/usr", "--tmpfs", "/work", "--chdir", "/work"]
    for name in ("bin", "lib", "lib64"):
        words += ["--symlink", f"usr/{name}", f"/{name}"]
    return [*words, "--", "/bin/sh", "-euc"]


def say(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")
class TestBuilt:
    """The committed recipes and locks, from the real mirror."""

    def test_every_module_imports_with_glibc_alone(
        self, made: tuple[LocalStore, dict[str, Path]]
    ) -> None:
        python = made[1]["python-3.11"]
        room = bare_room(made[1]["base"], python)
        found = json.loads(say([*room, f"{python}/bin/python3", "-I", "-c", MODULES]))
        assert set(found["failed"]) == ABSENT
        assert found["prefix"] == str(python)
        strangers = [file for file in found["files"] if not file.startswith(str(python))]
        assert {Path(file).name for file in strangers} <= {*GLIBC, LOADER}

    def test_it_runs_on_this_machine_itself(self, made: tuple[LocalStore, dict[str, Path]]) -> None:
        python = made[1]["python-3.11"]
        found = json.loads(say([f"{python}/bin/python3", "-I", "-c", MODULES]))
        assert set(found["failed"]) == ABSENT
        libraries = [file for file in found["files"] if ".so" in file and "ssl" in file]
        assert libraries
        assert all(file.startswith(str(python)) for file in libraries)

    def test_it_runs_from_another_place(
        self, made: tuple[LocalStore, dict[str, Path]], tmp_path: Path
    ) -> None:
        shutil.copytree(made[1]["python-3.11"], tmp_path / "moved", symlinks=True)
        code = "import sys, ssl, _ssl; print(sys.prefix, _ssl.__file__)"
        said = say([f"{tmp_path}/moved/bin/python3", "-I", "-c", code])
        assert said.split()[0] == str(tmp_path / "moved")
        assert said.split()[1].startswith(str(tmp_path / "moved"))

    def test_bytecode_is_there_and_tells_no_build_path(
        self, made: tuple[LocalStore, dict[str, Path]]
    ) -> None:
        library = made[1]["python-3.11"] / "lib/python3.11"
        sources = set(library.rglob("*.py"))
        for source in sources:
            compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
            content = compiled.read_bytes()
            # PEP 552: hash-based, and not checked against the source.
            assert content[4:8] == b"\x01\0\0\0", compiled
            assert b"/build/out" not in content, compiled
        assert len(sources) > 500

    def test_nginx_runs_with_glibc_alone(self, made: tuple[LocalStore, dict[str, Path]]) -> None:
        nginx = made[1]["nginx"]
        room = bare_room(made[1]["base"], nginx)
        assert "nginx version: nginx/1." in say([*room, f"{nginx}/usr/sbin/nginx", "-v"])
        assert (nginx / "etc/nginx/mime.types").is_file()

    def test_the_base_has_a_shell_and_its_tools(
        self, made: tuple[LocalStore, dict[str, Path]]
    ) -> None:
        script = (
            "echo a b | sed s/a/x/ | grep -o x > f; tar -czf t.gz f; rm f; tar -xzf t.gz;"
            " find . -name f -exec cat {} +; env LC_ALL=C.UTF-8 sort f"
        )
        assert say([*shell_room(made[1]["base"]), script]) == "x\nx\n"

    def test_no_link_dangles(self, made: tuple[LocalStore, dict[str, Path]]) -> None:
        for path in made[1].values():
            for link in path.rglob("*"):
                assert link.exists(), link

    def test_the_glibc_they_need_is_recorded(
        self, made: tuple[LocalStore, dict[str, Path]]
    ) -> None:
        for name, path in made[1].items():
            record = json.loads((path / "sealift.json").read_text())
            assert record["name"] == name
            assert record["glibc"] in ("2.34", "2.35", "2.36")
            assert record["packages"]

    def test_nothing_refers_to_what_built_it(
        self, made: tuple[LocalStore, dict[str, Path]]
    ) -> None:
        store, paths = made
        for path in paths.values():
            info = store.info(store.parse(path))
            assert info is not None
            assert info.references == ()

    def test_equal_bytes_in_another_place(
        self, made: tuple[LocalStore, dict[str, Path]], tmp_path: Path
    ) -> None:
        first = {name: made[0].info(made[0].parse(path)) for name, path in made[1].items()}
        with built(tmp_path / "quite/another/place") as (store, paths):
            for name, path in paths.items():
                here, there = first[name], store.info(path)
                assert here is not None
                assert there is not None
                assert here.nar_sha256 == there.nar_sha256, name
