"""Tasks of fab stand for the commands of the same name, option for option."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealift import fabfile
from sealift.cli import COMMANDS
from sealift.commands.deploy import deploy
from sealift.commands.head import logs, restart
from sealift.commands.phase import phase

FAB = str(Path(sys.executable).with_name("fab"))
PACKAGE = Path(fabfile.__file__).parent


def test_every_task_is_a_command() -> None:
    assert set(fabfile.COMMANDS) <= set(COMMANDS)
    ours = {f"phase.{name}" for name in fabfile.PHASE}
    assert set(fabfile.namespace.task_names) == {*fabfile.COMMANDS, *ours}
    assert set(fabfile.PHASE) == set(phase.commands)


def test_what_is_said_becomes_the_command_line() -> None:
    said = {"host": "head[1-3]", "batch": "2", "allow_missing": True, "yes": False, "json": True}
    found = fabfile.words(deploy, said)
    assert found == ["--host=head[1-3]", "--batch=2", "--allow-missing", "--json", "--"]


def test_services_are_one_argument_with_commas() -> None:
    assert fabfile.words(restart, {"names": "api,web"}) == ["--", "api", "web"]
    assert fabfile.words(logs, {"name": "api", "lines": 3}) == ["--lines=3", "--", "api"]


def test_phases_are_said_as_on_the_command_line() -> None:
    said = {"phases": "1,3", "from_": "2", "skip": "3,slurm", "dry_run": True}
    found = fabfile.words(phase.commands["run"], said)
    assert found == ["--from=2", "--skip=3", "--skip=slurm", "--dry-run", "--", "1,3"]


def test_what_begins_with_a_dash_is_no_option() -> None:
    assert fabfile.words(restart, {"names": "--yes"}) == ["--", "--yes"]


def test_a_name_that_is_none_is_a_bug() -> None:
    with pytest.raises(KeyError):
        fabfile.task("no-such")


@pytest.mark.parametrize("below", ["", "below"])
def test_a_site_has_the_tasks_by_one_line_of_its_own(tmp_path: Path, below: str) -> None:
    (tmp_path / "sealift.yaml").write_text("hosts: {head1: {address: 192.0.2.1}}\n")
    (tmp_path / "fabfile.py").write_text("from sealift.fabfile import namespace\n")
    (tmp_path / "below").mkdir()

    def fab(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [FAB, *words]
        where = tmp_path / below
        return subprocess.run(argv, cwd=where, capture_output=True, text=True, check=False)

    listed = fab("-l")
    assert all(f"  {name} " in listed.stdout for name in fabfile.COMMANDS), listed.stderr
    assert "  phase.run " in listed.stdout
    assert "--from" in fab("-h", "phase.run").stdout
    done = fab("deploy", "--host", "head[7-9]", "--yes")
    assert done.returncode == 2, done.stderr
    assert "there are no hosts head[7-9]" in done.stderr


def test_fab_runs_it_and_ends_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "sealift.yaml").write_text("hosts: {head1: {address: 192.0.2.1}}\n")
    argv = [FAB, "-r", str(PACKAGE), "deploy", "--host", "head[7-9]", "--yes"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "there are no hosts head[7-9]" in done.stderr
    listed = subprocess.run(
        [FAB, "-r", str(PACKAGE), "--list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Put the built release on heads" in listed.stdout
