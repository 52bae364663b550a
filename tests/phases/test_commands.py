"""What commands tell of phases on real heads, and phases beside a deploy and a rollback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.counts import FULL
from tests.lab.platform import HEADS

if TYPE_CHECKING:
    from tests.lab.cluster import Cluster
    from tests.lab.fixtures import MakeCluster

pytestmark = [pytest.mark.lab, pytest.mark.slow]
OF_ITS_OWN = pytest.mark.skipif(not FULL, reason="takes heads of its own: SEALIFT_FAULTS=full")
JOURNAL = "/etc/systemd/journald.conf.d/60-sealift.conf"


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def days(cluster: Cluster) -> set[bytes]:
    """Return for how long the journals of the heads are kept."""
    lines = [head.run("grep", "MaxRetentionSec", JOURNAL).stdout for head in cluster.lab.heads]
    return set(lines)


def test_a_plan_takes_no_lock_and_changes_nothing(cluster: Cluster) -> None:
    cluster.reach("infrastructure")
    (listed,) = records(cluster.do("list", "0", "--host", HEADS, "--json").out)
    assert set(listed["heads"].values()) == {"verified"}
    lock = cluster.site.store_dir.parent / "var" / "head" / "lock"
    head = cluster.lab.heads[0]
    head.run("systemd-run", "--unit=holder", "flock", str(lock), "sleep", "300")
    try:
        plan = records(cluster.do("plan", "0", "--host", HEADS, "--json").out)[-1]
    finally:
        head.run("systemctl", "stop", "holder")
    assert plan["phases"][0]["doing"] == "unchanged"
    assert not plan["changes"]


def test_a_head_that_is_not_named_is_looked_at_alone(cluster: Cluster) -> None:
    cluster.reach("infrastructure")
    plan = records(cluster.do("plan", "0", "--host", "head2", "--json").out)[-1]
    assert plan["phases"][0]["heads"] == ["head2"]
    assert plan["phases"][0]["witnesses"] == ["head1", "head3"]


@OF_ITS_OWN
def test_phases_go_with_a_deploy_and_a_rollback(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    deploy = ("deploy", "--host", HEADS, "--phases", "0", "--yes")
    cluster.site.sealift(*deploy, "--release", cluster.release)
    before = days(cluster)
    cluster.build(infrastructure={"journal_days": 7})
    told = cluster.site.sealift("plan", "--host", HEADS, "--release", cluster.release).out
    assert "infrastructure behind" in told
    cluster.site.sealift(*deploy, "--release", cluster.release)
    assert days(cluster) != before
    differs = cluster.site.sealift("diff", "1", "2", "--host", "head1").out
    assert "setting journal_days: 90 → 7" in differs
    assert f"+++ b{JOURNAL}" in differs
    cluster.site.sealift("rollback", "--host", HEADS, "--phases", "0", "--yes")
    assert days(cluster) == before
    cluster.do("undo", "0", "--host", HEADS, "--yes")
    left = cluster.lab.heads[0].run("find", "/etc", "-lname", "*/profiles/phase-*")
    assert left.stdout == b""
