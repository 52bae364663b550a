"""The volume on real heads: it grows, outlives the loss of a head, and never falls apart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.counts import FULL
from tests.lab.platform import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.cluster import Cluster
    from tests.lab.fixtures import MakeCluster
    from tests.lab.head import LabHead

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="takes heads of its own: SEALIFT_FAULTS=full"),
]

MOUNT = "/mnt/gluster"
BRICK = "/srv/gluster/brick"
PAIR = "head[1-2]"
WITHIN = 60.0
"""Seconds until a head that was switched on has the volume mounted, on a busy machine."""


def write(head: LabHead, name: str, text: str) -> None:
    script = 'printf %s "$2" >"$1" && sync "$1"'
    head.run("sh", "-c", script, "sh", f"{MOUNT}/{name}", text)


def read(head: LabHead, name: str) -> str:
    return head.run("cat", f"{MOUNT}/{name}").stdout.decode()


def copied(head: LabHead, name: str) -> str:
    """Read what the head's own copy of a file says."""
    return head.run("cat", f"{BRICK}/{name}").stdout.decode()


def mounted(head: LabHead) -> bool:
    return head.run("mountpoint", "-q", MOUNT, check=False).returncode == 0


def mounted_since(head: LabHead) -> str:
    """Return what is another one after each start of the mount."""
    show = ("systemctl", "show", "--property=InvocationID", "sealift-mount.service")
    return head.run(*show).stdout.decode().strip()


def await_mounted(*heads: LabHead) -> None:
    end = time.monotonic() + WITHIN
    while not all(map(mounted, heads)):
        assert time.monotonic() < end, heads[0].journal()[-3000:]
        time.sleep(0.3)


def settle(cluster: Cluster, hosts: str) -> None:
    """Let the cluster have these hosts, and no phases beyond storage."""
    later = dict.fromkeys(("database", "redis", "slurm"), False)
    said = {"hosts": hosts, "phases": {**cluster.parameters, **later}}
    cluster.site.join(cluster.lab, cluster=said)
    cluster.release = cluster.site.build()


@pytest.fixture(scope="module")
def three(make_cluster: MakeCluster) -> Cluster:
    """Three heads with the volume, of which two had it before."""
    cluster = make_cluster()
    settle(cluster, HEADS)
    refuses_a_folder_in_use(cluster)
    settle(cluster, PAIR)
    cluster.run("0-1", heads=PAIR)
    write(cluster.lab.heads[0], "first", "of all")
    settle(cluster, HEADS)
    before = [mounted_since(head) for head in cluster.lab.heads[:2]]
    cluster.run("0-1")
    after = [mounted_since(head) for head in cluster.lab.heads[:2]]
    assert after == before, "a head more was one to mount anew on the others"
    return cluster


def refuses_a_folder_in_use(cluster: Cluster) -> None:
    """Try that nothing is touched where somebody's files lie."""
    head = cluster.lab.heads[0]
    head.run("mkdir", "-p", f"{BRICK}/photos")
    refused = cluster.attempt("run", "0-1", "--host", HEADS, "--yes")
    assert refused.code == 6
    assert "is not empty" in refused.err
    assert head.run("systemctl", "is-active", "chrony", check=False).stdout == b"inactive\n"
    head.run("rmdir", f"{BRICK}/photos", BRICK)


def loses_its_power(cluster: Cluster) -> None:
    """Read and write without one head, which has all of it when it is back."""
    one, two, lost = cluster.lab.heads
    lost.power_cut()
    write(one, "while-out", "written")
    assert read(two, "while-out") == "written"
    lost.start()
    lost.wait_ssh()
    await_mounted(lost)
    cluster.verify("1")
    assert copied(lost, "while-out") == "written"


def has_users_of_its_own(cluster: Cluster) -> None:
    """Try that whoever is not root gets at no copy, though glusterd tells him where they are."""
    head = cluster.lab.heads[0]
    script = """
        mkdir -p /tmp/other && chown daemon /tmp/other && cd /tmp/other
        timeout 6 $1 glusterfs --no-daemon --volfile-server=localhost \
            --volfile-id=/shared_data --pid-file=/tmp/other/pid --log-file=/tmp/other/log
        cat /tmp/other/log; rm -rf /tmp/other
    """
    # Of people the firewall keeps glusterd itself; a daemon is let in there.
    other = "setpriv --reuid daemon --regid daemon --clear-groups"
    for user, let_in in ((other, False), ("", True)):
        log = head.run("sh", "-c", script, "sh", user, check=False).stdout.decode()
        assert "protocol/client" in log, "glusterd did not tell"
        assert ("attached to remote volume" in log) is let_in, log[-3000:]


def is_cut_off(cluster: Cluster) -> None:
    """Try that a head without the others takes no writes, and the volume stays one."""
    one, _, cut = cluster.lab.heads
    cut.partition()
    try:
        write(one, "which", "the many")
        script = f"printf alone >{MOUNT}/which && sync {MOUNT}/which"
        alone = cut.run("timeout", "60", "sh", "-c", script, check=False)
        assert alone.returncode != 0, "a head without the others took a write"
    finally:
        cut.heal()
    cluster.run("1")
    assert read(cut, "which") == "the many"


def is_installed_anew(cluster: Cluster) -> None:
    """Give a head that lost its disk all of it back."""
    lost = cluster.lab.heads[1]
    lost.power_cut()
    lost.wipe()
    lost.start()
    lost.wait_ssh()
    cluster.run("0-1", heads="head2")
    assert copied(lost, "first") == "of all"
    assert read(lost, "first") == "of all"
    cluster.verify("0-1")


def all_lose_their_power(cluster: Cluster) -> None:
    """Try that all is there after the power of all was cut at once."""
    heads = cluster.lab.heads
    write(heads[0], "before", "the cut")
    for head in heads:
        head.power_cut()
    for head in heads:
        head.start()
    for head in heads:
        head.wait_ssh()
    await_mounted(*heads)
    cluster.verify("0-1")
    assert [read(head, "before") for head in heads] == ["the cut"] * 3


def refuses_to_remove_what_is_not_its_own(cluster: Cluster) -> None:
    """Try that a folder which does not bear the volume's identity stays, and all others with it."""
    heads = cluster.lab.heads
    name = "trusted.glusterfs.volume-id"
    told = heads[1].run("getfattr", "-e", "hex", "-n", name, BRICK).stdout.decode()
    identity = told.partition("=")[2].strip()
    heads[1].run("setfattr", "-n", name, "-v", "0x" + "0" * 32, BRICK)
    refused = cluster.attempt("undo", "1", "--host", HEADS, "--yes", "--yes-destroy", "shared_data")
    heads[1].run("setfattr", "-n", name, "-v", identity, BRICK)
    assert refused.code == 6, refused.err
    assert "is not proven to be a copy" in refused.err
    assert all(map(mounted, heads))
    assert [copied(head, "first") for head in heads] == ["of all"] * 3


def is_undone(cluster: Cluster) -> None:
    """Try that the data goes only when it is named."""
    heads = cluster.lab.heads
    cluster.do("undo", "1", "--host", HEADS, "--yes")
    assert not any(map(mounted, heads))
    assert copied(heads[0], "first") == "of all"
    cluster.run("1")
    assert read(heads[2], "first") == "of all"
    refuses_to_remove_what_is_not_its_own(cluster)
    cluster.do("undo", "1", "--host", HEADS, "--yes", "--yes-destroy", "shared_data")
    assert all(head.run("test", "-e", BRICK, check=False).returncode for head in heads)


FATES = (
    loses_its_power,
    is_cut_off,
    has_users_of_its_own,
    is_installed_anew,
    all_lose_their_power,
    is_undone,
)


def test_a_file_is_on_every_head_and_a_second_run_changes_nothing(three: Cluster) -> None:
    assert [read(head, "first") for head in three.lab.heads] == ["of all"] * 3
    assert [copied(head, "first") for head in three.lab.heads] == ["of all"] * 3
    told = three.run("0-1")
    assert "nothing was changed" in told.err + told.out


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__)
def test_the_volume_is_whole_when_a_head(three: Cluster, fate: Callable[[Cluster], None]) -> None:
    fate(three)
