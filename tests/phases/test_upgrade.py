"""Newer packages on heads that serve: planned, and installed on one head after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.faults.counts import FULL
from tests.lab.repacked import NEWER, newer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.cluster import Cluster
    from tests.lab.fixtures import MakeCluster
    from tests.lab.head import LabHead

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="takes heads of its own: SEALIFT_FAULTS=full"),
]

PHASES = "infrastructure,redis"
PACKAGES = {"chrony": "chrony.service", "haproxy": "haproxy.service"}
TURN = re.compile(r"(\w+)\W+(head\d)\W+upgrade, the others keep what they have")


def version(head: LabHead, package: str) -> str:
    return head.run("dpkg-query", "-W", "-f", "${Version}", package).stdout.decode()


def invocation(head: LabHead, unit: str) -> str:
    return head.run("systemctl", "show", "-P", "InvocationID", unit).stdout.decode().strip()


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster()
    made.run(PHASES)
    return made


def test_newer_packages_are_planned_and_installed_on_one_head_after_the_other(
    cluster: Cluster, tmp_path: Path
) -> None:
    heads = cluster.lab.heads
    units = PACKAGES.values()
    began = {(head.name, unit): invocation(head, unit) for head in heads for unit in units}
    with newer(cluster, tuple(PACKAGES), tmp_path):
        planned = cluster.do("plan", PHASES, "--host", "head[1-3]").out
        for package in PACKAGES:
            assert f"{version(heads[0], package)} → " in planned
        assert NEWER in planned
        done = cluster.run(PHASES)
        assert TURN.findall(done.err) == [
            (phase, f"head{n}") for phase in ("infrastructure", "redis") for n in (1, 2, 3)
        ]
        for head in heads:
            for package, unit in PACKAGES.items():
                assert version(head, package).endswith(NEWER), (head.name, package)
                assert invocation(head, unit) != began[head.name, unit], (head.name, unit)
        assert "nothing was changed" in cluster.run(PHASES).err
