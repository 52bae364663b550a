"""The same service from a shiv archive."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from builders.recipe import Kind
from store.local import LocalStore
from tests.builders.registry import serving
from tests.builders.test_pex import APP, FILES, SERVICE, TOP, by_hand, command, seen
from tests.builders.wheels import Site, about, gunicorn, real, reasons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path_factory.mktemp("shiv").resolve() / "store") as store:
        yield store


@pytest.fixture
def path(site: Site, store: LocalStore) -> Path:
    site.pin(site.service("app", FILES, kind=Kind.SHIV, **SERVICE), TOP, gunicorn())
    return real(store, site.build(store, "app"), "app")


def environment(path: Path, state: Path) -> dict[str, str]:
    said = about(path)["service"]["env"]
    filled = {
        name: value.replace("{state}", str(state)).replace("{path}", str(path))
        for name, value in said.items()
    }
    return {"PATH": os.environ["PATH"], "TOKEN": "given", **filled}


def test_the_service_starts_and_unpacks_into_its_state(path: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    env = environment(path, state)
    for _ in range(2):
        done = subprocess.run(
            command(path, state), cwd=path, env=env, capture_output=True, text=True, check=False
        )
        said = seen(done)
        assert said["said"] == ["beside the code\n", "beside the code\n", "inner", "given"]
        assert said["argv"][1:4] == ["app:app", "--config", "gunicorn_config.py"]
    (unpacked,) = [entry for entry in (state / ".shiv").iterdir() if entry.name[0] != "."]
    assert (unpacked / "site-packages" / "top" / "__init__.py").is_file()


def test_nothing_is_written_into_the_store(path: Path, store: LocalStore, tmp_path: Path) -> None:
    env = environment(path, tmp_path / "state")
    argv = command(path, tmp_path / "state")
    subprocess.run(argv, cwd=path, env=env, check=True, capture_output=True)
    assert store.verify().clean


def test_the_archive_runs_anywhere(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "app.pyz").write_bytes((path / "app.pyz").read_bytes())
    (elsewhere / "data.txt").write_text("here\n")
    env = {"PATH": os.environ["PATH"], "SHIV_ROOT": str(tmp_path / "root")}
    argv = [sys.executable, "-I", "app.pyz", "app:app"]
    done = subprocess.run(argv, cwd=elsewhere, env=env, capture_output=True, text=True, check=False)
    assert seen(done)["said"][:2] == ["beside the code\n", "here\n"]


def test_python_runs_the_store_path_as_the_recipe_says(
    path: Path, site: Site, store: LocalStore, tmp_path: Path
) -> None:
    done = by_hand(path, tmp_path, "-w", "1", TOKEN="given", SHIV_ROOT=str(tmp_path / "shiv"))
    said = seen(done)
    assert said["said"] == ["beside the code\n", "beside the code\n", "inner", "given"]
    assert said["argv"][1:4] == ["app:app", "--config", "gunicorn_config.py"]
    assert said["argv"][-4:] == ["--bind", "127.0.0.1:5000", "-w", "1"]
    assert (site.project.settings.state_dir / "app" / "logs").is_dir()
    assert store.verify().clean


def test_a_script_runs_from_the_archive_beside_its_state(
    site: Site, store: LocalStore, tmp_path: Path
) -> None:
    script = "import sys\nimport top\nimport beside\nprint(sys.argv[1:], beside.__file__)\n"
    files = {"requirements.txt": "top\n", "server.py": script, "beside.py": "", "app.py": APP}
    facts = {**SERVICE, "app": None, "config": None, "command": ("python", "server.py", "{port}")}
    site.pin(site.service("app", files, kind=Kind.SHIV, **facts), TOP, gunicorn())
    path = real(store, site.build(store, "app"), "app")
    env = environment(path, tmp_path / "state")
    argv = command(path, tmp_path / "state")
    done = subprocess.run(argv, cwd=path, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == f"['5999'] {path}/beside.py\n", done.stderr


def test_two_builds_make_the_same_bytes(site: Site, store: LocalStore) -> None:
    site.pin(site.service("app", FILES, kind=Kind.SHIV, **SERVICE), TOP, gunicorn())
    result = site.build(store, "app", check=True)
    assert result.ok, reasons(result)
    assert "app" in result.checked


def test_the_archives_members_do_not_lie_as_a_folder_was_listed(path: Path) -> None:
    with zipfile.ZipFile(path / "app.pyz") as archive:
        names = [info.filename for info in archive.infolist()]
    assert "_bootstrap/__init__.py" in names
    assert names == sorted(names)


def test_what_deploy_must_know_is_that_of_a_pex(path: Path) -> None:
    facts = about(path)["service"]
    assert facts["cwd"] == "{path}"
    assert facts["env"]["SHIV_ROOT"] == "{state}/.shiv"
    assert facts["state"] == ["logs/", "database"]
    assert (path / ".seed" / "database" / "schema.sql").is_file()
