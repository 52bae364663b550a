"""Which hosts a cluster has, and by which addresses they know each other."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from builders.settings import load_settings
from deploy.cluster import ClusterHost, cluster_hosts, within
from deploy.inventory import Inventory, load
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = """\
local: {}
head1: {address: 10.0.0.11}
head2: {address: two.example, priority: 7}
head3: {address: 127.0.0.1, port: 2203}
"""
ADDRESSES = {"head2": "10.0.0.12", "head3": "10.0.0.13"}
ALL = (
    ClusterHost("head2", "10.0.0.12", 7),
    ClusterHost("head1", "10.0.0.11", 0),
    ClusterHost("head3", "10.0.0.13", 0),
)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    text = f"sources: .\nhosts:\n{textwrap.indent(HOSTS, '  ')}groups: {{two: 'head[1-2]'}}\n"
    (tmp_path / "sealift.yaml").write_text(text)
    return load(load_settings(tmp_path))


def test_all_that_are_reached_by_ssh_in_their_order(inventory: Inventory) -> None:
    assert cluster_hosts(inventory, None, ADDRESSES) == ALL


def test_those_that_are_named(inventory: Inventory) -> None:
    assert cluster_hosts(inventory, "@two", {"head2": "10.0.0.12"}) == ALL[:2]


def test_a_set_among_them(inventory: Inventory) -> None:
    assert within(ALL, inventory.select("head[1-2]")) == ("head2", "head1")
    with pytest.raises(InputError, match="head3 is none of the cluster's hosts"):
        within(ALL[:2], inventory.select("head3"))


@pytest.mark.parametrize(
    ("wanted", "addresses", "reason"),
    [
        (None, {"head3": "10.0.0.13"}, "which address head2 has within the cluster is not said"),
        # Where one who deploys goes through a forwarding, others find nobody.
        (None, {"head2": "10.0.0.12"}, "which address head3 has within the cluster is not said"),
        ("head1,local", {}, "local is this machine"),
        ("head9", {}, "there is no host 'head9'"),
        ("head1", {"head2": "10.0.0.12"}, "head2, which is none of the cluster's hosts"),
        (None, {**ADDRESSES, "head3": "10.0.0.11"}, "have the same address, 10.0.0.11"),
    ],
)
def test_refused(
    inventory: Inventory, wanted: str | None, addresses: dict[str, str], reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        cluster_hosts(inventory, wanted, addresses)
    assert reason in caught.value.reason


def test_a_cluster_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "sealift.yaml").write_text("sources: .\n")
    with pytest.raises(InputError, match="the cluster has no hosts"):
        cluster_hosts(load(load_settings(tmp_path)), None, {})
