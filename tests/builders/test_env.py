"""Environments made of links: what is imported, what clashes, what is missing."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builders.recipe import SourceSpec
from store.errors import InputError
from store.local import LocalStore
from tests.builders.registry import serving
from tests.builders.wheels import HOST, Site, about, make_wheel, real, reasons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.recipe import Recipe


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path_factory.mktemp("env").resolve() / "store") as store:
        yield store


def python(env: Path, code: str) -> str:
    argv = [str(env / "bin" / "python3"), "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


ONE = make_wheel(
    "one",
    files={
        "one/__init__.py": "A = 1\n",
        "shared/one.py": "A = 1\n",
        "single.py": "A = 1\n",
        "tests/__init__.py": "WHOSE = 'one'\n",
        "one-1.0.data/scripts/plain": "#!python\nimport one; print(one.A)\n",
        "one-1.0.data/scripts/shell": "#!/bin/sh\necho shell\n",
        "one-1.0.data/data/share/one/a.txt": "a",
        "one-1.0.data/data/etc/both.txt": "a",
    },
    requires=["two"],
    scripts={"one-tool": "one:A [extra]", "no-slash/here": "one:A"},
)
TOOL = "class main:\n    @staticmethod\n    def run():\n        print('tool'); return 3\n"
TWO = make_wheel(
    "two",
    files={
        "two/__init__.py": "",
        "shared/two.py": "A = 2\n",
        "tests/__init__.py": "WHOSE = 'two'\n",
        "two-1.0.data/data/share/two/b.txt": "b",
        "two-1.0.data/data/lib/two/c.txt": "c",
    },
)


CLI = make_wheel("cli", files={"cli.py": TOOL}, scripts={"t": "cli:main.run"})


@pytest.fixture
def env(site: Site, store: LocalStore) -> Path:
    site.pin(site.env("app", "one", "cli"), ONE, TWO, CLI)
    return real(store, site.build(store, "app"), "app")


def test_it_is_a_virtual_environment_with_one_entry(env: Path) -> None:
    said = json.loads(
        python(
            env, "import json, sys; print(json.dumps([sys.prefix, sys.path[-1], sys.executable]))"
        )
    )
    assert said == [
        str(env),
        f"{env}/lib/python{HOST}/site-packages",
        f"{env}/bin/python3",
    ]
    assert (env / "site").resolve() == env / "lib" / f"python{HOST}" / "site-packages"


def test_folders_of_one_wheel_are_one_link_and_shared_ones_are_joined(env: Path) -> None:
    site = env / "site"
    assert (site / "one").is_symlink()
    assert not (site / "shared").is_symlink()
    assert (site / "shared" / "one.py").is_symlink()
    code = "import shared.one, shared.two, single; print(shared.one.A + shared.two.A + single.A)"
    assert python(env, code) == "4\n"


def test_bytecode_is_found_for_all(env: Path) -> None:
    code = (
        "import sys, importlib.util as u\n"
        "from pathlib import Path\n"
        "for name in ('one', 'single', 'shared.one', 'shared.two'):\n"
        "    assert Path(u.find_spec(name).cached).is_file(), name\n"
    )
    python(env, code)


def test_metadata_is_found(env: Path) -> None:
    code = (
        "import importlib.metadata as m\n"
        "print(m.version('one'), sorted(d.metadata['Name'] for d in m.distributions()))"
    )
    assert python(env, code) == "1.0 ['cli', 'one', 'two']\n"


def test_of_two_files_the_first_stays_always(env: Path) -> None:
    assert python(env, "import tests; print(tests.WHOSE)") == "one\n"


def test_scripts_find_the_interpreter_beside_themselves(env: Path, tmp_path: Path) -> None:
    link = tmp_path / "called by a link"
    link.symlink_to(env / "bin" / "t")
    for program in (env / "bin" / "t", link):
        done = subprocess.run([program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (3, "tool\n")
    assert subprocess.check_output([env / "bin" / "plain"], text=True) == "1\n"
    assert subprocess.check_output([env / "bin" / "shell"], text=True) == "shell\n"
    assert not (env / "bin" / "no-slash").exists()


def test_data_lands_under_the_prefix(env: Path) -> None:
    assert (env / "share" / "one" / "a.txt").read_text() == "a"
    assert (env / "share" / "two" / "b.txt").read_text() == "b"
    assert (env / "lib" / "two" / "c.txt").read_text() == "c"
    assert (env / "etc" / "both.txt").read_text() == "a"


def test_it_says_what_is_in_it(env: Path) -> None:
    packages = {"one": "1.0", "two": "1.0", "cli": "1.0"}
    about_packages = {"format": 1, "name": "app", "env": {"packages": packages}}
    assert about(env) == {**about_packages, "glibc": None}


def test_building_it_twice_gives_the_same(site: Site, store: LocalStore) -> None:
    site.pin(site.env("app", "one"), ONE, TWO)
    result = site.build(store, "app", check=True)
    assert result.ok, reasons(result)
    assert "app" in result.checked


def test_pth_files_count_as_in_any_environment(site: Site, store: LocalStore) -> None:
    files = {"top/__init__.py": "", "top.pth": "import sys; sys.marked = True\n"}
    site.pin(site.env("app", "top"), make_wheel("top", files=files))
    env = real(store, site.build(store, "app"), "app")
    assert python(env, "import sys; print(sys.marked)") == "True\n"


def test_a_missing_module_is_named(site: Site, store: LocalStore) -> None:
    files = {"top/__init__.py": "import nowhere_to_be_found\n"}
    site.pin(site.env("app", "top"), make_wheel("top", files=files))
    result = site.build(store, "app")
    assert not result.ok
    assert "import top: the module 'nowhere_to_be_found' is missing" in reasons(result)


def test_a_missing_library_is_named(site: Site, store: LocalStore) -> None:
    files = {"top/__init__.py": "raise ImportError('libGL.so.1: cannot open')\n"}
    site.pin(site.env("app", "top"), make_wheel("top", files=files))
    assert "libGL.so.1" in reasons(site.build(store, "app"))


@pytest.mark.parametrize(
    "code",
    [
        "raise RuntimeError('no display')\n",
        "import atexit, os; atexit.register(os._exit, 7)\n",
        "import threading, time; threading.Thread(target=time.sleep, args=[60]).start()\n",
    ],
)
def test_what_only_wants_more_is_let_pass(site: Site, store: LocalStore, code: str) -> None:
    site.pin(site.env("app", "top"), make_wheel("top", files={"top/__init__.py": code}))
    assert site.build(store, "app").ok


def test_only_what_is_asked_for_is_tried(site: Site, store: LocalStore) -> None:
    optional = make_wheel("optional", files={"optional.py": "import nowhere_to_be_found\n"})
    top = make_wheel("top", files={"top.py": ""}, requires=["optional"])
    site.pin(site.env("app", "top"), top, optional)
    assert site.build(store, "app").ok


# A project of one's own.

PYPROJECT = """\
[project]
name = "Own"
version = "2"
[project.scripts]
own = "own:main"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
import base64, hashlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = "own-2.dist-info"
    files = {
        "own/__init__.py": open("own.py").read(),
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 2\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": "[console_scripts]\\nown = own:main\\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        rows.append(f"{name},sha256={digest.decode().rstrip('=')},{len(text)}")
    files[f"{info}/RECORD"] = "\\n".join([*rows, f"{info}/RECORD,,"]) + "\\n"
    with zipfile.ZipFile(f"{folder}/own-2-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "own-2-py3-none-any.whl"
"""
FRONT_END = """\
import os, runpy, sys
sys.path.insert(0, os.getcwd() if len(sys.argv) < 2 else sys.argv[-1])
os.chdir(sys.argv[-1])
import backend
os.makedirs(sys.argv[sys.argv.index("--outdir") + 1], exist_ok=True)
backend.build_wheel(sys.argv[sys.argv.index("--outdir") + 1])
"""
OWN = "import one\n\ndef main():\n    print('own', one.A)\n"


def project(site: Site, code: str = OWN) -> Recipe:
    """Add an environment of a project, and one with a front end that builds it."""
    front = make_wheel("build", files={"build/__init__.py": "", "build/__main__.py": FRONT_END})
    site.pin(site.env("backend", "build"), front)
    folder = site.root / "sources" / "tool"
    folder.mkdir()
    for name, text in (("pyproject.toml", PYPROJECT), ("backend.py", BACKEND), ("own.py", code)):
        (folder / name).write_text(text)
    recipe = replace(site.env("tool", "one"), source=SourceSpec("tool"))
    site.add(replace(recipe, inputs={**recipe.inputs, "build": "backend"}))
    site.pin(site.recipes["tool"], make_wheel("one", files={"one/__init__.py": "A = 1\n"}))
    return site.recipes["tool"]


def test_a_projects_own_wheel_joins_those_that_are_locked(site: Site, store: LocalStore) -> None:
    project(site)
    env = real(store, site.build(store, "tool"), "tool")
    run = subprocess.run([env / "bin" / "own"], capture_output=True, text=True, check=True)
    assert run.stdout == "own 1\n"
    assert about(env)["env"] == {"packages": {"one": "1.0"}}


def test_what_a_project_imports_must_be_there(site: Site, store: LocalStore) -> None:
    project(site, "import nowhere\n")
    assert "nowhere" in reasons(site.build(store, "tool"))


def test_a_project_wants_an_environment_to_be_built_in(site: Site) -> None:
    recipe = project(site)
    site.add(replace(recipe, inputs={"python": "python"}))
    with pytest.raises(InputError, match="tool needs build: no recipe"):
        site.steps("tool")


def test_a_changed_project_leaves_the_locked_wheels_alone(site: Site) -> None:
    project(site)
    before = site.steps("tool")
    (site.root / "sources" / "tool" / "own.py").write_text(OWN + "# more\n")
    after = site.steps("tool")
    changed = {key for key, step in after.items() if before[key] != step}
    assert changed == {"tool:wheel"}
