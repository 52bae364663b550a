"""The figures of a cluster: from three bare heads to all green, a second run, and failovers.

Heads are those of a lab on this machine: three systems share its cores and its disk. What is
measured of a failover is what clients on the other heads see of it.
"""

from __future__ import annotations

import tempfile
import time
from calendar import timegm
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, attempted
from benchmarks.place import disk
from tests.lab.asked import (
    bricks,
    controllers_down,
    nodes,
    one_galera,
    redis,
    redis_primary,
    says,
    sql,
    unhealed,
)
from tests.lab.attempts import attempts, until, until_not
from tests.lab.cluster import Cluster, cluster_on
from tests.lab.lab import available
from tests.lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.attempts import Attempts
    from tests.lab.head import LabHead

RUNS = 3
SECOND = 15.0
"""Seconds that a second run may take."""
PATIENCE = 900.0
WELL = 180.0
"""Seconds in which all is whole again after a head is back."""
VOLUME = "shared_data"


def figures() -> Iterator[Figure]:
    """Measure one after another."""
    reason = available()
    if reason is not None:
        yield Figure("phases", "", None, 0, None, None, 0, f"cannot be measured: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="sealift-bench-", dir=disk()) as folder:
        root = Path(folder)
        yield from attempted("a cluster of three bare heads", 0, lambda: cluster(root))


def cluster(root: Path) -> Iterator[Figure]:
    """Measure a cluster's life: made, asked again, and a head lost for each thing it may be."""
    with cluster_on(root / "bare", bare=True) as three:
        try:
            yield from from_bare(three)
            for measure in (second, database_lost, redis_lost, slurm_lost):
                yield measure(three)
        except (AssertionError, LabError) as fault:
            raise RuntimeError(str(fault)[-3000:]) from fault


def from_bare(three: Cluster) -> Iterator[Figure]:
    """Bring all phases up on heads that have nothing; what dpkg took of it stands beside."""
    rows = []
    for turn in range(RUNS):
        if turn:
            three.renew()
        rows.append(run(three))
    spent = median(row[0] for row in rows)
    for name, bar, value, note in (
        ("phases 0-4 on three bare heads, to all green", None, spent,
         "three heads share two cores and one disk: packages are pushed and unpacked three times"),
        ("of that, dpkg on the slowest head", None, median(row[1] for row in rows),
         "from the first to the last line of its log"),
    ):  # fmt: skip
        yield figure(name, value, bar, RUNS, note)


def run(three: Cluster) -> tuple[float, float]:
    """Run all phases; the seconds of the command, and those of dpkg on the slowest head."""
    began = int(time.time())
    with three.running() as running:
        code = running.end(PATIENCE)
        if code != 0:
            raise RuntimeError(f"phase run ended with {code}:\n{running.said[-3000:]}")
        spent = running.seconds
    return spent, max(_dpkg(head, began) for head in three.lab.heads)


def _dpkg(head: LabHead, since: float) -> float:
    """Return the seconds that dpkg was at work, by its log, which has a line for each step."""
    lines = says(head, "cat", "/var/log/dpkg.log").splitlines()
    # Heads have the time of UTC. The root itself was made by dpkg, which wrote to the same log.
    moments = [timegm(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) for line in lines]
    return float(moments[-1] - next(each for each in moments if each >= since))


def second(three: Cluster) -> Figure:
    """Run all phases where there is nothing to do."""
    rows = []
    for _ in range(RUNS):
        with three.running() as running:
            code = running.end(PATIENCE)
            if code != 0 or running.told[-1].record.get("changed") is not False:
                raise RuntimeError(f"a second run ended with {code}:\n{running.said[-3000:]}")
            rows.append(running.seconds)
    note = "five phases on three heads: every package, file and unit is looked at"
    return figure("a second run", median(rows), SECOND, RUNS, note)


def database_lost(three: Cluster) -> Figure:
    """Cut the power of a head while clients of the others write to the database."""
    *writing, lost = three.lab.heads
    sql(lost, "CREATE DATABASE IF NOT EXISTS bench")
    sql(lost, "CREATE TABLE IF NOT EXISTS bench.turns (run INT, head INT, turn INT)")
    failed, made, longest = 0, 0, []
    for turn in range(RUNS):
        with (
            attempts(_inserts(writing[0], turn)) as one,
            attempts(_inserts(writing[1], turn)) as other,
        ):
            time.sleep(2)
            lost.power_cut()
            time.sleep(20)
        _back(three, lost)
        done = [*one.all, *other.all]
        kept = int(sql(lost, f"SELECT COUNT(*) FROM bench.turns WHERE run = {turn}")[0][0])  # noqa: S608
        failed += sum(bool(each.fault) for each in done) + len(done) - kept
        made += len(done)
        longest.append(max(one.longest, other.longest))
    note = (
        f"of {made} writes through the two others, each with a connection of its own; the slowest "
        f"took {median(longest):.1f} s, as a head counts as lost after 5 s of silence"
    )
    return figure("failed writes when a Galera node loses power", failed, 0, RUNS, note, "writes")


def _inserts(head: LabHead, run: int) -> Callable[[int], object]:
    into = f"INSERT INTO bench.turns VALUES ({run}, {head.index}"  # noqa: S608
    return lambda turn: sql(head, f"{into}, {turn})")


def redis_lost(three: Cluster) -> Figure:
    """Cut the power of the head that has Redis' primary; when can the others write again?"""
    rows = []
    for turn in range(RUNS):
        address = redis_primary(three.lab.heads[0])
        lost = next(head for head in three.lab.heads if head.address == address)
        other = next(head for head in three.lab.heads if head is not lost)
        rows.append(_down(lost, _sets(other, turn)))
        _back(three, lost)
    note = "until a write through 127.0.0.1:6379 of another head succeeds; silent for 2 s is down"
    return figure("Redis' primary loses power", median(rows), None, RUNS, note)


def _sets(head: LabHead, run: int) -> Callable[[int], object]:
    return lambda turn: redis(head, "set", f"run{run}", str(turn), limit="3")


def slurm_lost(three: Cluster) -> Figure:
    """Cut the power of the head with the primary slurmctld; when is a job taken again?"""
    first, other, *_ = three.lab.heads
    rows = []
    words = ("sbatch", "--parsable", "--chdir=/tmp", "--wrap", "true")
    for _ in range(RUNS):
        rows.append(_down(first, lambda _: says(other, *words, limit="20")))
        _back(three, first)
    note = "until sbatch on another head has a job's number; silent for 10 s is down"
    return figure("slurmctld's head loses power", median(rows), None, RUNS, note)


def _down(lost: LabHead, each: Callable[[int], object]) -> float:
    """Cut a head's power; return the seconds until something succeeds that began after that."""
    with attempts(each) as found:
        until("it works beforehand", lambda: any(not one.fault for one in found.all))
        moment = time.monotonic()
        lost.power_cut()
        until("it works without the head", lambda: found.done_after(moment), WELL)
    return _after_failures(found, moment)


def _after_failures(found: Attempts, moment: float) -> float:
    """Return when the last failure was followed by a success; a lucky one before does not count."""
    bad = [each.began for each in found.all if each.fault and each.began >= moment]
    spent = found.done_after(max([moment, *bad]))
    if spent is None:
        raise RuntimeError("nothing succeeded after the last failure")
    return spent + max([moment, *bad]) - moment


def _back(three: Cluster, lost: LabHead) -> None:
    """Give a head its power back, and wait until nothing is missing anywhere."""
    lost.start()
    lost.wait_ssh()
    heads = three.lab.heads
    until_not("the database is whole", lambda: one_galera(heads), WELL)
    until("all bricks are there", lambda: len(bricks(heads[0], VOLUME)) == len(heads), WELL)
    until_not("all is healed", lambda: unhealed(heads[0], VOLUME), WELL)
    until("redis has a primary", lambda: redis(lost, "set", "back", "1", limit="3") == "OK", WELL)
    until("slurm's nodes are there", lambda: set(nodes(heads[1]).values()) == {"idle"}, WELL)
    until_not("the controllers answer", lambda: controllers_down(heads[1]), WELL)
    three.verify()


def figure(  # noqa: PLR0917 - a row of a table
    name: str, value: float, bar: float | None, runs: int, note: str, unit: str = "s"
) -> Figure:
    """Make the figure of a value that has no peer."""
    rounded = round(value, 3)
    return Figure(name, "", rounded, bar, rounded, None, runs, note, unit)
