"""A Redis Cluster comes together from whatever part of it there is, and never out of two."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.phases.replication import Answer
from deploy.phases.slots import (
    DONE,
    SLOTS,
    Command,
    Entry,
    Instance,
    Pair,
    homewards,
    instance,
    key_in,
    leave,
    slot,
    step,
)
from tests.deploy.phases.slots_world import PLACES, WANTED, Cluster, head_of

SAID = """\
OK
cluster_state:ok
cluster_slots_assigned:16384
# Replication
role:slave
master_link_status:up
45d 10.0.0.2:6379@16379 master - 0 1795448253376 2 connected 5461-10921 [7->-df2]
df2 10.0.0.1:6379@16379,host master,fail? - 0 1795448253376 1 connected 0-5460 16000
b1e 10.0.0.1:6380@16380 myself,slave 45d 0 1795448247000 2 connected
"""


def together() -> Cluster:
    cluster = Cluster()
    cluster.come_together()
    return cluster


def test_all_slots_are_spread_and_no_copy_is_on_the_head_of_its_keys() -> None:
    assert [pair.first for pair in WANTED] == [0, 5461, 10922]
    assert WANTED[-1].last == SLOTS - 1
    for pair in WANTED:
        assert head_of(pair.home) != head_of(pair.copy)


def test_instances_come_together() -> None:
    cluster = together()
    assert sum(len(each) for each in cluster.slots.values()) == SLOTS
    assert cluster.of == {pair.copy: pair.home for pair in WANTED}


@pytest.mark.parametrize(
    ("words", "has"),
    [
        ("0-99999999999", SLOTS),
        ("16000-99999999999999999999999999", 0),
        ("5-3", 0),
        ("\u00b2", 0),
        ("1-\u00b2", 0),
        ("99999", 0),
        ("7", 1),
    ],
)
def test_slots_that_there_cannot_be_are_left_out(words: str, has: int) -> None:
    """Whatever a head says: it is no number without end, and no error of this program."""
    said = f"cluster_state:ok\nb1e 10.0.0.1:6379@16379 myself,master - 0 0 2 connected {words}\n"
    assert len(instance("head1", "10.0.0.1:6379", said).slots) == has


@given(at=st.integers(0, 30))
@settings(max_examples=10, deadline=None)
def test_what_was_cut_off_goes_on(at: int) -> None:
    cluster = Cluster()
    cluster.come_together(at_most=at)
    cluster.come_together()
    assert cluster.slots == together().slots
    assert cluster.of == together().of


def test_a_copy_that_forgot_what_it_is_becomes_one_again() -> None:
    cluster = together()
    pair = WANTED[0]
    del cluster.of[pair.copy]
    cluster.keys.add(pair.copy)
    now = step(cluster.look(), WANTED)
    assert [each.text for each in now.commands] == ["FLUSHALL", f"CLUSTER REPLICATE id-{pair.home}"]
    cluster.come_together()


def test_keys_of_two_clusters_are_not_made_one() -> None:
    cluster = Cluster()
    for pair in WANTED[:2]:
        cluster.slots[pair.home] = set(range(pair.first, pair.last + 1))
    assert "keys of two clusters" in step(cluster.look(), WANTED).refused
    cluster.do(Command(WANTED[0].home, "CLUSTER MEET 10.0.0.2 6379"))
    assert not step(cluster.look(), WANTED).refused


def test_who_lost_all_is_met_again_and_what_it_was_is_forgotten() -> None:
    cluster = together()
    found = list(cluster.look())
    gone = Entry("old", PLACES[1], frozenset({"master", "fail"}))
    found[0] = Instance(
        found[0].head, found[0].place, Answer.WELL, entries=(*found[0].entries, gone)
    )
    assert step(found, WANTED).commands == (Command(PLACES[0], "CLUSTER FORGET old"),)


def test_nothing_is_done_while_one_does_not_answer_or_is_not_reached() -> None:
    found = together().look()
    silent = Instance("head3", found[-1].place)
    assert "does not answer" in step([*found[:-1], silent], WANTED).why
    assert "cannot be reached" in step(found[:-1], WANTED).why


def test_a_head_leaves_its_primaries_to_the_copies_and_gets_them_back() -> None:
    cluster = together()
    pair = WANTED[0]
    assert leave("head1", cluster.look(), WANTED) == (Command(pair.copy, "CLUSTER FAILOVER"),)
    cluster.slots[pair.copy], cluster.slots[pair.home] = cluster.slots[pair.home], set()
    cluster.of[pair.home] = pair.copy
    del cluster.of[pair.copy]
    assert leave("head1", cluster.look(), WANTED) == ()
    assert homewards(cluster.look(), WANTED) == (Command(pair.home, "CLUSTER FAILOVER"),)
    assert step(cluster.look(), WANTED) == DONE


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"linked": False}, "is not up to date"),
        ({"well": False}, "says that the cluster is not well"),
    ],
)
def test_what_is_not_well_is_waited_for(change: dict[str, bool], told: str) -> None:
    found = list(together().look())
    copy = found[1]
    facts = {"well": True, "linked": True, **change}
    found[1] = Instance(copy.head, copy.place, Answer.WELL, **facts, entries=copy.entries)
    assert told in step(found, WANTED).why


def test_what_an_instance_says_is_read() -> None:
    found = instance("head1", "10.0.0.1:6380", SAID)
    assert (found.answer, found.well, found.linked) == (Answer.WELL, True, True)
    assert found.own == Entry("b1e", "10.0.0.1:6380", frozenset({"myself", "slave"}), "45d")
    assert len(found.entries[0].slots) == 10921 - 5461 + 1
    assert 16000 in found.entries[1].slots
    assert not found.entries[1].alive
    assert not found.primary


@pytest.mark.parametrize("said", ["", "OK\n", "OK\nERR This instance has cluster support disabled"])
def test_who_is_in_no_cluster_is_silent(said: str) -> None:
    assert instance("head1", "10.0.0.1:6379", said).answer is Answer.SILENT


@pytest.mark.parametrize(("key", "number"), [("123456789", 12739), ("foo", 12182), ("", 0)])
def test_slots_of_keys_are_those_of_the_specification(key: str, number: int) -> None:
    assert slot(key) == number


@pytest.mark.parametrize("pair", WANTED)
def test_a_key_is_found_for_each_pair(pair: Pair) -> None:
    assert pair.first <= slot(key_in(pair, "sealift")) <= pair.last
