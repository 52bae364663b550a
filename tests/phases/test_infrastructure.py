"""Time, names and the firewall on real heads, and that nobody can lock himself out."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from deploy.phases import firewall
from tests.lab.asked import one_galera
from tests.lab.attempts import until_not
from tests.lab.cluster import PHASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.cluster import Cluster
    from tests.lab.head import LabHead

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LOCKOUT = """\
table inet sealift
delete table inet sealift
table inet sealift {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
  }
}
"""
OTHER_WAY = 2200
LISTENER = ("systemd-socket-activate", "--accept", "--inetd", "--listen")
SERVER = ("/usr/sbin/sshd", "-i")
WITHIN = 20.0
"""Seconds in which a trial of one second must be over on a busy machine."""


@pytest.fixture(autouse=True)
def whole(cluster: Cluster) -> Iterator[None]:
    """Let a head that nobody saw for a while be among the others before the next one goes."""
    yield
    if cluster.reached >= PHASES.index("database"):
        until_not("the database is one", lambda: one_galera(cluster.lab.heads), 120)


def admits(head: LabHead) -> bool:
    """Tell whether a new connection is let in; who waits longer sees the rules go."""
    with suppress(OSError), socket.create_connection((head.address, 22), timeout=1):
        return True
    return False


def test_heads_agree_and_close_what_nobody_declared(cluster: Cluster) -> None:
    cluster.reach("infrastructure")
    told = cluster.verify("infrastructure").out
    assert "chrony answers from every head to every other" in told
    assert "port 9, which nobody declared, is closed" in told
    head = cluster.lab.heads[0]
    assert b"policy drop" in head.run("nft", "list", "table", "inet", "sealift").stdout
    assert head.run("id", "-u", "slurm").stdout == b"64001\n"
    assert head.run("systemctl", "--failed", "--no-legend").stdout == b""


def test_rules_that_lock_everybody_out_take_themselves_back(cluster: Cluster) -> None:
    cluster.reach("infrastructure")
    head = cluster.lab.heads[0]
    head.run("tee", "/run/lockout.nft", input=LOCKOUT.encode())
    script = firewall.TRY.replace(firewall.WANTED, "/run/lockout.nft")
    before = head.run("nft", "--stateless", "list", "table", "inet", "sealift").stdout
    head.run("sh", "-c", script, "sh", "5")
    assert not admits(head), "the rules that lock out were not loaded"
    end = time.monotonic() + WITHIN
    while not admits(head) and time.monotonic() < end:
        time.sleep(0.2)
    assert head.run("nft", "--stateless", "list", "table", "inet", "sealift").stdout == before
    # Whoever is let in by those from before confirms nothing.
    assert head.run("sh", "-c", firewall.KEEP).stdout.decode().strip() == firewall.LATE
    assert head.run("sh", "-c", firewall.LOOK).stdout == b"same same no\n"


def test_the_firewall_is_there_after_a_reboot_and_after_debians_own(cluster: Cluster) -> None:
    cluster.reach("infrastructure")
    head = cluster.lab.heads[1]
    for verb in ("start", "restart", "reload", "stop", "start"):
        head.run("systemctl", verb, "nftables.service")
        assert head.run("sh", "-c", firewall.LOOK).stdout == b"same same no\n", verb
    head.reboot()
    assert head.run("sh", "-c", firewall.LOOK).stdout == b"same same no\n"


def test_a_run_that_would_close_the_way_in_is_refused(cluster: Cluster) -> None:
    cluster.reach("infrastructure")
    try:
        cluster.build(infrastructure={"ssh_ports": [2222]})
        tried = cluster.attempt("plan", "infrastructure", "--host", "head1")
    finally:
        cluster.build()
    assert tried.code == 6
    assert "the firewall would close port 22" in tried.err + tried.out


def test_the_port_by_which_the_operator_comes_is_not_closed_whoever_listens_there(
    cluster: Cluster,
) -> None:
    cluster.reach("infrastructure")
    head = cluster.lab.heads[0]
    known = cluster.lab.known_hosts.read_text()
    try:
        cluster.build(infrastructure={"open_ports": [OTHER_WAY]})
        cluster.run("infrastructure")
        head.run("systemd-run", "--unit=other-way", *LISTENER, str(OTHER_WAY), *SERVER)
        cluster.build()
        come_by(cluster, head, OTHER_WAY)
        tried = cluster.attempt("plan", "infrastructure", "--host", "head1")
    finally:
        head.run("systemctl", "stop", "other-way.service", check=False)
        cluster.lab.known_hosts.write_text(known)
        cluster.build()
        cluster.run("infrastructure")
    assert tried.code == 6, tried.err
    assert f"the firewall would close port {OTHER_WAY}" in tried.err + tried.out


def come_by(cluster: Cluster, head: LabHead, port: int) -> None:
    """Let the operator reach one head by another port, whose key is pinned as well."""
    file = cluster.site.root / "sealift.yaml"
    said = json.loads(file.read_text())
    said["hosts"][head.name]["port"] = port
    file.write_text(json.dumps(said))
    pins = cluster.lab.known_hosts
    rows = [line.split() for line in pins.read_text().splitlines()]
    own = [words for names, *words in rows if head.address in names.split(",")]
    more = [f"[{head.address}]:{port} {kind} {key}\n" for kind, key, *_ in own]
    pins.write_text(pins.read_text() + "".join(more))
