"""A real Flask service: locked from PyPI, built in the sandbox, started from a read-only store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import python_resolve
from builders.loader import load_recipes
from builders.lock_files import lock_file
from builders.plan import plan
from builders.project import Project
from builders.realise import Result, realise
from builders.settings import load_settings
from store.local import LocalStore
from tests.builders.wheels import about, reasons
from tests.builders.workbench import source_tree, works

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.recipe import Recipe
    from builders.step import SourceTree

pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(not works(), reason="bubblewrap does not work here"),
]

ENDING = 60.0
"""Seconds in which a service ends; its master gives its workers 30."""
RECIPES = Path(__file__).resolve().parents[2] / "recipes"
APP = """\
import os
import sqlite3
import importlib.metadata

from flask import Flask

HERE = os.path.dirname(os.path.abspath(__file__))
app = Flask(__name__)

@app.get("/health")
def health():
    with sqlite3.connect(os.path.join(HERE, "database", "app.db")) as base:
        base.execute("create table if not exists seen (n)")
        base.execute("insert into seen values (1)")
        seen = base.execute("select count(*) from seen").fetchone()[0]
    return {
        "seen": seen,
        "secret": os.environ["JWT_SECRET_KEY"],
        "flask": importlib.metadata.version("flask"),
        "cwd": os.getcwd() == HERE,
    }
"""
CONFIG = """\
import os
bind = "127.0.0.1:1"
workers = 2
worker_class = "gthread"
threads = 2
preload_app = True
os.makedirs("logs", exist_ok=True)
errorlog = "logs/error.log"
pidfile = "logs/gunicorn.pid"
"""
RECIPE = """\
kind: {kind}
source: app
service:
  port: 5000
  app: app:app
  config: gunicorn_config.py
  health: {{http: /health}}
  state: [logs/, database/]
  secrets: [JWT_SECRET_KEY]
"""


@dataclass
class Place:
    """A site of two services, the same code as PEX and as shiv archive."""

    project: Project
    store: LocalStore

    def source(self, recipe: Recipe) -> SourceTree | None:
        if recipe.source is None:
            return None
        return source_tree(self.project.settings.sources_dir / recipe.source.path)

    def build(self, *names: str, **options: Any) -> Result:
        return realise(plan(self.project, self.source, names), self.store, **options)

    def path(self, name: str) -> Path:
        result = self.build(name)
        assert result.ok, reasons(result)
        return self.store.real(result.outputs[name])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("real").resolve()
    for folder in ("toolchains", "locks"):
        shutil.copytree(RECIPES / folder, root / "recipes" / folder)
    source = root / "sources" / "app"
    source.mkdir(parents=True)
    (source / "app.py").write_text(APP)
    (source / "gunicorn_config.py").write_text(CONFIG)
    (source / "requirements.txt").write_text("Flask>=3\n")
    for kind in ("pex", "shiv"):
        (root / "recipes" / f"by-{kind}.yaml").write_text(RECIPE.format(kind=kind))
    (root / "sealift.yaml").write_text("sources: sources\n")
    settings = load_settings(root)
    chosen = {"base", "patchelf", "python-3.11", "python-tools", "by-pex", "by-shiv"}
    for file in (root / "recipes" / "toolchains").iterdir():
        if file.stem not in chosen:
            file.unlink()
    project = Project(settings, load_recipes(settings.recipes_dir))
    with LocalStore.open(settings.store_dir) as store:
        found = Place(project, store)
        for kind in ("pex", "shiv"):
            recipe = project.recipes[f"by-{kind}"]
            text = python_resolve.lock(recipe, found.source(recipe), project)
            lock_file(recipe, project.settings).write_text(text)
        yield found


def enclosed(*writable: Path, net: bool = True) -> list[str]:
    """Start a command where all is read-only but a few folders."""
    words = [
        shutil.which("bwrap") or "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--dev-bind",
        "/dev",
        "/dev",
        "--die-with-parent",
    ]
    words += ["--tmpfs", "/dev/shm"]  # noqa: S108 - the enclosed process's own
    words += [word for path in writable for word in ("--bind", str(path), str(path))]
    return [*words, *([] if net else ["--unshare-net"]), "--"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """A service that runs."""

    path: Path
    state: Path
    port: int
    process: subprocess.Popen[bytes]

    def ask(self) -> dict[str, Any]:
        """Ask until there is an answer, at most ten seconds."""
        url = f"http://127.0.0.1:{self.port}/health"
        end = time.monotonic() + 10
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    said: dict[str, Any] = json.loads(answer.read())
                    return said
            except OSError:
                assert time.monotonic() < end, "no answer"
                assert self.process.poll() is None, "it ended"
                time.sleep(0.01)


@pytest.fixture
def running(place: Place, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    path = place.path(request.param)
    service = about(path)["service"]
    state = place.project.settings.state_dir / request.param
    for name in service["state"]:
        (state / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "JWT_SECRET_KEY").write_text("not told\n")
    port = free_port()
    fill = {"{path}": str(path), "{port}": str(port), "{state}": str(state)}

    def filled(word: str) -> str:
        for name, value in fill.items():
            word = word.replace(name, value)
        return word

    env = {name: filled(value) for name, value in service["env"].items()}
    env |= {"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    argv = [*enclosed(state), *map(filled, service["command"])]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, cwd=path, env=env, stdout=out, stderr=out, start_new_session=True
        )
        try:
            yield Running(path, state, port, process)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=ENDING)


@pytest.mark.parametrize("running", ["by-pex", "by-shiv"], indirect=True)
def test_it_answers_from_a_read_only_system(running: Running, place: Place) -> None:
    first, second = running.ask(), running.ask()
    assert first["secret"] == "not told"
    assert first["flask"].startswith("3.")
    assert first["cwd"]
    assert second["seen"] == first["seen"] + 1
    assert (running.state / "database" / "app.db").is_file()
    assert (running.state / "logs" / "gunicorn.pid").is_file()
    errors = (running.state / "logs" / "error.log").read_text()
    assert "Listening at" in errors
    assert "rror" not in errors.replace("error.log", "")
    assert place.store.verify().clean


def test_a_pex_runs_without_network_or_sealift(place: Place, tmp_path: Path) -> None:
    path = place.path("by-pex")
    state = place.project.settings.state_dir / "by-pex"
    for name in ("logs", "database"):
        (state / name).mkdir(parents=True, exist_ok=True)
    python = place.store.real(place.build("python-3.11").outputs["python-3.11"]) / "bin/python3"
    for words in (["--version"], ["--check-config"]):
        done = subprocess.run(
            [*enclosed(state, tmp_path, net=False), str(python), str(path), *words],
            cwd="/",
            # PEX's own boot looks at its interpreter, and wants one folder to write to.
            env={"PATH": "/nowhere", "TMPDIR": str(tmp_path), "JWT_SECRET_KEY": "x"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert place.store.verify().clean


@pytest.mark.parametrize("name", ["by-pex", "by-shiv"])
def test_python_serves_a_store_path_from_anywhere(place: Place, tmp_path: Path, name: str) -> None:
    path, port = place.path(name), free_port()
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "JWT_SECRET_KEY": "given"}
    python = place.store.real(place.build("python-3.11").outputs["python-3.11"]) / "bin/python3"
    argv = [str(python), str(path), "--bind", f"127.0.0.1:{port}"]
    process = subprocess.Popen(argv, cwd=tmp_path, env=env, start_new_session=True)
    try:
        said = Running(path, tmp_path, port, process).ask()
        assert said["secret"] == "given"
        assert said["cwd"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=ENDING)
    assert place.store.verify().clean


def test_every_step_gives_the_same_bytes_again(place: Place) -> None:
    result = place.build("by-pex", "by-shiv", check=True)
    assert result.ok, reasons(result)
    assert {"by-pex", "by-pex:env", "by-pex:pex-base", "by-shiv"} <= set(result.checked)


def test_a_changed_line_is_one_step_without_pex(place: Place) -> None:
    file = place.project.settings.sources_dir / "app" / "app.py"
    place.path("by-pex")
    file.write_text(APP + "# changed\n")
    try:
        result = place.build("by-pex")
        assert set(result.built) == {"by-pex"}
    finally:
        file.write_text(APP)
