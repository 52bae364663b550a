"""Does a lab leave nothing behind, however its owner ends, and leave other labs alone?"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import claims
from tests.lab.attempts import until
from tests.lab.fixtures import require
from tests.lab.lab import Lab, available
from tests.lab.names import Names
from tests.lab.shell import LabError, run

if TYPE_CHECKING:
    from tests.lab.fixtures import MakeLab

OWNER = """
import sys
from pathlib import Path
from tests.lab.lab import Lab
with Lab(1, folder=Path(sys.argv[1])) as lab:
    print(lab.names.number, flush=True)
    sys.stdin.read()
"""
CHECKOUT = Path(__file__).parents[2]


def traces(names: Names) -> list[str]:
    """List what there is on this machine by a lab's name."""
    links = [link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout)]
    tables = run("nft", "list", "tables").stdout.decode().split("\n")
    loops = run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").stdout.decode()
    found = [name for name in links if name in {names.bridge, names.link(1)}]
    found += [table for table in tables if table.endswith(f" {names.table}")]
    found += [str(folder) for folder in Path("/sys/fs/cgroup").glob(f"**/{names.cgroup}")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
              if f" {names.run}" in line]  # fmt: skip
    found += [line for line in loops.splitlines() if "/swept/disks/" in line]
    found += [str(path) for path in (names.run, names.lock) if path.exists()]
    return found


@pytest.fixture
def owner(tmp_path: Path) -> subprocess.Popen[bytes]:
    require(available())
    return subprocess.Popen(
        (sys.executable, "-c", OWNER, str(tmp_path / "swept")),
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def number(owner: subprocess.Popen[bytes]) -> Names:
    assert owner.stdout is not None
    return Names(int(owner.stdout.readline()))


@pytest.mark.lab
def test_nothing_is_left_of_a_lab_that_ends(owner: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with owner:
        names = number(owner)
        assert len(traces(names)) > 8
    assert owner.returncode == 0
    assert traces(names) == []
    assert not (tmp_path / "swept/disks").exists()


@pytest.mark.lab
def test_the_next_lab_sweeps_what_a_killed_owner_left(
    owner: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with owner:
        names = number(owner)
        owner.send_signal(signal.SIGKILL)
    assert traces(names)
    # A lab that begins elsewhere meanwhile sweeps as well, and what it is at is left to it.
    claims.sweep()
    until("nothing is left", lambda: traces(names) == [])
    assert not (tmp_path / "swept/disks").exists()


@pytest.mark.lab
def test_a_sweep_spares_labs_whose_owner_lives(owner: subprocess.Popen[bytes]) -> None:
    with owner:
        names = number(owner)
        assert names.number not in claims.sweep()
        assert Lab.attach(names.number).heads[0].run("true").returncode == 0


@pytest.mark.lab
def test_labs_side_by_side_do_not_hear_of_each_other(make_lab: MakeLab) -> None:
    one, other = make_lab(1), make_lab(1)
    assert one.heads[0].address != other.heads[0].address
    one.heads[0].power_cut()
    assert other.heads[0].ssh("hostname").stdout == b"head1\n"


@pytest.mark.lab
def test_a_lab_that_does_not_come_up_leaves_nothing(tmp_path: Path) -> None:
    require(available())
    lab = Lab(1, folder=tmp_path / "swept", disk_size=1 << 10)
    before = {names.number for names in claims.known()}
    with pytest.raises(LabError, match=r"mkfs\.ext4"):
        lab.up()
    assert lab.names is None
    assert {names.number for names in claims.known()} <= before
    assert not (tmp_path / "swept/disks").exists()


def command(*words: str, check: bool = True) -> str:
    done = subprocess.run(
        (sys.executable, "-m", "tests.lab", *words),
        cwd=CHECKOUT, check=check, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.lab
def test_the_command_keeps_a_lab_until_it_is_told_to_end_it(tmp_path: Path) -> None:
    require(available())
    said = command("up", "1", "--folder", str(tmp_path / "lab"))
    chosen = said.split()[1].rstrip(":")
    try:
        claims.sweep()
        assert f"lab {chosen} (kept, {tmp_path / 'lab'}): head1 on" in command("status")
        assert command("--lab", chosen, "ssh", "head1", "hostname") == "head1\n"
        command("--lab", chosen, "cut-power", "head1")
        assert "head1 off" in command("status")
        command("--lab", chosen, "start", "head1")
        assert command("--lab", chosen, "packets") == "head1: 0\n"
        wrong = command("--lab", chosen, "start", "head7", check=False)
        assert f"error: there is no head7 in lab {chosen}" in wrong
    finally:
        said = command("--lab", chosen, "down")
    assert f"lab {chosen} is down" in said
    assert traces(Names(int(chosen))) == []


def test_a_machine_that_cannot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    reason = available()
    assert reason is not None
    assert "root" in reason or "mmdebstrap, systemd-nspawn" in reason


def test_without_a_lab_tests_are_skipped_but_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        require("needs root")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs root"):
        require("needs root")
    require(None)


@pytest.mark.parametrize("size", [0, -1, 100])
def test_a_lab_has_a_sensible_number_of_heads(tmp_path: Path, size: int) -> None:
    with pytest.raises(LabError, match="1 to 99 heads"):
        Lab(size, folder=tmp_path)
