"""Phases go wrong: refused beforehand, the operator killed, a head without power or cut off.

One cluster for all of it. Whatever happened, the same command again brings all of it up, and there
is one of each thing.
"""

from __future__ import annotations

import json
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from deploy.phases.course import Action
from tests.faults.counts import FULL, PHASE_KILLS, PHASE_PARTITIONS
from tests.faults.hindrances import CLOCK, HINDRANCES, in_the_way
from tests.faults.one_cluster import MOUNT, never_two, one_of_each
from tests.lab.asked import galera, redis, says, sql
from tests.lab.attempts import until
from tests.lab.cluster import ALL, PHASES, Cluster
from tests.lab.platform import HEADS

if TYPE_CHECKING:
    from tests.lab.fixtures import MakeCluster
    from tests.lab.head import LabHead
    from tests.lab.operator import Operator

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
PATIENCE = 600.0
WHOLE = 95.0
"""Seconds that a run of all phases takes, more or less; moments are chosen of these."""
ONE = 6.0
"""The same of one phase."""


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster()


def refusals(cluster: Cluster) -> set[str]:
    """Ask what speaks against a run of all phases; the words by which it is known."""
    done = cluster.attempt("plan", ALL, "--host", HEADS, "--json")
    assert done.code in {0, 6}, done.err
    said = [json.loads(line) for line in done.out.splitlines()]
    plans = [each for each in said if each.get("event") == "plan"]
    if not plans:
        return {said[-1]["error"]}
    (plan,) = plans
    found = [*plan["findings"], *(each for phase in plan["phases"] for each in phase["findings"])]
    return {each["slug"] for each in found if each["kind"] == "refusal"}


def everything(head: LabHead) -> str:
    """Tell what a head is: its files, but for those that change all the time, and its packages."""
    places = ("/etc", "/usr", "/srv", "/var/lib/dpkg", "/var/lib/glusterd", "/var/lib/mysql")
    lies = says(head, "find", *places, "-xdev", "-printf", "%p %l %m %U %s\n")
    words = ("systemctl", "list-units", "--type=service", "--no-legend", "--plain")
    # Those of a login come and go with it.
    runs = [line for line in says(head, *words).splitlines() if not line.startswith("user")]
    return "\n".join([lies, *runs])


def test_what_is_in_the_way_is_found_before_anything_is_changed(cluster: Cluster) -> None:
    """The control is in it: what is out of the way again is not found any more."""
    with in_the_way(HINDRANCES, cluster.lab.heads):
        before = [everything(head) for head in cluster.lab.heads]
        assert refusals(cluster) >= {each.slug for each in HINDRANCES}
        done = cluster.attempt("run", ALL, "--host", HEADS, "--yes")
        assert done.code == 6, done.err
        assert "nothing was touched" in done.err
        assert [everything(head) for head in cluster.lab.heads] == before
    assert refusals(cluster) == set()


def test_a_clock_that_is_off_is_found_before_anything_is_changed(cluster: Cluster) -> None:
    with in_the_way([CLOCK], cluster.lab.heads):
        done = cluster.attempt("run", ALL, "--host", HEADS, "--yes")
        assert done.code == 6, done.err
        assert "head3: its clock is 600 s ahead; nothing was touched" in done.err
    assert refusals(cluster) == set()


def test_the_operator_is_killed(cluster: Cluster) -> None:
    """At random moments, over and over, of a run that goes on from where it was."""
    chance = random.Random(6)  # noqa: S311
    killed = 0
    hit: set[str] = set()
    while killed < PHASE_KILLS:
        for _ in range(min(5, PHASE_KILLS - killed)):
            with cluster.running() as running:
                time.sleep(chance.uniform(0, WHOLE / 2))
                running.kill()
                if running.end() == -signal.SIGKILL:
                    killed += 1
                    hit.add(at_work(running))
        cluster.run()
        cluster.reached = len(PHASES) - 1
        one_of_each(cluster)
        _nothing_is_left_to_do(cluster)
        if killed < PHASE_KILLS:
            cluster.renew()
    assert not FULL or hit >= set(PHASES)


def at_work(running: Operator) -> str:
    """Name the phase that a run was at when it ended; nothing if it had begun none."""
    words = {each.value for each in Action}
    told = [each.record for each in running.told if each.what == "phase"]
    return next((each["phase"] for each in reversed(told) if each["text"] in words), "")


def _nothing_is_left_to_do(cluster: Cluster) -> None:
    with cluster.running() as running:
        assert running.end(PATIENCE) == 0, running.said
    assert running.told[-1].record["changed"] is False, running.said


def begun(running: Operator, phase: str) -> None:
    """Wait until a run lays the files of a phase."""
    told = running.wait_for(
        lambda each: (
            each.what == "phase" and (each.record["phase"], each.record["text"]) == (phase, "lay")
        ),
        PATIENCE,
    )
    assert told is not None, running.said


def upto(phase: str) -> str:
    return f"0-{PHASES.index(phase)}"


def before(cluster: Cluster, phase: str) -> list[LabHead]:
    """Have all phases before this one verified, and nothing of it; return the heads."""
    number = PHASES.index(phase) - 1
    if cluster.reached > number:
        cluster.renew()
    if number >= 0:
        cluster.reach(PHASES[number])
    return list(cluster.lab.heads)


def after(cluster: Cluster, phase: str) -> None:
    """Run it again, with nothing done by hand before, and see that there is one of each thing."""
    cluster.run(upto(phase))
    cluster.reached = PHASES.index(phase)
    never_two(cluster.lab.heads)
    one_of_each(cluster, phase)
    cluster.verify(upto(phase))


def goes_on(heads: list[LabHead], phase: str) -> None:
    """See that what was verified before a phase works on the heads that are left."""
    done = PHASES[: PHASES.index(phase)]
    for head in heads:
        if "storage" in done:
            until("files are written", lambda h=head: says(h, "touch", f"{MOUNT}/{h.name}") == "")  # type: ignore[misc]
        if "database" in done:
            name = f"went_on_{head.name}"
            until("the database takes writes", lambda h=head, n=name: sql(  # type: ignore[misc]
                h, f"CREATE DATABASE IF NOT EXISTS {n}") == [])  # fmt: skip
        if "redis" in done:
            until("redis takes writes", lambda h=head: redis(h, "set", h.name, "1") == "OK")  # type: ignore[misc]


@pytest.mark.skipif(not FULL, reason="takes an hour: SEALIFT_FAULTS=full")
@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("phase", PHASES)
def test_a_head_loses_power_during_a_phase(cluster: Cluster, phase: str, index: int) -> None:
    chance = random.Random(f"{phase} {index}")  # noqa: S311
    others = before(cluster, phase)
    lost = others.pop(index)
    with cluster.running(upto(phase)) as running:
        begun(running, phase)
        time.sleep(chance.uniform(0, ONE))
        lost.power_cut()
        assert running.end(PATIENCE) in {0, 4, 6, 7}, running.said
    never_two(others)
    goes_on(others, phase)
    lost.start()
    lost.wait_ssh()
    after(cluster, phase)


@pytest.mark.parametrize(("phase", "index"), PHASE_PARTITIONS)
def test_a_head_is_cut_off_during_a_phase(cluster: Cluster, phase: str, index: int) -> None:
    others = before(cluster, phase)
    lost = others.pop(index)
    with cluster.running(upto(phase)) as running:
        begun(running, phase)
        time.sleep(ONE / 2)
        lost.partition()
        assert running.end(PATIENCE) in {4, 6}, running.said
    never_two(cluster.lab.heads)
    assert (view := galera(lost)) is None or view.status != "Primary"
    goes_on(others, phase)
    lost.heal()
    after(cluster, phase)
