"""Slurm on real heads: who is in charge, what becomes of the queue, and numbers that only grow."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.faults.counts import FULL
from tests.lab.asked import jobs, says
from tests.lab.attempts import until
from tests.lab.platform import HEADS
from tests.lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.cluster import Cluster
    from tests.lab.head import LabHead

pytestmark = [pytest.mark.lab, pytest.mark.slow]
rare = pytest.mark.skipif(not FULL, reason="takes minutes: SEALIFT_FAULTS=full")

STATE = "/mnt/gluster/slurm"
CONTROLLER, NODE, MOUNT = "slurmctld.service", "slurmd.service", "sealift-mount.service"


@pytest.fixture
def up(cluster: Cluster) -> Cluster:
    """All heads with Slurm, and both of its controllers there."""
    cluster.reach("slurm")
    await_controllers(cluster)
    await_rest(cluster.lab.heads[2])
    return cluster


def submit(head: LabHead, *words: str) -> int:
    """Submit a job that ends at once."""
    line = ("sbatch", "--parsable", "--chdir=/tmp", *words, "--wrap", "true")
    return int(says(head, *line).strip().split(";")[0])


def work(head: LabHead) -> int:
    """Run a job on the head itself, of which no file tells; return its number."""
    line = ("srun", "--quiet", "--immediate=5", f"--nodelist={head.name}", "--chdir=/tmp")
    return int(says(head, *line, "printenv", "SLURM_JOB_ID", limit="9").strip())


def controllers(head: LabHead) -> dict[str, str]:
    said = head.run("timeout", "20", "scontrol", "ping", check=False).stdout.decode()
    rows = [line.split() for line in said.splitlines() if line.startswith("Slurmctld")]
    return {row[2]: row[4] for row in rows}


def await_controllers(cluster: Cluster, seconds: float = 200.0) -> None:
    """Wait for both; one that got stuck as it handed over is ended after a minute."""
    asked = cluster.lab.heads[2]
    both = {"head1": "UP", "head2": "UP"}
    until("both controllers answer", lambda: controllers(asked) == both, seconds)


def await_rest(head: LabHead) -> None:
    """Wait until no job runs or waits."""
    until("no job is left", lambda: says(head, "squeue", "--noheader") == "", 90)


def accounted(head: LabHead, job: int) -> str:
    line = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}")
    return says(head, *line, "--format=state").strip()


@dataclass
class Numbers:
    """Numbers of jobs in the order in which they were handed out on one head."""

    all: list[int] = field(default_factory=list)


@contextmanager
def submitting(head: LabHead, each: Callable[[LabHead], int]) -> Iterator[Numbers]:
    """Have jobs submitted on a head all the time, as long as the context lasts."""
    found, stop = Numbers(), threading.Event()

    def over_and_over() -> None:
        while not stop.wait(0.5):
            with suppress(LabError, ValueError):
                found.all.append(each(head))

    thread = threading.Thread(target=over_and_over)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def test_no_number_is_given_twice_when_a_controller_is_killed(up: Cluster) -> None:
    first, _, third = up.lab.heads
    with submitting(third, submit) as found:
        until("a few jobs are there", lambda: len(found.all) > 3)
        says(first, "systemctl", "kill", "--kill-who=main", "--signal=KILL", CONTROLLER)
        before = len(found.all)
        until("more are there", lambda: len(found.all) > before + 3, 120)
    assert found.all == sorted(set(found.all))
    await_controllers(up)


def test_a_controller_that_ends_well_leaves_no_number_out(up: Cluster) -> None:
    first, _, third = up.lab.heads
    before = submit(third)
    says(first, "systemctl", "restart", CONTROLLER, limit="60")
    until("it answers", lambda: controllers(third).get("head1") == "UP")
    assert submit(third) == before + 1


def test_a_controller_does_not_begin_without_the_volume(up: Cluster) -> None:
    """It would begin a queue of its own, on the head's disk."""
    _, second, third = up.lab.heads
    says(second, "systemctl", "stop", CONTROLLER, MOUNT, limit="60")
    assert second.run("systemctl", "start", CONTROLLER, check=False).returncode != 0
    says(second, "systemctl", "start", MOUNT, limit="60")
    until("it is back by itself", lambda: controllers(third).get("head2") == "UP")
    assert second.run("ls", "-A", f"{STATE}/heartbeat").stdout


def test_another_key_reaches_all_heads(up: Cluster) -> None:
    up.site.sealift("secret", "generate", "--replace", "MUNGE_KEY")
    third = up.lab.heads[2]
    last = submit(third)
    torn = up.attempt("run", "slurm", "--host", "head1", "--yes")
    assert torn.code == 6
    assert "key-torn" in torn.err
    up.run("slurm")
    assert submit(third) > last


def test_a_wrong_hostname_is_found_before_anything_is_changed(up: Cluster) -> None:
    second = up.lab.heads[1]
    says(second, "hostname", "localhost")
    try:
        said = up.attempt("plan", "slurm", "--host", HEADS)
        refused = up.attempt("run", "slurm", "--host", HEADS, "--yes")
    finally:
        says(second, "hostname", "head2")
    assert "localhost" in said.out + said.err
    assert refused.code == 6
    assert "hostname-differs" in refused.err


@rare
@pytest.mark.parametrize("turn", range(3))
def test_a_backup_takes_over_and_hands_over(up: Cluster, turn: int) -> None:
    """Jobs go on, accounts are kept, numbers grow, whenever the power goes and comes."""
    first, second, third = up.lab.heads
    done = work(third)
    until("it is accounted for", lambda: accounted(third, done) == "COMPLETED")
    time.sleep(5)
    running = int(says(third, "sbatch", "--parsable", "--nodelist=head3", "--chdir=/tmp",
                       "--wrap", "sleep 600").strip())  # fmt: skip
    # What it knows of jobs a controller writes down up to five seconds later.
    says(third, "touch", f"{STATE}/submitted")
    newer = ("find", STATE, "-maxdepth", "1", "-name", "job_state", "-newer", f"{STATE}/submitted")
    until("it is written down", lambda: says(third, *newer))
    with submitting(third, submit) as found:
        until("a few jobs are there", lambda: len(found.all) > turn)
        first.power_cut()
        before = len(found.all)
        until("the backup takes jobs", lambda: len(found.all) > before + 3, 120)
        assert controllers(second)["head2"] == "UP"
        assert accounted(second, done) == "COMPLETED"
        alive = {job["job_id"]: job["job_state"] for job in jobs(second)}
        assert alive[running] == "RUNNING"
        first.start()
        first.wait_ssh()
        await_controllers(up)
    says(third, "scancel", str(running))
    assert found.all == sorted(set(found.all))
    until("all verifies", lambda: up.attempt("verify", "slurm", "--host", HEADS).code == 0, 180)


@rare
def test_no_number_is_given_twice_by_heads_that_do_not_see_each_other(up: Cluster) -> None:
    first, _, third = up.lab.heads
    with submitting(third, submit) as there, submitting(first, work) as alone:
        until("both have jobs", lambda: len(there.all) > 3 and len(alone.all) > 1)
        first.partition()
        before = len(there.all)
        try:
            until("the others go on", lambda: len(there.all) > before + 5, 120)
        finally:
            first.heal()
        await_controllers(up)
    assert there.all == sorted(set(there.all))
    assert not set(there.all) & set(alone.all)
    until("all verifies", lambda: up.attempt("verify", "slurm", "--host", HEADS).code == 0, 180)


@rare
def test_a_controller_that_is_stuck_is_ended(up: Cluster) -> None:
    second, third = up.lab.heads[1:]
    says(second, "systemctl", "kill", "--kill-who=main", "--signal=STOP", CONTROLLER)
    until("it does not answer", lambda: controllers(third).get("head2") == "DOWN")
    await_controllers(up)


@rare
def test_undone_and_done_again_it_has_the_same_queue_and_accounts(up: Cluster) -> None:
    third = up.lab.heads[2]
    last = work(third)
    until("it is accounted for", lambda: accounted(third, last) == "COMPLETED")
    waiting = submit(third, "--hold")
    kept = up.attempt("undo", "slurm", "--host", HEADS, "--yes")
    assert (kept.code, "jobs-alive" in kept.err) == (6, True)
    assert controllers(third)["head1"] == "UP"
    says(third, "scancel", str(waiting))
    await_rest(third)
    up.do("undo", "slurm", "--host", HEADS, "--yes")
    assert third.run("systemctl", "is-active", NODE, check=False).stdout != b"active\n"
    up.run("slurm")
    assert accounted(third, last) == "COMPLETED"
    assert submit(third) > waiting


@rare
def test_undone_with_its_queue_it_leaves_nothing_and_begins_anew(up: Cluster) -> None:
    third = up.lab.heads[2]
    running = int(says(third, "sbatch", "--parsable", "--chdir=/tmp", "--wrap", "sleep 600"))
    until("it runs", lambda: jobs(third)[0]["job_state"] == "RUNNING")
    assert running in {job["job_id"] for job in jobs(third)}
    up.do("undo", "slurm", "--host", HEADS, "--yes", "--yes-destroy", "queue")
    assert third.run("test", "-e", STATE, check=False).returncode == 1
    assert third.run("pgrep", "--full", "sleep 600", check=False).stdout == b""
    up.run("slurm")
    assert submit(third) < 10


@rare
def test_the_daemons_that_own_their_configuration_are_not_root(up: Cluster) -> None:
    first = up.lab.heads[0]
    for daemon in ("slurmctld", "slurmdbd"):
        users = says(first, "ps", "-o", "user=", "-C", daemon).split()
        assert set(users) == {"slurm"}
