"""`sealift prove-offline`: what it refuses before anything is done, and how its steps are begun.

A whole proof is in `tests/e2e/test_gap.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.offline import Step
from deploy.route import Hop
from sealift.commands import prove
from sealift.site import Location
from sealift.watched import TRANSFER, reach
from store.errors import InputError

if TYPE_CHECKING:
    from tests.sealift.conftest import Folder

HEAD = "site: lab\nhosts: {head1: {address: 10.0.0.1, user: root}}\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="refused before anything else: needs root")


def refused(folder: Folder, *words: str) -> str:
    done = folder.run("prove-offline", *words)
    assert done.returncode == 2, done.stderr
    assert not list(folder.root.glob("proof-*"))
    return done.stderr


@as_root
def test_this_machine_alone_is_no_site(folder: Folder) -> None:
    assert "heads that are reached by SSH" in refused(folder, "--yes")


@as_root
def test_without_a_key_nothing_is_begun(folder: Folder) -> None:
    file = folder.root / "sealift.yaml"
    file.write_text(file.read_text() + HEAD)
    assert "there is no key to sign with" in refused(folder, "--yes")


@as_root
def test_nobody_is_cut_off_without_being_asked(folder: Folder) -> None:
    file = folder.root / "sealift.yaml"
    file.write_text(file.read_text() + HEAD)
    assert "nobody is here to confirm" in refused(folder, "--unsigned")
    shown = folder.on_a_terminal("prove-offline", "--unsigned", input=b"n\n")
    assert "Deploy to head1 and restart everything there" in shown
    assert "nothing was done" in shown


@as_root
def test_what_may_be_reached_must_have_an_address(folder: Folder) -> None:
    file = folder.root / "sealift.yaml"
    file.write_text(file.read_text() + HEAD)
    said = refused(folder, "--unsigned", "--yes", "--allow", "nobody.invalid")
    assert "nobody.invalid has no address" in said


@as_root
def test_all_the_world_may_not_be_reached(folder: Folder) -> None:
    file = folder.root / "sealift.yaml"
    file.write_text(file.read_text() + HEAD)
    said = refused(folder, "--unsigned", "--yes", "--allow", "0.0.0.0/0")
    assert "0.0.0.0/0 is more than a site" in said


def test_only_who_is_watched_may_be_reached_and_who_is_not_is_named() -> None:
    ways = [
        (Hop("gate", "10.0.0.254", 22, "root", (), only=True), hop("10.0.0.1")),
        (hop("10.0.0.2"),),
    ]
    found = reach(ways, ["10.9.0.0/24"])
    head = {str(net) for net in found.may("head1")}
    assert head == {"10.0.0.1/32", "10.0.0.2/32", "10.9.0.0/24"}
    assert {str(net) for net in found.may(TRANSFER)} == {*head, "10.0.0.254/32"}
    assert [str(net) for net in found.unwatched] == ["10.0.0.254/32", "10.9.0.0/24"]


def hop(address: str) -> Hop:
    return Hop(address, address, 22, "root", (), only=True)


def test_the_record_says_which_file_it_was(tmp_path: Path) -> None:
    file = tmp_path / "next.bundle"
    file.write_bytes(b"abc")
    assert prove._sha256(file).startswith("ba7816bf8f01cfea")
    with pytest.raises(InputError, match="cannot read"):
        prove._sha256(tmp_path / "none")


def test_it_is_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match="only root"):
        prove._check_root()


def test_steps_are_begun_without_what_steers_package_managers(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("PIP_INDEX_URL", "https_proxy", "ALL_PROXY", "npm_config_registry", "UV_INDEX"):
        monkeypatch.setenv(name, "http://mirror.example/")
    monkeypatch.setenv("KEPT", "yes")
    script = "import os; print(sorted(k for k, v in os.environ.items() if 'mirror' in v))"
    script += "; print(os.environ['PIP_CONFIG_FILE'], os.environ['KEPT'])"
    status = prove._act([sys.executable, "-c", script], Step("deploy", ("sealift",)))
    said = capfd.readouterr()
    assert status == 0
    assert said.out == "", "standard output is for the record"
    assert "[]\n/dev/null yes\n" in said.err


def test_steps_are_this_program_and_these_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["prove-offline", "--host", "head1"]
    monkeypatch.setattr(sys, "argv", ["/x/sealift.py", *words])
    monkeypatch.setattr(sys, "orig_argv", ["/x/python3", "-ISB", "/x/sealift.py", *words])
    own = ("/x/python3", "-ISB", "/x/sealift.py")
    assert prove._own_command(Location()) == own
    named = Location(config=Path("/srv/site/sealift.yaml"))
    assert prove._own_command(named) == (*own, "--config", "/srv/site/sealift.yaml")


def test_a_file_to_receive_is_a_step_of_its_own() -> None:
    names = [step.name for step in prove._steps([Path("/mnt/a")], "head1", 3.0)]
    assert names == ["receive", "deploy", "restart"]
    without = prove._steps([], "head1", 3.0)
    assert [step.name for step in without] == ["deploy", "restart"]
    assert all("head1" in step.command for step in without)
    assert all(step.wait == 3.0 for step in without)


STEP = """
import signal, sys, time
def stop(*_):
    time.sleep(0.5)
    print("went back in order", file=sys.stderr, flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
print("begun", file=sys.stderr, flush=True)
time.sleep(60)
"""
PROVING = """
import sys
from deploy.offline import Step
from sealift.commands import prove
try:
    prove._act([sys.executable, "-c", sys.argv[1]], Step("deploy", ("sealift",)))
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


def test_a_step_that_is_interrupted_ends_in_order_first() -> None:
    checkout = str(Path(__file__).parents[2])
    running = subprocess.Popen(
        [sys.executable, "-c", PROVING, STEP], stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": checkout},
    )  # fmt: skip
    with running:
        assert running.stderr is not None
        for line in running.stderr:
            if line == "begun\n":
                break
        time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)
        assert running.stderr.read() == "went back in order\ninterrupted\n"
