"""Three bare heads become a cluster by one command, and stay one when a head dies.

In the order of an operator's first day; each test leaves the cluster as it found it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from tests.e2e.browser import ready
from tests.faults.counts import FULL
from tests.lab.asked import (
    bricks,
    controllers_down,
    jobs,
    nodes,
    one_galera,
    says,
    sql,
    unhealed,
    units,
)
from tests.lab.attempts import attempts, until, until_not
from tests.lab.cluster import ALL, PHASES, Cluster
from tests.lab.network import Outbound
from tests.lab.platform import HEADS, record

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.lab.fixtures import MakeCluster
    from tests.lab.head import LabHead

pytestmark = [
    pytest.mark.browser,
    pytest.mark.lab,
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.slow,
]
VOLUME, MOUNT = "shared_data", "/mnt/gluster"
ACCOUNTING = "slurm_acct_db"
UNITS = (
    "chrony.service", "nftables.service", "glusterd.service", "mariadb.service",
    "redis-server.service", "redis-sentinel.service", "haproxy.service", "munge.service",
    "slurmdbd.service", "slurmctld.service", "slurmd.service",
)  # fmt: skip


@pytest.fixture(scope="module")
def three(make_cluster: MakeCluster) -> Cluster:
    """Heads with nothing on them, one command, a cluster."""
    cluster = make_cluster(bare=True, example=("backend_5010", "frontend_3010"))
    for head in cluster.lab.heads:
        assert head.run("which", "glusterd", "mariadbd", "slurmd", check=False).stdout == b""
    cluster.run()
    return cluster


def test_every_phase_is_verified_on_every_head(three: Cluster) -> None:
    done = three.do("list", "--host", HEADS, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    found = {row["phase"]: row["heads"] for row in rows if row["phase"] is not None}
    everywhere = {head.name: "verified" for head in three.lab.heads}
    assert found == dict.fromkeys(PHASES, everywhere)


def test_running_it_again_changes_nothing(three: Cluster) -> None:
    before = [everything(head) for head in three.lab.heads]
    said = json.loads(three.run(ALL, "--json").out.splitlines()[-1])
    assert [everything(head) for head in three.lab.heads] == before
    assert said["changed"] is False
    assert {phase["state"] for phase in said["phases"].values()} == {"unchanged"}


def everything(head: LabHead) -> tuple[dict[str, str], str]:
    """Tell which run of each unit this is, and what lies in /etc and who wrote it when."""
    lies = says(head, "find", "/etc", "/usr", "-xdev", "-printf", "%p %l %m %U %T@\n")
    return units(head, *UNITS), lies


def test_a_job_is_in_the_accounting_on_every_head(three: Cluster) -> None:
    first, *_, last = three.lab.heads
    name = "counted"
    said = says(first, "srun", "--nodes=3", f"--job-name={name}", "hostname", limit="60")
    assert sorted(said.split()) == [head.name for head in three.lab.heads]
    tables = f"SELECT table_name FROM information_schema.tables WHERE table_schema='{ACCOUNTING}'"  # noqa: S608
    table = next(row[0] for row in sql(last, tables) if row[0].endswith("_job_table"))
    found = f"SELECT state, nodes_alloc FROM {ACCOUNTING}.{table} WHERE job_name='{name}'"  # noqa: S608
    until("the job is accounted for", lambda: sql(last, found) == [["3", "3"]])
    assert isinstance(jobs(last), list)


def test_a_file_of_one_head_is_read_on_the_others(three: Cluster) -> None:
    first, *others = three.lab.heads
    says(first, "sh", "-c", f"echo shared > {MOUNT}/told")
    for head in others:
        assert says(head, "cat", f"{MOUNT}/told") == "shared\n"


def test_the_dashboard_shows_a_job_that_runs(three: Cluster, browser: Chrome) -> None:
    """What asks Slurm there is a service, closed in as every other."""
    head = three.lab.heads[1]
    three.site.deploy("--release", three.release, heads=head.name)
    words = ("--parsable", "--job-name=calm-water", "--chdir=/tmp", "--wrap", "sleep 600")
    job = says(head, "sbatch", *words).strip()
    until("it runs", lambda: record(head, "/api/jobs")["jobs"][0]["state"] == "RUNNING")
    ready(browser, f"https://{head.address}/dashboard/")
    row = browser.find_element(By.CSS_SELECTOR, "table.jobs tbody tr").text.split()
    says(head, "scancel", job)
    assert row[:2] == [job, "calm-water"]
    assert "running" in row


def test_no_packet_left_the_lab(three: Cluster) -> None:
    """Before any head is switched off, which would set its count to nought."""
    for head in three.lab.heads:
        assert head.packets() == Outbound(0, ())


@pytest.mark.parametrize("index", [0, 1, 2] if FULL else [0])
def test_killing_a_head_loses_nothing(three: Cluster, index: int) -> None:
    """The first has every primary: of redis, slurmctld and slurmdbd."""
    lost = three.lab.heads[index]
    others = [head for head in three.lab.heads if head is not lost]
    _prepare(lost, index)
    job = _accepted(lost)
    with attempts(lambda turn: _write(others[0], index, turn)) as written:
        lost.power_cut()
        _outlive(others, index, job)
    assert written.failed == []
    assert lost.packets() == Outbound(0, ())
    lost.start()
    lost.wait_ssh()
    _whole_again(three, lost, index, len(written.all))


def _prepare(head: LabHead, index: int) -> None:
    sql(head, "CREATE DATABASE IF NOT EXISTS told")
    sql(head, f"CREATE TABLE told.turns{index} (turn INT PRIMARY KEY)")
    says(head, "sh", "-c", f"echo kept > {MOUNT}/kept{index} && sync -f {MOUNT}/kept{index}")


def _accepted(head: LabHead) -> int:
    """Submit a job; return its number once the controller has written down that there is one.

    It does so some seconds later; what it took in these is lost with it.
    """
    says(head, "touch", f"{MOUNT}/submitted")
    job = says(head, "sbatch", "--parsable", "--chdir=/tmp", "--wrap", "true").strip()
    newer = ("find", f"{MOUNT}/slurm", "-name", "job_state", "-newer", f"{MOUNT}/submitted")
    until("the job is written down", lambda: says(head, *newer))
    return int(job)


def _write(head: LabHead, index: int, turn: int) -> None:
    sql(head, f"INSERT INTO told.turns{index} VALUES ({turn})")  # noqa: S608
    says(head, "sh", "-c", f"echo {turn} >> {MOUNT}/turns{index}")


def _outlive(others: list[LabHead], index: int, job: int) -> None:
    """See that files, the database and Slurm go on without a head."""
    for head in others:
        assert says(head, "cat", f"{MOUNT}/kept{index}") == "kept\n"
    until_not("the database has two servers", lambda: one_galera(others))
    left = ",".join(head.name for head in others)
    words = ("sbatch", "--parsable", f"--nodelist={left}", "--nodes=2", "--chdir=/tmp")
    later: list[int] = []
    until("slurm takes a job", lambda: later.append(int(
        says(others[0], *words, "--wrap", "true").strip())) or True, 150)  # type: ignore[func-returns-value]  # fmt: skip
    assert later[0] > job


def _whole_again(three: Cluster, lost: LabHead, index: int, turns: int) -> None:
    """See that a head that is back has all that was written without it, and all verifies."""
    heads = three.lab.heads
    until_not("the database has three servers", lambda: one_galera(heads), 120)
    until("all bricks are there", lambda: len(bricks(lost, VOLUME)) == len(heads))
    until_not("all is healed", lambda: unhealed(heads[0], VOLUME))
    assert unhealed(heads[0], VOLUME, "split-brain") == ""
    assert sql(lost, f"SELECT COUNT(*) FROM told.turns{index}") == [[str(turns)]]  # noqa: S608
    until("its files are there", lambda: says(lost, "cat", f"{MOUNT}/kept{index}") == "kept\n")
    lines = says(lost, "cat", f"{MOUNT}/turns{index}").split()
    assert lines == [str(turn) for turn in range(turns)]
    until("its node is there", lambda: nodes(heads[1])[lost.name].startswith(("idle", "mix")), 90)
    until_not("both controllers answer", lambda: controllers_down(heads[1]), 120)
    three.verify(ALL)
