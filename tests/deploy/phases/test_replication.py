"""Who is the primary of Redis, and what is wrong with what its Sentinels and replicas say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.phases.replication import (
    Answer,
    Server,
    View,
    Watch,
    answered,
    behind,
    fault,
    order,
    server,
    watch,
)

ADDRESSES = {"head1": "10.0.0.1", "head2": "10.0.0.2", "head3": "10.0.0.3"}
PRIMARY = """\
OK
# Replication
role:master
connected_slaves:2
min_slaves_good_slaves:2
slave0:ip=10.0.0.3,port=6379,state=online,offset=428,lag=0
slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0
master_failover_state:no-failover
master_repl_offset:428
"""
REPLICA = """\
OK
# Replication
role:slave
master_host:10.0.0.1
master_port:6379
master_link_status:up
slave_repl_offset:420
connected_slaves:0
"""
SENTINEL = """\
OK
name
mymaster
ip
10.0.0.1
port
6379
flags
s_down,o_down,master
config-epoch
7
num-slaves
2
num-other-sentinels
1
"""


def first(head: str = "head1", *replicas: str) -> Server:
    following = frozenset(ADDRESSES[each] for each in replicas)
    return Server(head, ADDRESSES[head], Answer.WELL, primary=True, replicas=following)


def follows(head: str, of: str = "head1", *, linked: bool = True) -> Server:
    return Server(head, ADDRESSES[head], Answer.WELL, of=ADDRESSES[of], linked=linked)


def says(head: str, primary: str = "head1", **more: object) -> Watch:
    found = Watch(head, Answer.WELL, ADDRESSES[primary], others=2, replicas=2)
    return replace(found, **more)  # type: ignore[arg-type]


def view(*servers: Server, watches: tuple[Watch, ...] | None = None) -> View:
    return View(
        servers or (first("head1", "head2", "head3"), follows("head2"), follows("head3")),
        tuple(map(says, ADDRESSES)) if watches is None else watches,
        expected=3,
        names={address: head for head, address in ADDRESSES.items()},
    )


def test_one_primary_with_all_others_behind_it_is_well() -> None:
    assert fault(view()) == ""
    assert view().primary == "10.0.0.1"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (view(first(), Server("head2", "10.0.0.2")), "Redis on head2 does not answer"),
        (
            view(first(), Server("head2", "10.0.0.2", Answer.LOCKED)),
            "Redis on head2 wants another password",
        ),
        (view(Server("head1", "10.0.0.1", Answer.LOADING)), "Redis on head1 still reads its data"),
        (view(first(), first("head2")), "head1 and head2 both take themselves for the primary"),
        (view(follows("head2"), follows("head3")), "no head is the primary"),
        (view(first("head2"), follows("head1", "head2")), "head2 is not the primary any more"),
        (
            view(first("head1", "head2"), follows("head2"), follows("head3", "head2")),
            "head3 follows head2, which is not the primary",
        ),
        (
            view(
                first("head1", "head2", "head3"), follows("head2"), follows("head3", linked=False)
            ),
            "head3 is not up to date",
        ),
        (
            view(first("head1", "head2"), follows("head2"), follows("head3")),
            "head3 is not up to date",
        ),
        (
            view(watches=(says("head1"), says("head2", "head2"))),
            "Sentinels do not agree on the primary (head1: head1, head2: head2)",
        ),
        (view(watches=(says("head1"), Watch("head2"))), "Sentinel on head2 does not answer"),
        (view(watches=(says("head1", down=True),)), "takes the primary for down"),
        (view(watches=(says("head1", others=1),)), "knows 1 of 2 others"),
        (view(watches=(says("head1", replicas=0),)), "knows 0 of 2 replicas"),
    ],
)
def test_what_is_not_well_is_told(found: View, told: str) -> None:
    assert told in fault(found)


def test_the_primary_is_restarted_last() -> None:
    assert order(["head1", "head2", "head3"], view()) == ("head2", "head3", "head1")
    assert order(["head1", "head2"], View(())) == ("head1", "head2")


def test_a_replica_that_lacks_something_is_behind() -> None:
    has = replace(first(), offset=9)
    late = replace(follows("head2"), offset=8)
    assert behind([has, late]) == "head2 lacks what the primary has"
    assert behind([has, replace(late, offset=9), replace(late, offset=12)]) == ""


def test_who_wants_another_password_is_named_once() -> None:
    found = view(
        Server("head1", "", Answer.LOCKED), watches=(Watch("head1", Answer.LOCKED), says("head2"))
    )
    assert found.locked == ("head1",)


def test_what_a_primary_says_is_read() -> None:
    found = server("head1", "10.0.0.1", PRIMARY.replace("\n", "\r\n"))
    assert found.primary
    assert found.offset == 428
    assert found.replicas == frozenset({"10.0.0.3"})


def test_what_a_replica_says_is_read() -> None:
    found = server("head2", "10.0.0.2", REPLICA)
    assert (found.primary, found.of, found.linked, found.offset) == (False, "10.0.0.1", True, 420)


def test_what_a_sentinel_says_is_read() -> None:
    found = watch("head1", SENTINEL)
    assert found == Watch("head1", Answer.WELL, "10.0.0.1", down=True, others=1, replicas=2)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("", Answer.SILENT),
        ("Could not connect to Redis at 10.0.0.1:6379: Connection refused", Answer.SILENT),
        ("NOAUTH Authentication required.", Answer.LOCKED),
        ("WRONGPASS invalid username-password pair or user is disabled.", Answer.LOCKED),
        ("ERR AUTH <password> called without any password configured", Answer.LOCKED),
        ("LOADING Redis is loading the dataset in memory", Answer.LOADING),
        ("OK", Answer.WELL),
    ],
)
def test_how_somebody_took_being_asked(said: str, answer: Answer) -> None:
    assert answered(said) is answer
    if answer is not Answer.WELL:
        assert server("head1", "10.0.0.1", said).answer is answer
        assert watch("head1", said).answer is answer


@pytest.mark.parametrize("said", ["OK\n", "OK\nERR unknown command\n", "OK\nname\nmymaster\n"])
def test_who_answers_and_says_nothing_is_silent(said: str) -> None:
    assert server("head1", "10.0.0.1", said).answer is Answer.SILENT
    assert watch("head1", said).answer is Answer.SILENT


@pytest.mark.parametrize("number", ["²", "-1", "", "9" * 30])
def test_a_number_that_is_none_counts_as_nothing(number: str) -> None:
    said = f"role:master\nmaster_repl_offset:{number}\n"
    assert server("head1", "10.0.0.1", said).offset == 0
