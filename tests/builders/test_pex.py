"""Services: what starts, what it sees, what a changed line costs; with a gunicorn of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from builders import python_resolve
from builders.lock_files import lock_file
from builders.python_lock import StaleLockError
from builders.recipe import Kind
from builders.scripts import direct
from store.errors import InputError
from store.local import LocalStore
from tests.builders.registry import serving
from tests.builders.wheels import Site, about, gunicorn, make_wheel, real, reasons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.realise import Result

TOP = make_wheel("top", files={"top/__init__.py": "A = 1\n", "top/data.txt": "t\n"})
APP = """\
import os
import top
from inner import helper

HERE = os.path.dirname(os.path.abspath(__file__))

def said():
    with open(os.path.join(HERE, "data.txt")) as file, open("data.txt") as same:
        return [file.read(), same.read(), helper.A, os.environ.get("TOKEN")]
"""
FILES = {
    "requirements.txt": "top\n",
    "app.py": APP,
    "data.txt": "beside the code\n",
    "inner/__init__.py": "",
    "inner/helper.py": "A = 'inner'\n",
    "gunicorn_config.py": "workers = 2\n",
    "database/schema.sql": "seed\n",
}
SERVICE: dict[str, Any] = {
    "app": "app:app",
    "config": "gunicorn_config.py",
    "state": ("logs/", "database"),
    "secrets": ("TOKEN",),
    "env": {"MODE": "{state}/x"},
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path_factory.mktemp("pex").resolve() / "store") as store:
        yield store


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        yield store


def service(site: Site, files: dict[str, str] = FILES, name: str = "app", **facts: Any) -> None:
    recipe = site.service(name, files, **{**SERVICE, **facts})
    site.pin(recipe, TOP, gunicorn())


def command(path: Path, state: Path) -> list[str]:
    words = about(path)["service"]["command"]
    values = {"{path}": str(path), "{port}": "5999", "{state}": str(state)}
    for name, value in values.items():
        words = [word.replace(name, value) for word in words]
    return list(words)


def start(
    path: Path, tmp_path: Path, *, said: str = "hunter2", **env: str
) -> subprocess.CompletedProcess[str]:
    credentials = tmp_path / "credentials"
    credentials.mkdir(exist_ok=True)
    (credentials / "TOKEN").write_text(f"{said}\n")
    variables = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(credentials), **env}
    argv = command(path, tmp_path / "state")
    return subprocess.run(
        argv, cwd=path, env=variables, capture_output=True, text=True, check=False
    )


def seen(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_service_sees_its_code_its_packages_and_its_secrets(
    site: Site, store: LocalStore, tmp_path: Path
) -> None:
    service(site)
    path = real(store, site.build(store, "app"), "app")
    said = seen(start(path, tmp_path, PYTHONPATH="/elsewhere", TOKEN="not this"))
    assert said["said"] == ["beside the code\n", "beside the code\n", "inner", "hunter2"]
    assert said["path"][0] == str(path)
    assert "/elsewhere" not in said["path"]
    assert said["argv"][1:] == [
        "app:app",
        *("--config", "gunicorn_config.py", "--worker-tmp-dir", "/dev/shm"),  # noqa: S108
        *("--bind", "127.0.0.1:5999", "--no-control-socket"),
    ]


def test_a_variable_can_hold_a_secret(site: Site, store: LocalStore, tmp_path: Path) -> None:
    """As it is, or as a URL spells it."""
    code = "import os\nWORDS = [os.environ[n] for n in ('ADDRESS', 'PLAIN')]\n"
    env = {
        "ADDRESS": "redis://:{secret:TOKEN}@127.0.0.1/0",
        "PLAIN": "{secret:TOKEN}, {secret:TOKEN}",
    }
    app = FILES["app.py"].replace('os.environ.get("TOKEN")]', "WORDS]")
    service(site, {**FILES, "app.py": code + app}, env=env)
    path = real(store, site.build(store, "app"), "app")
    said = seen(start(path, tmp_path, said="p@ss/w%rd", **env))
    assert said["said"][-1] == ["redis://:p%40ss%2Fw%25rd@127.0.0.1/0", "p@ss/w%rd, p@ss/w%rd"]


def test_a_start_writes_nothing(site: Site, store: LocalStore, tmp_path: Path) -> None:
    service(site)
    path = real(store, site.build(store, "app"), "app")
    seen(start(path, tmp_path))
    report = store.verify()
    assert report.clean, report


def test_what_deploy_must_know_is_in_the_artefact(site: Site, store: LocalStore) -> None:
    service(site)
    path = real(store, site.build(store, "app"), "app")
    facts = about(path)["service"]
    del facts["command"]
    assert facts == {
        "port": 5000,
        "cwd": "{path}",
        "health": {"probe": "http", "path": "/health", "timeout": 30.0},
        "state": ["logs/", "database"],
        "env": {"MODE": "{state}/x"},
        "secrets": ["TOKEN"],
        "routes": [],
        "unit": {
            "socket": True,
            "concurrent": True,
            "notify": True,
            "words": ["--preload", "--pid", "/tmp/gunicorn.pid", "--error-logfile", "-"],  # noqa: S108
        },
    }
    assert str(path) not in (path / "sealift.json").read_text()


def test_state_leads_out_of_the_store_and_seeds_stay(site: Site, store: LocalStore) -> None:
    service(site)
    path = real(store, site.build(store, "app"), "app")
    state = site.project.settings.state_dir / "app"
    assert (path / "logs").readlink() == state / "logs"
    assert (path / "database").readlink() == state / "database"
    assert (path / ".seed" / "database" / "schema.sql").read_text() == "seed\n"


def test_a_missing_secret_stops_the_start_by_name(
    site: Site, store: LocalStore, tmp_path: Path
) -> None:
    service(site, secrets=("TOKEN", "OTHER"))
    path = real(store, site.build(store, "app"), "app")
    done = start(path, tmp_path)
    assert done.returncode == 1
    assert "secret OTHER: no such file" in done.stderr
    assert seen(start(path, tmp_path, OTHER="from the environment"))


def built(result: Result) -> set[str]:
    assert result.ok, reasons(result)
    return set(result.built)


def test_a_changed_line_builds_one_step(site: Site, empty: LocalStore) -> None:
    service(site)
    first = site.build(empty, "app")
    assert {"app", "app:env", "app:pex-base"} <= built(first)
    (site.root / "sources/app/inner/helper.py").write_text("A = 'changed'\n")
    second = site.build(empty, "app")
    assert built(second) == {"app"}
    assert first.outputs["app"] != second.outputs["app"]
    assert first.outputs["app:pex-base"] == second.outputs["app:pex-base"]
    (site.root / "sources/app/inner/helper.py").write_text("A = 'inner'\n")
    third = site.build(empty, "app")
    assert third.outputs["app"] == first.outputs["app"]
    assert built(third) == set()


def test_a_changed_requirement_asks_for_a_lock(site: Site) -> None:
    service(site)
    (site.root / "sources/app/requirements.txt").write_text("top>=0.5\n")
    with pytest.raises(StaleLockError) as caught:
        site.steps("app")
    assert caught.value.hint == "sealift lock app"


def test_two_builds_make_the_same_bytes(site: Site, store: LocalStore) -> None:
    service(site)
    result = site.build(store, "app", check=True)
    assert result.ok, reasons(result)
    assert {"app", "app:env", "app:pex-base"} <= set(result.checked)


def make_by_hand(site: Site, tmp_path: Path) -> Path:
    """Make the PEX that pex makes of the same code, our entry point and the same wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, content in (TOP, gunicorn()):
        (wheels / name).write_bytes(content)
    code = shutil.copytree(site.root / "sources/app", tmp_path / "code")
    shutil.copyfile(direct.__file__, code / "__sealift__.py")
    argv = [sys.executable, "-m", "pex", "--pre-resolved-dists", str(wheels), "top", "gunicorn"]
    argv += ["-e", "__sealift__:run", "-D", str(code)]
    argv += ["--layout", "loose", "-o", str(tmp_path / "pex")]
    env = {**os.environ, "PEX_ROOT": str(tmp_path / "root"), "SOURCE_DATE_EPOCH": "315532800"}
    subprocess.run(argv, check=True, env=env, capture_output=True)
    return tmp_path / "pex"


def test_it_is_the_pex_that_pex_makes(site: Site, store: LocalStore, tmp_path: Path) -> None:
    service(site, state=())
    path = real(store, site.build(store, "app"), "app")
    theirs_at = make_by_hand(site, tmp_path)
    ours, theirs = (json.loads((pex / "PEX-INFO").read_text()) for pex in (path, theirs_at))
    assert ours == theirs
    assert "code_hash" in ours
    for name in ("__main__.py", "__pex__/__init__.py"):
        text = (theirs_at / name).read_text()
        assert (path / name).read_text().splitlines()[1:] == text.splitlines()[1:]
    names = {name.name for name in theirs_at.rglob("*") if not name.is_dir()}
    assert names <= {name for _, _, files in os.walk(path, followlinks=True) for name in files}


def by_hand(
    path: Path, tmp_path: Path, *words: str, python: str = sys.executable, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `python <store path>` in a folder that has nothing to do with it."""
    env = {"PATH": os.environ["PATH"], "PEX_ROOT": str(tmp_path / "root"), **env}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    argv = [python, str(path), *words]
    return subprocess.run(argv, cwd=elsewhere, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("own", [True, False])
def test_python_runs_it_anywhere(
    site: Site, store: LocalStore, tmp_path: Path, *, own: bool
) -> None:
    service(site)
    path = real(store, site.build(store, "app"), "app")
    python = command(path, tmp_path)[0] if own else sys.executable
    said = seen(by_hand(path, tmp_path, "--workers", "1", python=python, TOKEN="given"))
    assert said["said"] == ["beside the code\n", "beside the code\n", "inner", "given"]
    state = site.project.settings.state_dir / "app"
    assert said["env"]["MODE"] == f"{state}/x"
    assert said["argv"][1:] == [
        *("app:app", "--config", "gunicorn_config.py", "--worker-tmp-dir", "/dev/shm"),  # noqa: S108
        *("--no-control-socket", "--bind", "127.0.0.1:5000", "--workers", "1"),
    ]
    assert (state / "logs").is_dir()
    assert (state / "database" / "schema.sql").read_text() == "seed\n"
    assert store.verify().clean


@pytest.mark.parametrize(
    ("config", "call"),
    [
        ("workers = 2\n", ["--bind", "127.0.0.1:9999"]),
        ("workers = 2\n", ["--bind=127.0.0.1:9999"]),
        ("workers = 2\n", ["-b127.0.0.1:9999"]),
        ("if True:\n    bind = '127.0.0.1:1'\n", []),
        ("bind = '127.0.0.1:1'\n", ["-b", ":2"]),
    ],
)
def test_the_address_is_the_callers_the_configurations_or_the_recipes(
    site: Site, store: LocalStore, tmp_path: Path, config: str, call: list[str]
) -> None:
    service(site, {**FILES, "gunicorn_config.py": config})
    path = real(store, site.build(store, "app"), "app")
    argv = seen(by_hand(path, tmp_path, *call, TOKEN="given"))["argv"]
    assert argv[argv.index("--no-control-socket") + 1 :] == call


def test_a_pid_file_of_the_running_service_is_left_alone(
    site: Site, store: LocalStore, tmp_path: Path
) -> None:
    service(site, {**FILES, "gunicorn_config.py": "pidfile = 'logs/gunicorn.pid'\nbind = ':1'\n"})
    path = real(store, site.build(store, "app"), "app")
    argv = seen(by_hand(path, tmp_path, TOKEN="given", TMPDIR=str(tmp_path)))["argv"]
    assert argv[-2] == "--pid"
    assert argv[-1].startswith(f"{tmp_path}/app-")
    argv = seen(by_hand(path, tmp_path, "-p", "mine", TOKEN="given"))["argv"]
    assert "--pid" not in argv


def test_python_says_which_secret_is_missing(site: Site, store: LocalStore, tmp_path: Path) -> None:
    service(site)
    done = by_hand(real(store, site.build(store, "app"), "app"), tmp_path)
    assert done.returncode == 1
    assert "secret TOKEN" in done.stderr


SCRIPT: dict[str, Any] = {
    "app": None,
    "config": None,
    "state": (),
    "secrets": (),
    "env": {"MODE": "{port}"},
}
PLAIN = (
    "import json, os, sys, sibling\n"
    "if __name__ == '__main__':\n"
    "    here = os.path.abspath(__file__)\n"
    "    print(json.dumps([sys.argv[1:], here, os.getcwd(), os.environ['MODE']]))\n"
)


@pytest.mark.parametrize("kind", [Kind.PEX, Kind.SHIV])
@pytest.mark.parametrize("requirements", ["", None])
def test_a_plain_script_needs_no_requirements(
    site: Site, store: LocalStore, tmp_path: Path, kind: Kind, requirements: str | None
) -> None:
    files = {"my-server.py": PLAIN, "sibling.py": ""}
    if requirements is not None:
        files["requirements.txt"] = requirements
    words = ("python", "my-server.py", "--port", "{port}")
    recipe = site.service("plain", files, kind=kind, extra=(), **{**SCRIPT, "command": words})
    text = python_resolve.lock(recipe, site.source(recipe), site.project)
    lock_file(recipe, site.project.settings).write_text(text)
    path = real(store, site.build(store, "plain"), "plain")
    env = {"SHIV_ROOT": str(tmp_path / "shiv"), "MODE": "mine"}
    argv = command(path, tmp_path / "state")
    started = subprocess.run(argv, cwd=path, env=env, capture_output=True, text=True, check=False)
    said = json.loads(started.stdout or started.stderr)
    assert said == [["--port", "5999"], f"{path}/my-server.py", str(path), "mine"]
    done = by_hand(path, tmp_path, "more", SHIV_ROOT=str(tmp_path / "shiv"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == [["--port", "5000", "more"], f"{path}/my-server.py", str(path), "5000"]
    assert store.verify().clean


def test_a_plain_script_is_main(site: Site, store: LocalStore, tmp_path: Path) -> None:
    script = (
        "import json, os, sys\nimport top\nfrom pathlib import Path\nimport sibling\n"
        "if __name__ == '__main__':\n"
        "    import __main__\n"
        "    assert __main__.json is json and __spec__ is None\n"
        "    print(json.dumps([sys.argv[1:], Path(__file__).name, sys.path[0], "
        "os.environ['TOKEN']]))\n"
    )
    files = {"requirements.txt": "top\n", "sub/server.py": script, "sub/sibling.py": ""}
    facts: dict[str, Any] = {
        "app": None,
        "config": None,
        "command": ("python", "sub/server.py", "--port", "{port}"),
    }
    service(site, files, state=(), **facts)
    path = real(store, site.build(store, "app"), "app")
    done = start(path, tmp_path)
    assert done.returncode == 0, done.stderr
    said = [["--port", "5999"], "server.py", f"{path}/sub", "hunter2"]
    assert json.loads(done.stdout) == said
    assert json.loads(by_hand(path, tmp_path, TOKEN="hunter2").stdout)[1:] == said[1:]


def test_a_module_is_run_as_one(site: Site, store: LocalStore, tmp_path: Path) -> None:
    code = "import sys\nprint(__name__, __package__, sys.argv[1:])\n"
    files = {"requirements.txt": "top\n", "pack/__init__.py": "", "pack/__main__.py": code}
    facts: dict[str, Any] = {"app": None, "config": None, "command": ("python3", "-m", "pack", "a")}
    service(site, files, state=(), secrets=(), **facts)
    path = real(store, site.build(store, "app"), "app")
    assert start(path, tmp_path).stdout == "__main__ pack ['a']\n"
    assert by_hand(path, tmp_path, "b").stdout == "__main__ pack ['a', 'b']\n"


def test_a_process_pool_works_in_a_script(site: Site, store: LocalStore, tmp_path: Path) -> None:
    script = (
        "import multiprocessing as m\nimport top\n"
        "def double(n):\n    import top\n    return n * 2 * top.A\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n"
    )
    files = {"requirements.txt": "top\n", "server.py": script}
    facts: dict[str, Any] = {"app": None, "config": None, "command": ("python", "server.py")}
    service(site, files, state=(), secrets=(), **facts)
    path = real(store, site.build(store, "app"), "app")
    done = start(path, tmp_path)
    assert done.stdout == "[2, 4]\n", done.stderr
    assert by_hand(path, tmp_path).stdout == "[2, 4]\n"


def test_a_child_interpreter_has_the_packages(
    site: Site, store: LocalStore, tmp_path: Path
) -> None:
    script = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import top; print(top.A)'], check=True)\n"
    )
    files = {"requirements.txt": "top\n", "server.py": script}
    facts: dict[str, Any] = {"app": None, "config": None, "command": ("python", "server.py")}
    service(site, files, state=(), secrets=(), **facts)
    assert start(real(store, site.build(store, "app"), "app"), tmp_path).stdout == "1\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"app.py": None}, "'app' is neither in the source nor in the requirements"),
        ({"gunicorn_config.py": None}, "gunicorn_config.py: gunicorn's configuration is not"),
        ({"app.py": "import nowhere\n"}, "app.py:1: imports 'nowhere'"),
        ({"app.py": "import top.sub\nfrom nowhere.deep import x\n"}, "app.py:2: imports 'nowhere'"),
        ({"inner/helper.py": "\n\nimport nowhere\n"}, "inner/helper.py:3: imports 'nowhere'"),
        ({"gunicorn_config.py": "import nowhere\n"}, "gunicorn_config.py:1"),
        ({"gunicorn_config.py": "worker_class = 'event'\n"}, "worker class 'event'"),
        ({"__main__.py": ""}, "a file '__main__.py'"),
        ({"__sealift__.py": ""}, "a file '__sealift__.py'"),
        ({"PEX-INFO": ""}, "a file 'PEX-INFO'"),
        ({".deps/x": ""}, "a file '.deps'"),
        ({"sealift.json": "{}"}, "a file 'sealift.json'"),
        ({".sealift/serve.py": ""}, "a file '.sealift'"),
    ],
)
def test_what_cannot_work_is_named(
    site: Site, store: LocalStore, change: dict[str, str | None], says: str
) -> None:
    files = {**FILES, **change}
    service(site, {name: text for name, text in files.items() if text is not None})
    result = site.build(store, "app")
    assert not result.ok
    assert says in reasons(result)


@pytest.mark.parametrize(
    "change",
    [
        {"app.py": "try:\n    import nowhere\nexcept ImportError:\n    pass\n" + APP},
        {"app.py": APP + "\ndef late():\n    import nowhere\n"},
        {"app.py": "import sys\nif sys.platform == 'win32':\n    import nowhere\n" + APP},
        {"app.py": "import sys\nsys.path.append('/opt/x')\nimport nowhere_yet\n"},
        {"app.py": "from . import inner\n" + APP},
        {"stale_script.py": "import nowhere\n"},
        {"broken.py": "print 'two'\n"},
        {"lib/own.py": "", "app.py": "import own\n" + APP},
    ],
)
def test_what_may_work_is_let_pass(site: Site, store: LocalStore, change: dict[str, str]) -> None:
    service(site, {**FILES, **change})
    result = site.build(store, "app")
    assert result.ok, reasons(result)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("app.py/db/", "lies below 'app.py', which is a file"),
        ("data.txt/x", "lies below 'data.txt', which is a file"),
        ("app.py", "holds the service's code: app.py"),
        ("inner/helper.py", "holds the service's code: inner/helper.py"),
        ("inner/", "holds the service's code: inner/__init__.py"),
        ("gunicorn_config.py", "holds the service's code: gunicorn_config.py"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.PEX, Kind.SHIV])
def test_state_that_cannot_be_is_refused_before_a_build(
    site: Site, state: str, says: str, kind: Kind
) -> None:
    recipe = site.service("app", FILES, kind=kind, **{**SERVICE, "state": (state,)})
    site.pin(recipe, TOP, gunicorn())
    with pytest.raises(InputError) as caught:
        site.steps("app")
    assert says in caught.value.reason
    assert caught.value.hint


def test_state_may_have_scripts_beside_its_data(site: Site) -> None:
    service(site, {**FILES, "database/make.py": ""}, state=("database", "new/x.db"))
    assert site.steps("app")


def test_state_may_not_lie_in_what_the_artefact_has(site: Site, store: LocalStore) -> None:
    service(site, state=(".sealift/x",))
    assert "state '.sealift/x' lies where" in reasons(site.build(store, "app"))


@pytest.mark.parametrize("words", [("python", "gone.py"), ("python", "-m", "gone")])
def test_a_program_that_is_not_there_is_named(
    site: Site, store: LocalStore, words: tuple[str, ...]
) -> None:
    service(site, app=None, config=None, command=words)
    assert "is neither in the source nor" in reasons(site.build(store, "app"))


def test_a_smoke_run_imports_what_the_recipe_names(site: Site, store: LocalStore) -> None:
    code = "import top\nfrom pathlib import Path\nPath('written').write_text('x')\n"
    service(site, {**FILES, "try_me.py": code}, smoke="try_me")
    path = real(store, site.build(store, "app"), "app")
    assert not (path / "written").exists()
    service(site, {**FILES, "try_me.py": "raise RuntimeError('no')\n"}, smoke="try_me")
    result = site.build(store, "app")
    assert "smoke run: try_me does not import" in reasons(result)
    assert "RuntimeError: no" in reasons(result)


@pytest.mark.parametrize(
    "words", [("node", "server.js"), ("python",), ("python", "/etc/x.py"), ("python", "../x.py")]
)
def test_commands_that_are_not_understood(site: Site, words: tuple[str, ...]) -> None:
    service(site, app=None, config=None, command=words)
    with pytest.raises(InputError) as caught:
        site.steps("app")
    assert caught.value.where


@pytest.mark.parametrize("kind", [Kind.PEX, Kind.SHIV])
def test_a_service_without_a_source_of_pythons_is_refused(site: Site, kind: Kind) -> None:
    service(site, kind=kind)
    recipe = site.recipes["app"]
    site.recipes["app"] = type(recipe)(
        recipe.name, recipe.kind, recipe.file, inputs={**recipe.inputs, "python": "app"}
    )
    with pytest.raises((InputError, KeyError)):
        site.steps("app")
