"""What must hold of a cluster, whatever was done to it: one of each thing, and nothing lost.

`one_of_each` is for heads that are all there and at rest, `never_two` for any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.asked import (
    bricks,
    galera,
    one_galera,
    redis,
    redis_primary,
    says,
    sentinel,
    sql,
    unhealed,
)
from tests.lab.attempts import until, until_not
from tests.lab.cluster import PHASES
from tests.lab.platform import STORES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.cluster import Cluster
    from tests.lab.head import LabHead

    Heads = tuple[LabHead, ...]

VOLUME, MOUNT = "shared_data", "/mnt/gluster"
DATABASES = {"slurm_acct_db", "auth_portal"}
ASIDE = STORES / "cluster/var/head/phases/aside"


class NotOneError(AssertionError):
    """Two of something that there is to be one of."""


def never_two(heads: Iterable[LabHead]) -> None:
    """See that no two database servers take writes that do not know of each other.

    Raises:
        NotOneError: they do.
    """
    views = {head.name: view for head in heads if (view := galera(head)) is not None}
    primary = {name: view for name, view in views.items() if view.status == "Primary"}
    if len({view.uuid for view in primary.values()}) > 1:
        raise NotOneError(f"two histories: {views}")
    # One view is a part of the others only if all of them count as many as there are.
    alone = [name for name, view in primary.items() if view.size < len(primary)]
    if alone:
        raise NotOneError(f"primaries that do not know of each other: {views}")


def one_of_each(cluster: Cluster, last: str = PHASES[-1]) -> None:
    """See that nothing is there twice, or not at all, when all phases to `last` are verified."""
    heads = cluster.lab.heads
    for head in heads:
        _clean(head)
    looks = (_nothing, _one_volume, _one_database, _one_redis, _one_slurm)
    for look in looks[: PHASES.index(last) + 1]:
        look(heads)


def _nothing(_: Heads) -> None:
    """Of users, files and rules there is no telling whether they are there twice."""


def _one_volume(heads: Heads) -> None:
    until("all bricks are there", lambda: len(bricks(heads[0], VOLUME)) == len(heads))
    until_not("all is healed", lambda: unhealed(heads[0], VOLUME))
    assert unhealed(heads[0], VOLUME, "split-brain") == ""
    for head in heads:
        _one_pool(head, len(heads))


def _one_pool(head: LabHead, size: int) -> None:
    rows = says(head, "gluster", "pool", "list").splitlines()[1:]
    assert len({row.split()[0] for row in rows}) == size, rows
    assert all(row.split()[-1] == "Connected" for row in rows), rows
    assert says(head, "gluster", "volume", "list").split() == [VOLUME]
    mounts = says(head, "cat", "/proc/mounts").splitlines()
    assert [line.split()[2] for line in mounts if line.split()[1] == MOUNT] == ["fuse.glusterfs"]


def _one_database(heads: Heads) -> None:
    until_not("the database is one", lambda: one_galera(heads))
    users = sql(heads[-1], "SELECT user, COUNT(DISTINCT authentication_string) FROM mysql.user "
                "WHERE user IN ('slurm', 'auth_portal') GROUP BY user ORDER BY user")  # fmt: skip
    assert users == [["auth_portal", "1"], ["slurm", "1"]]
    assert {row[0] for row in sql(heads[-1], "SHOW DATABASES")} >= DATABASES


def _one_redis(heads: Heads) -> None:
    until("redis answers", lambda: redis(heads[0], "set", "one", "1", limit="3") == "OK")
    for head in heads:
        known = sentinel(head)
        assert known["num-other-sentinels"] == str(len(heads) - 1), known
        assert known["num-slaves"] == str(len(heads) - 1), known
        assert redis_primary(head) == redis_primary(heads[0])


def _one_slurm(heads: Heads) -> None:
    ask = ("sacctmgr", "--noheader", "--parsable2", "list")
    kept = ("associations", "format=cluster,account,user,partition")
    assert len(says(heads[0], *ask, "cluster", "format=cluster").split()) == 1
    rows = says(heads[0], *ask, *kept).splitlines()
    assert len(set(rows)) == len(rows), rows
    ran = says(heads[0], "srun", f"--nodes={len(heads)}", "hostname", limit="60").split()
    assert len(set(ran)) == len(heads)


def _clean(head: LabHead) -> None:
    """See that dpkg is at rest, and nothing of ours lies aside."""
    assert says(head, "dpkg", "--audit") == ""
    assert head.run("test", "-e", "/usr/sbin/policy-rc.d", check=False).returncode != 0
    lies = says(head, "find", str(ASIDE), "-type", "f").split()
    assert len({path.partition(".~")[0] for path in lies}) == len(lies), lies
    # systemd's own fail where a machine has more of them than its inotify takes.
    failed = says(head, "systemctl", "--failed", "--no-legend", "--plain").splitlines()
    ours = [line for line in failed if not line.startswith("systemd-")]
    assert ours == [], f"{head.name}: {ours}"
