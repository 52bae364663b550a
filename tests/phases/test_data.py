"""Database and Redis on real heads: never two of either, and nothing lost that was agreed to."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import pytest

from tests.faults.counts import FULL
from tests.lab.asked import galera, one_galera, redis, redis_primary, says, sql
from tests.lab.attempts import until, until_not
from tests.lab.cluster import PHASES, REDIS_PASSWORD
from tests.lab.head import LabHead
from tests.lab.platform import HEADS
from tests.lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.lab.cluster import Cluster
    from tests.lab.fixtures import MakeCluster

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]

DATA = "2-3"
ROLE = "/run/sealift-redis/role.conf"
KEYS = "/var/lib/redis"
DAMAGE = "for each in *.incr.aof; do head -c 20000000 /dev/zero >$each; done"
"""More than what a power cut leaves at the end of a file."""
TABLE = "auth_portal.tried"
SEVEN = f"SELECT COUNT(*) FROM {TABLE} WHERE number = 7"  # noqa: S608


all_of_it = pytest.mark.skipif(not FULL, reason="with SEALIFT_FAULTS=full")


@pytest.fixture(scope="module")
def data(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster that others test too, with a table in it, and well again afterwards."""
    cluster.reach("redis")
    heads = cluster.lab.heads
    sql(heads[0], f"CREATE TABLE {TABLE} (number INT PRIMARY KEY)")
    yield cluster
    sql(heads[0], f"DROP TABLE {TABLE}")
    cluster.verify(f"0-{cluster.reached}")


def at_once(do: Callable[[LabHead], object], heads: Iterable[LabHead]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, heads))


def switch_off(heads: Iterable[LabHead]) -> None:
    """Switch heads off of which each has left the cluster before the next one does.

    Of three that leave at the same moment, the last may take the others for lost, and serve no
    more.
    """
    for head in heads:
        head.run("systemctl", "stop", "mariadb")
    at_once(LabHead.stop, heads)


def boot(*heads: LabHead) -> None:
    for head in heads:
        head.start()
    for head in heads:
        head.wait_ssh()


def well(cluster: Cluster) -> None:
    """See that all heads serve, without a word from an operator."""
    heads = cluster.lab.heads
    until_not("the database is one", lambda: one_galera(heads))
    for head in heads:
        until("redis takes writes", lambda h=head: redis(h, "set", "well", "1") == "OK")  # type: ignore[misc]


def primary_of(heads: Iterable[LabHead]) -> LabHead:
    every = list(heads)
    address = redis_primary(every[-1])
    return next(head for head in every if head.address == address)


@dataclass
class Writer:
    """Writes numbers on one head, to its own database and the Redis that it is led to.

    `agreed` are those that the server said it has, `failed` what it said of others.
    """

    head: LabHead
    start: int
    agreed: dict[str, list[int]] = field(default_factory=lambda: {"sql": [], "redis": []})
    failed: dict[str, list[str]] = field(default_factory=lambda: {"sql": [], "redis": []})
    _over: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for what, write in (("sql", self._sql), ("redis", self._redis)):
            thread = Thread(target=self._write, args=(what, write))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Wait until both have agreed to something anew."""
        before = {what: len(numbers) for what, numbers in self.agreed.items()}
        for what, numbers in self.agreed.items():
            until(f"{what} goes on", lambda w=what, n=numbers: len(n) > before[w] + 1)  # type: ignore[misc]

    def lost(self) -> list[int]:
        """Return what was agreed to, and is not there."""
        rows = {int(row[0]) for row in sql(self.head, f"SELECT number FROM {TABLE}")}  # noqa: S608
        keys = set(redis(self.head, "keys", "tried:*").split())
        lacking = [number for number in self.agreed["sql"] if number not in rows]
        return lacking + [n for n in self.agreed["redis"] if f"tried:{n}" not in keys]

    def _write(self, what: str, write: Callable[[int], bool]) -> None:
        number = self.start
        while not self._over.is_set():
            number += 1
            try:
                if write(number):
                    self.agreed[what].append(number)
            except LabError as error:
                self.failed[what].append(str(error))
                time.sleep(0.1)

    def _sql(self, number: int) -> bool:
        sql(self.head, f"INSERT INTO {TABLE} VALUES ({number})")  # noqa: S608
        return True

    def _redis(self, number: int) -> bool:
        """Write so that a replica has it too, as who asks for that may count on it."""
        given = f"SET tried:{number} 1\nWAIT 1 1000\n".encode()
        login = ("-h", "127.0.0.1", "--no-auth-warning", "-a", REDIS_PASSWORD)
        return says(self.head, "redis-cli", *login, given=given).split() == ["OK", "1"]


def writers(heads: Iterable[LabHead]) -> Iterator[Writer]:
    for at, head in enumerate(heads):
        yield Writer(head, 100_000 * (at + 1) + int(time.monotonic()) % 1000 * 100)


def test_a_head_without_power_loses_nothing_and_comes_back_behind_the_others(data: Cluster) -> None:
    lost = primary_of(data.lab.heads)
    rest = [head for head in data.lab.heads if head is not lost]
    one, two = writers(rest)
    with one, two:
        one.goes_on()
        lost.power_cut()
        one.goes_on()
        two.goes_on()
        lost.start()
        lost.wait_ssh()
        takes_no_writes(lost)
        until_not("the database is one", lambda: one_galera(data.lab.heads))
        two.goes_on()
    # The others wait until it counts as lost, and tell no client of it.
    assert one.failed["sql"] == two.failed["sql"] == []
    assert one.lost() == two.lost() == []
    data.verify(DATA)


def takes_no_writes(head: LabHead) -> None:
    """See that a Redis that was the primary is somebody's replica from its first moment on."""
    login = ("redis-cli", "-h", head.address, "--no-auth-warning", "-a", REDIS_PASSWORD)

    def answers() -> bool:
        said = says(head, *login, "set", "stray", "1")
        assert not said.startswith("OK"), "a primary that was away takes writes"
        return said.startswith("READONLY")

    try:
        until("redis is up", answers)
    except AssertionError as error:
        told = says(head, "journalctl", "-u", "redis-server", "-o", "cat", "-n", "40")
        raise AssertionError(told) from error
    assert says(head, "cat", ROLE).startswith("replicaof")


def test_all_that_were_switched_off_come_up_from_the_last(data: Cluster) -> None:
    """It alone has what was written when the others were off."""
    *others, last = data.lab.heads
    switch_off(others)
    until("it serves alone", lambda: sql(last, f"REPLACE INTO {TABLE} VALUES (7)") == [])  # noqa: S608
    last.stop()
    boot(*data.lab.heads)
    assert [view for head in data.lab.heads if (view := galera(head)) and view.well] == []
    assert "is the first node: the most advanced" in data.run("2").err
    well(data)
    assert sql(others[0], SEVEN) == [["1"]]
    data.verify(DATA)


@all_of_it
def test_nobody_begins_while_one_is_off_that_may_hold_more(data: Cluster) -> None:
    *others, last = data.lab.heads
    switch_off(others)
    last.stop()
    boot(*others)
    refused = data.attempt("run", "2", "--host", HEADS, "--yes", "--allow-missing")
    assert refused.code == 6, refused.err
    assert "head3 may be running or have committed more" in refused.err
    assert [view for head in others if (view := galera(head)) and view.well] == []
    boot(last)
    data.run("2")
    well(data)


@all_of_it
def test_a_first_node_is_refused_beside_others(data: Cluster) -> None:
    """Whoever calls for it: what is asked of the heads is asked on the head itself as well."""
    head = data.lab.heads[1]
    head.run("systemctl", "stop", "mariadb")
    refused = head.run("timeout", "20", "sh", "/etc/mysql/sealift-first", check=False)
    assert refused.returncode != 0
    assert "this is not the first node" in says(head, "journalctl", "-u", "mariadb", "-o", "cat")
    # Nor does what was asked, and not carried out, count for the next start.
    head.run("sh", "-c", "echo 1 1 >/run/sealift-galera/first; systemctl start mariadb")
    until_not("the database is one", lambda: one_galera(data.lab.heads))


@all_of_it
def test_data_that_were_given_up_are_begun_anew(data: Cluster) -> None:
    """The packages stay if they were there before, and with them no table of MariaDB's own."""
    heads = data.lab.heads
    above = "2,4" if data.reached == len(PHASES) - 1 else "2"
    refused = data.attempt("undo", above, "--host", "head1", "--yes", "--yes-destroy", "databases")
    assert refused.code == 6, refused.err
    told = data.do("undo", above, "--host", HEADS, "--yes", "--yes-destroy", "databases")
    assert "remove all that lies in /var/lib/mysql" in told.out + told.err
    assert says(heads[0], "find", "/var/lib/mysql", "-name", "auth_portal") == ""
    data.run(above)
    well(data)
    sql(heads[0], f"CREATE TABLE {TABLE} (number INT PRIMARY KEY)")
    sql(heads[0], f"INSERT INTO {TABLE} VALUES (7)")  # noqa: S608


@all_of_it
def test_data_that_are_not_mounted_are_not_begun_anew(data: Cluster) -> None:
    heads = data.lab.heads
    at_once(lambda head: head.run("systemctl", "stop", "mariadb"), reversed(heads))
    for head in heads:
        head.run("sh", "-c", "mv /var/lib/mysql /var/lib/kept; install -d -o mysql /var/lib/mysql")
    refused = data.attempt("run", "2", "--host", HEADS, "--yes")
    assert refused.code == 6, refused.err
    assert "was in the cluster, and its data are gone" in refused.err
    for head in heads:
        head.run("sh", "-c", "rm -r /var/lib/mysql; mv /var/lib/kept /var/lib/mysql")
    data.run("2")
    well(data)


@all_of_it
def test_all_lost_their_power_and_come_back_by_themselves(data: Cluster) -> None:
    heads = data.lab.heads
    redis(heads[0], "set", "kept", "1")
    time.sleep(1.2)  # Redis puts on the disk what it has, once in a second.
    # Galera leaves it to the kernel when it writes with whom it is; that takes half a minute.
    at_once(lambda head: head.run("sync"), heads)
    at_once(LabHead.power_cut, heads)
    boot(*reversed(heads))
    well(data)
    assert redis(heads[1], "get", "kept") == "1"
    assert "nothing was changed" in data.run(DATA).err


@all_of_it
def test_settings_are_taken_one_head_after_the_other(data: Cluster) -> None:
    """With no write lost, and services that are led to the primary going on."""
    data.build(database={"connections": 150}, redis={"memory": "100M"})
    one, *_ = writers(data.lab.heads)
    with one:
        one.goes_on()
        data.run(DATA)
        one.goes_on()
    assert one.lost() == []
    assert sql(data.lab.heads[0], "SELECT @@max_connections") == [["150"]]
    data.build()
    data.run(DATA)


@all_of_it
def test_passwords_that_the_site_changes_are_taken(data: Cluster) -> None:
    data.site.sealift("secret", "generate", "AUTH_DB_PASSWORD", "--replace")
    plan = data.do("plan", DATA, "--host", HEADS)
    assert "give the user auth_portal the password AUTH_DB_PASSWORD" in plan.err + plan.out
    data.site.sealift("secret", "generate", "REDIS_PASSWORD", "--replace")
    data.run(DATA)
    data.verify(DATA)
    data.site.sealift("secret", "set", "REDIS_PASSWORD", given=f"{REDIS_PASSWORD}\n")
    data.run(DATA)
    well(data)


@all_of_it
def test_a_head_whose_disk_was_lost_gets_all_of_it_back(data: Cluster) -> None:
    lost = data.lab.heads[0]
    lost.power_cut()
    lost.wipe()
    boot(lost)
    data.run(f"0-{data.reached}")
    well(data)
    assert sql(lost, SEVEN) == [["1"]]


@all_of_it
def test_a_primary_without_data_makes_no_other_head_empty(data: Cluster) -> None:
    """Who was the primary comes back first and empty, and the others read their keys meanwhile."""
    heads = data.lab.heads
    redis(heads[0], "set", "kept", "2")
    time.sleep(1.2)
    lost = primary_of(heads)
    others = [head for head in heads if head is not lost]
    at_once(LabHead.power_cut, heads)
    boot(lost)
    lost.run("systemctl", "stop", "redis-server")
    lost.run("rm", "-r", f"{KEYS}/appendonlydir")
    lost.run("systemctl", "--no-block", "start", "redis-server")
    boot(*others)
    well(data)
    assert [redis(head, "get", "kept") for head in heads] == ["2", "2", "2"]


@all_of_it
def test_a_replica_whose_file_is_damaged_begins_without_it_and_keeps_it(data: Cluster) -> None:
    heads = data.lab.heads
    replica = next(head for head in heads if head is not primary_of(heads))
    replica.run("systemctl", "stop", "redis-server")
    replica.run("sh", "-c", f"cd {KEYS}/appendonlydir && {DAMAGE}")
    replica.run("timeout", "20", "systemctl", "start", "redis-server", check=False)
    until("it is put aside", lambda: "appendonlydir.torn" in says(replica, "ls", KEYS))
    well(data)
    data.verify("3")
    replica.run("sh", "-c", f"rm -r {KEYS}/appendonlydir.torn.*")


@all_of_it
def test_redis_may_be_a_cluster_of_its_own_kind(make_cluster: MakeCluster) -> None:
    """It comes together, and again when a head lost its power before all was on its disk."""
    cluster = make_cluster({"redis": {"mode": "cluster"}})
    cluster.run("0,3")
    head = cluster.lab.heads[0]
    head.power_cut()
    time.sleep(5.0)  # Others take over what was its own.
    boot(head)
    cluster.run("3")
    cluster.build(redis={"mode": "cluster", "memory": "64M"})
    cluster.run("3")
    cluster.verify("3")
    assert "nothing was changed" in cluster.run("3").err
