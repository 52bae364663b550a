"""The command line itself: help, errors, and what the fast path loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sealift.cli import COMMANDS, SUMMARIES
from sealift.errors import record, text
from store.errors import InputError

SEALIFT = Path(sys.executable).with_name("sealift")
HEAVY = ("fabric", "paramiko", "pex", "rich", "urllib3", "yaml", "xmlrpc")


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SEALIFT, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, tmp_path: Path) -> None:
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: sealift {name}")


def test_no_summary_is_cut_short(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    rows = done.stdout.partition("Commands:")[2].strip().splitlines()
    assert len(rows) == len(COMMANDS) - 1  # the agent's is hidden
    assert all(row.endswith(".") and not row.endswith("..") for row in rows), done.stdout
    assert {*SUMMARIES} == {*COMMANDS} - {"agent"}


GROUPS = ("secret", "store", "inventory")


@pytest.mark.parametrize("group", GROUPS)
def test_no_summary_in_a_group_is_cut_short(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run(group, "--help", cwd=tmp_path)
    rows = done.stdout.partition("Commands:")[2].strip().splitlines()
    assert rows
    assert all(row.endswith(".") and not row.endswith("..") for row in rows), done.stdout


def test_an_unknown_command_is_answered_with_the_nearest(tmp_path: Path) -> None:
    done = run("bild", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'build'?" in done.stderr


def test_without_settings_it_says_where_it_looked(tmp_path: Path) -> None:
    done = run("list", cwd=tmp_path)
    assert done.returncode == 2
    assert "sealift.yaml" in done.stderr
    assert "hint" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_json_an_error_is_one_record(tmp_path: Path) -> None:
    done = run("build", "all", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "bad-input"
    assert done.stderr == ""


def test_an_error_lists_its_facts() -> None:
    error = InputError("it is wrong", where="here:1:2", expected="a", got="b", hint="do c")
    assert text(error) == (
        "error: it is wrong  [bad-input]\n"
        "  at        here:1:2\n"
        "  expected  a\n"
        "  got       b\n"
        "  hint      do c"
    )
    assert record(error)["hint"] == "do c"


def test_nothing_is_deployed_without_a_yes(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "sealift.yaml").write_text("store_dir: store\nstate_dir: state\n")
    done = subprocess.run(
        [SEALIFT, "rollback"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_the_fast_path_loads_little() -> None:
    code = (
        "import sys; import sealift.__main__, sealift.cli, sealift.commands.build;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_completion_is_a_script_for_the_shell(tmp_path: Path) -> None:
    done = run("shell-completion", "bash", cwd=tmp_path)
    assert done.returncode == 0
    assert "_SEALIFT_COMPLETE" in done.stdout
