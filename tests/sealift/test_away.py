"""What a head has not got, as its operator meets it: the program lies alone in a store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sealift.away import AWAY, BUILDS, SENDS
from sealift.cli import COMMANDS
from sealift.site import Location
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]
HASH = "0123456789abcdfghijklmnpqrsvwxyz"
BEHIND = ("yaml", "ClusterShell", "fabric", "invoke", "paramiko", "urllib3", "cyclonedx", "pex")
"""What the program of a head leaves behind."""
ROOT = os.geteuid() == 0
RUN = f"""
import contextlib, importlib.abc, io, json, sys

class Behind(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BEHIND!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Behind())
from sealift.__main__ import main

for words in json.load(sys.stdin):
    sys.argv[1:] = words
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main()
    sys.__stdout__.write(json.dumps([code, out.getvalue()]) + "\\n")
"""


@pytest.fixture(scope="module")
def on_head(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[tuple[int, str]]]:
    """Give what runs command lines by a copy of the program that lies in a store."""
    root = tmp_path_factory.mktemp("head").resolve()
    place = root / "store" / f"{HASH}-agent" / "lib"
    for name in ("sealift", "deploy", "builders", "store"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, place / name, ignore=ignored)
    env = {"PYTHONPATH": str(place), "PATH": os.environ["PATH"]}

    def run(*lines: list[str]) -> list[tuple[int, str]]:
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=root,
            env=env,
            input=json.dumps(lines),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [(code, said) for code, said in map(json.loads, done.stdout.splitlines())]

    return run


def test_what_is_not_there_says_so(on_head: Callable[..., list[tuple[int, str]]]) -> None:
    lines = [name.split() for name in AWAY]
    lines += [[*line, "--help"] for line in lines] + [["build", "all"], ["path-info", "release"]]
    for line, (code, said) in zip(lines, on_head(*lines), strict=True):
        assert (code, "this is a head, which has no" in said) == (2, True), (line, said)
        hint = AWAY.get(" ".join(line[:2]), AWAY.get(line[0]))
        assert f"hint      {hint}" in said


def test_what_is_there_is_all_that_is_shown(
    on_head: Callable[..., list[tuple[int, str]]],
) -> None:
    every, stores = on_head(["--help"], ["store", "--help"])
    shown = {line.split()[0] for line in every[1].partition("Commands:")[2].splitlines() if line}
    assert shown == {*COMMANDS} - {*AWAY, "agent"}
    shown = {line.split()[0] for line in stores[1].partition("Commands:")[2].splitlines() if line}
    assert shown == {"verify", "roots"}


@pytest.mark.skipif(not ROOT, reason="a head is for root alone")
def test_what_is_there_works(on_head: Callable[..., list[tuple[int, str]]]) -> None:
    known = {"store": ["store", "roots"], "logs": ["logs", "x"], "diff": ["diff", "1", "2"]}
    known |= {"shell-completion": ["shell-completion", "bash"], "rollback": ["rollback", "--yes"]}
    # The collector would take the program, which is not registered here.
    names = [name for name in COMMANDS if name not in {*AWAY, "agent", "gc"}]
    lines = [known.get(name, [name]) for name in names]
    lines += [["store", "verify"], ["store", "verify", "--repair"], ["--help"]]
    # What would be a traceback ends `run`.
    found = on_head(*lines)
    assert "builds nothing" in found[-2][1]


@pytest.mark.parametrize("words", [["status"], ["logs", "a b"]])
def test_another_user_is_told_how(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealift.site.own_store", lambda: tmp_path / "store")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["sealift", *words])
    with pytest.raises(InputError, match="root alone") as caught, Location().open():
        pass
    assert caught.value.hint in ("sudo sealift status", "sudo sealift logs 'a b'")
    assert not (tmp_path / "store").exists()


def test_elsewhere_nothing_is_away() -> None:
    assert {BUILDS, SENDS} <= set(AWAY.values())
    done = subprocess.run(
        [Path(sys.executable).with_name("sealift"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in AWAY:
        assert name.split()[0] in done.stdout
