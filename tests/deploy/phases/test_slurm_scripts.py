"""The scripts of phase 4, as the recipe renders them, run beside programs that only say they did.

What lies on the volume and in /run lies in a folder of the test's.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.builders.rendered import rendered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOUNT = "/mnt/shared"
STUCK, GAP, WRITE_SECONDS = 60, 1000, 9
UPS = "Slurmctld(primary) at head1 is {}\nSlurmctld(backup) at head2 is {}\n"
SETPRIV = """\
for word in "$@"; do case $word in --*) shift ;; *) break ;; esac; done
AS=slurm exec "$@"
"""
"""Runs a command as somebody else by saying so."""
SLEEP = """\
read -r now rest < $UPTIME
now=$((${now%.*} + 10))
echo "$now.00 0" > $UPTIME
[ $now -lt $END ]
"""
"""Lets ten seconds pass at once, and fails when time is over."""


@dataclass
class Head:
    """A head with the files of the phase; programs are replaced, and what ran is noted."""

    folder: Path
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        self.mount, self.own = self.folder / "mnt", self.folder / "own"
        self.etc, self.bin = self.folder / "etc", self.folder / "bin"
        self.state, self.log = self.mount / "slurm", self.folder / "log"
        self.uptime = self.folder / "uptime"
        for each in (self.mount, self.own, self.etc, self.bin, self.state):
            each.mkdir()
        self.uptime.write_text("100.00 0\n")
        for name in ("slurm.conf", "cgroup.conf"):
            (self.etc / name).write_text(self.files[f"/etc/slurm/{name}"])
        for name in ("mountpoint", "munge", "logger", "systemctl"):
            self.program(name, "")
        self.program("setpriv", SETPRIV)
        self.answers("UP", "UP")

    def program(self, name: str, body: str) -> None:
        """Let a program do this besides noting that it ran, and as whom."""
        file = self.bin / name
        note = f'echo "${{AS-root}}: {name} $*" >> {shlex.quote(str(self.log))}\n'
        file.write_text(f"#!/bin/sh\n{note}{body}\n")
        file.chmod(0o755)

    def answers(self, *said: str, next_job: str = "2000") -> None:
        """Let `scontrol ping` say of the controllers whether they are up."""
        ping = UPS.format(*said)
        self.program(
            "scontrol",
            f'case $1 in ping) printf "{ping}" ;; show) echo "NEXT_JOB_ID = {next_job}" ;; esac\n'
            f'echo "conf ${{SLURM_CONF-none}}" >> {self.log}',
        )

    def beats(self, index: int, *, ago: float = 0.0) -> None:
        """Let a controller say that it is in charge: a time, and which one it is."""
        beat = self.state / "heartbeat"
        beat.write_bytes(bytes(8) + index.to_bytes(8, "big"))
        moment = beat.stat().st_mtime - ago
        os.utime(beat, (moment, moment))

    def run(self, name: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the phase."""
        text = self.files[f"/etc/slurm/{name}"]
        for theirs, ours in (
            (MOUNT, self.mount),
            ("/run/sealift-slurm", self.own),
            ("/etc/slurm/", f"{self.etc}/"),
            ("/proc/uptime", self.uptime),
        ):
            text = text.replace(theirs, str(ours))
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            ("sh", "-c", text),
            env={"PATH": path, "UPTIME": str(self.uptime), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def watch(self, seconds: int) -> subprocess.CompletedProcess[str]:
        """Run the fence for so many seconds, which pass at once."""
        self.program("sleep", SLEEP)
        return self.run("sealift-fence", END=str(100 + seconds))

    def ran(self, program: str) -> list[str]:
        """Return each run of a program, with as whom."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.partition(": ")[2].split(" ")[0] == program]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return rendered(tmp_path_factory.mktemp("site"), "slurm", storage={"mount": MOUNT})


@pytest.fixture
def head(tmp_path: Path, files: Mapping[str, str]) -> Head:
    return Head(tmp_path.resolve(), files)


def begins(head: Head) -> bool:
    return head.run("sealift-begin").returncode == 0


def test_a_controller_begins_where_nobody_is_in_charge(head: Head) -> None:
    assert begins(head)


def test_a_controller_does_not_begin_without_the_volume(head: Head) -> None:
    head.program("mountpoint", "exit 32")
    assert not begins(head)


def test_a_controller_does_not_begin_where_it_cannot_write_its_state(head: Head) -> None:
    head.state.rmdir()
    assert not begins(head)


def test_a_controller_does_not_begin_without_munge(head: Head) -> None:
    head.program("munge", "exit 1")
    assert not begins(head)


@pytest.mark.parametrize(
    ("index", "ago", "said", "well"),
    [
        (1, 0, "UP", True),
        (1, 0, "DOWN", False),
        (1, 60, "DOWN", True),
        (0, 0, "DOWN", True),
    ],
    ids=["hands over", "does not answer", "fell silent", "was this one"],
)
def test_a_controller_begins_beside_another_only_if_that_hands_over(
    head: Head, index: int, ago: float, said: str, *, well: bool
) -> None:
    head.beats(index, ago=ago)
    head.answers("DOWN", said)
    assert begins(head) is well


def test_a_controller_has_a_configuration_that_it_may_write(head: Head) -> None:
    assert begins(head)
    own = head.own / "slurm.conf"
    assert not own.is_symlink()
    assert own.read_text() == head.files["/etc/slurm/slurm.conf"]
    hosts = [
        line
        for line in (head.own / "alone.conf").read_text().splitlines()
        if line.startswith("SlurmctldHost=")
    ]
    assert hosts == ["SlurmctldHost=head1(10.0.0.1)"]
    assert (head.own / "cgroup.conf").readlink() == head.etc / "cgroup.conf"


def test_what_lay_in_the_folder_of_a_controller_is_not_followed(head: Head) -> None:
    precious = head.folder / "precious"
    precious.write_text("kept")
    for name in ("alone.conf", "slurm.conf"):
        (head.own / name).symlink_to(precious)
    assert begins(head)
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmdbd"])
def test_what_owns_its_configuration_is_never_root(head: Head, daemon: str) -> None:
    """A configuration names plugins, which are loaded as whoever it is that begins."""
    said = head.files[f"/etc/systemd/system/{daemon}.service.d/20-sealift.conf"]
    assert "\nUser=slurm\n" in said
    assert not re.search(r"^Exec\w+=-?[+!]", said, re.MULTILINE)


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmdbd"])
def test_a_daemon_that_does_not_end_is_not_waited_for_long(head: Head, daemon: str) -> None:
    said = head.files[f"/etc/systemd/system/{daemon}.service.d/20-sealift.conf"]
    limit = re.search(r"^TimeoutStopSec=(\d+)$", said, re.MULTILINE)
    assert limit is not None
    assert int(limit[1]) <= STUCK


def test_numbers_leap_after_one_that_could_not_hand_over(head: Head) -> None:
    (head.state / "job_state").touch()
    assert head.run("sealift-charge").returncode == 0
    assert f"FirstJobId={2000 + GAP}\n" in (head.own / "slurm.conf").read_text()
    assert head.ran("scontrol") == ["root: scontrol show config", "root: scontrol reconfigure"]
    # It asks itself, and not one that is still in charge elsewhere.
    assert f"conf {head.own}/alone.conf" in head.log.read_text()
    assert (head.own / "in-charge").exists()


@pytest.mark.parametrize("kept", [("handed-over", "job_state"), ()])
def test_numbers_do_not_leap_without_need(head: Head, kept: tuple[str, ...]) -> None:
    for name in kept:
        (head.state / name).touch()
    assert head.run("sealift-charge").returncode == 0
    assert head.ran("scontrol") == []
    assert not (head.state / "handed-over").exists()
    assert (head.own / "in-charge").exists()


def test_numbers_do_not_leap_beyond_the_last(head: Head) -> None:
    (head.state / "job_state").touch()
    head.answers("UP", "UP", next_job="67043000")
    assert head.run("sealift-charge").returncode == 0
    assert not (head.own / "slurm.conf").exists()


def test_a_leap_waits_until_the_controller_listens(head: Head) -> None:
    (head.state / "job_state").touch()
    tries = head.folder / "tries"
    head.program("sleep", "")
    head.program(
        "scontrol",
        f"echo x >> {tries}\n"
        f'[ "$(wc -l < {tries})" -lt 20 ] || echo "NEXT_JOB_ID = 5"\n[ $1 = show ] || exit 0',
    )
    assert head.run("sealift-charge").returncode == 0
    assert f"FirstJobId={5 + GAP}\n" in (head.own / "slurm.conf").read_text()


def test_a_leap_ends_with_the_charge(head: Head) -> None:
    """It never takes what it did not learn for nought."""
    (head.state / "job_state").touch()
    head.program("scontrol", f"rm -f {head.own}/in-charge")
    assert head.run("sealift-charge").returncode == 0
    assert not (head.own / "slurm.conf").exists()


@pytest.mark.parametrize(
    ("charge", "result", "told"),
    [(True, "", True), (True, "success", True), (True, "signal", False), (False, "success", False)],
)
def test_only_who_was_in_charge_and_ended_well_hands_over(
    head: Head, result: str, *, charge: bool, told: bool
) -> None:
    if charge:
        (head.own / "in-charge").touch()
    env = {"SERVICE_RESULT": result} if result else {}
    assert head.run("sealift-handover", **env).returncode == 0
    assert (head.state / "handed-over").exists() is told
    assert not (head.own / "in-charge").exists()


def killed(head: Head) -> int:
    return sum("KILL" in each for each in head.ran("systemctl"))


def test_a_controller_that_is_well_is_let_be(head: Head) -> None:
    head.beats(0)
    head.watch(4 * STUCK)
    assert killed(head) == 0
    assert (head.state / "alive-head1").exists()


def test_a_controller_that_cannot_write_is_ended(head: Head) -> None:
    head.state.rmdir()
    head.watch(15)
    assert killed(head) == 1


def test_a_write_that_hangs_is_given_up(head: Head) -> None:
    head.program(
        "timeout", f'[ "$2" != {WRITE_SECONDS} ] || exit 137\nshift; [ $# = 0 ] || exec "$@"'
    )
    head.watch(15)
    assert killed(head) == 1


def test_where_no_controller_runs_none_is_ended(head: Head) -> None:
    head.state.rmdir()
    head.program("systemctl", "[ $1 != --quiet ] || exit 3")
    head.watch(2 * STUCK)
    assert killed(head) == 0


def test_a_controller_that_is_stuck_is_ended(head: Head) -> None:
    head.answers("DOWN", "UP")
    head.watch(STUCK)
    assert killed(head) == 0
    head.uptime.write_text("100.00 0\n")
    head.watch(2 * STUCK + 5)
    assert killed(head) == 2


def test_without_munge_nobody_is_heard_and_none_is_ended(head: Head) -> None:
    head.answers("DOWN", "UP")
    head.program("munge", "exit 1")
    head.watch(3 * STUCK)
    assert killed(head) == 0


@pytest.mark.parametrize(("index", "ago", "stays"), [(0, 60, False), (0, 0, True), (1, 60, True)])
def test_who_is_in_charge_forgets_a_late_hand_over(
    head: Head, index: int, ago: float, *, stays: bool
) -> None:
    head.beats(index)
    note = head.state / "handed-over"
    note.touch()
    os.utime(note, (note.stat().st_mtime - ago,) * 2)
    head.watch(15)
    assert note.exists() is stays


def test_the_fence_touches_the_state_as_slurm_alone(head: Head) -> None:
    """Who owns that folder may put links into it, and root would follow them."""
    for name in ("touch", "find", "od"):
        head.program(name, f'exec /usr/bin/{name} "$@"')
    head.beats(0)
    head.watch(15)
    for name in ("touch", "find", "od"):
        runs = head.ran(name)
        assert runs
        assert all(each.startswith("slurm: ") for each in runs)
