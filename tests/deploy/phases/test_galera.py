"""Who may be the first node of a Galera cluster, and who never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.phases.galera import Decision, Do, apart, decide
from deploy.phases.galera_node import (
    NO_HISTORY,
    UNKNOWN,
    Disk,
    Holds,
    Live,
    Node,
    disk,
    live,
    recovered,
)

ONE, OTHER = "11111111" + NO_HISTORY[8:], "22222222" + NO_HISTORY[8:]
ADDRESSES = {"head1": "10.0.0.1", "head2": "10.0.0.2", "head3": "10.0.0.3"}
GRASTATE = """\
# GALERA saved state
version: 2.1
uuid:    06a4943c-e751-11f1-9167-ca6143ea035b
seqno:   11
safe_to_bootstrap: 1
"""
STATUS = {
    "wsrep_cluster_state_uuid": ONE,
    "wsrep_cluster_status": "Primary",
    "wsrep_connected": "ON",
    "wsrep_incoming_addresses": "10.0.0.1:3306,10.0.0.2:3306",
    "wsrep_last_committed": "3",
    "wsrep_local_state": "4",
    "wsrep_ready": "ON",
}


def held(position: int = 5, history: str = ONE, *, last: bool = False, view: bool = False) -> Disk:
    return Disk(Holds.HISTORY, history, position, last=last, view=view)


def off(head: str, disk: Disk | None = None, *, ours: bool = True) -> Node:
    return Node(head, ADDRESSES[head], ours=ours, disk=disk or Disk())


def lost(head: str, disk: Disk, *, ours: bool = True) -> Node:
    """Return a node that runs, and serves in no cluster."""
    return Node(head, ADDRESSES[head], ours=ours, running=True, disk=disk)


def serves(head: str, *peers: str, history: str = ONE, position: int = 9) -> Node:
    addresses = frozenset(ADDRESSES[each] for each in (head, *peers))
    said = Live(True, True, history, position, addresses)  # noqa: FBT003
    return Node(head, ADDRESSES[head], running=True, live=said, disk=held(UNKNOWN, history))


def decided(*nodes: Node, missing: tuple[str, ...] = (), **options: bool) -> Decision:
    return decide(nodes, missing, **{"waited": False, **options})


def test_the_first_head_begins_where_none_holds_anything() -> None:
    found = decided(off("head1"), off("head2"), off("head3"))
    assert (found.do, found.heads) == (Do.BOOTSTRAP, ("head1",))


def test_nobody_begins_while_a_head_was_not_reached() -> None:
    """Unreachable is not absent: it may serve, or hold more."""
    found = decided(off("head1"), off("head2"), missing=("head3",))
    assert (found.do, found.slug) == (Do.REFUSE, "unreachable")
    assert "head3" in found.reason
    assert found.hint is not None
    assert "cluster.hosts" in found.hint


def test_a_head_that_was_not_reached_keeps_nobody_from_joining() -> None:
    found = decided(serves("head1"), off("head2"), missing=("head3",))
    assert (found.do, found.heads) == (Do.JOIN, ("head2",))


def test_the_most_advanced_begins() -> None:
    found = decided(off("head1", held(58)), off("head2", held(60)), off("head3", held(59)))
    assert (found.do, found.heads) == (Do.BOOTSTRAP, ("head2",))
    assert "head2 60" in found.reason


def test_of_equals_it_is_the_one_that_stopped_last() -> None:
    found = decided(off("head1", held(5)), off("head2", held(5, last=True)))
    assert found.heads == ("head2",)


def test_positions_that_nobody_wrote_down_are_found_out_first() -> None:
    found = decided(off("head1", held(UNKNOWN)), off("head2", held(60)), off("head3"))
    assert (found.do, found.heads) == (Do.RECOVER, ("head1",))


def test_a_head_without_data_never_begins_where_another_has_some() -> None:
    found = decided(off("head1"), off("head2", held(1)))
    assert (found.do, found.heads) == (Do.BOOTSTRAP, ("head2",))


def test_nodes_that_remember_each_other_get_their_time_and_are_stopped_then() -> None:
    nodes = [lost(each, held(UNKNOWN, view=True)) for each in ADDRESSES]
    assert decided(*nodes).do is Do.WAIT
    found = decided(*nodes, waited=True)
    assert (found.do, found.heads) == (Do.STOP, ("head1", "head2", "head3"))


def test_nodes_that_were_stopped_in_order_are_not_waited_for() -> None:
    assert decided(lost("head1", held(UNKNOWN)), off("head2", held(7))).do is Do.STOP


def test_all_that_serve_are_kept_and_one_that_comes_is_waited_for() -> None:
    assert decided(serves("head1", "head2"), serves("head2", "head1")).do is Do.KEEP
    coming = lost("head2", held(UNKNOWN))
    found = decided(serves("head1"), coming)
    assert (found.do, found.heads) == (Do.WAIT, ("head2",))


@pytest.mark.parametrize(
    ("nodes", "slug"),
    [
        ([off("head1", held(5)), off("head2", held(9, OTHER))], "two-histories"),
        ([off("head1", held(5, last=True)), off("head2", held(5, last=True))], "two-histories"),
        ([off("head1", held(5, last=True)), off("head2", held(6))], "two-histories"),
        ([serves("head1"), off("head2", held(3, OTHER))], "two-histories"),
        ([serves("head1", position=9), off("head2", held(10))], "two-histories"),
        ([serves("head1"), serves("head2")], "two-primaries"),
        ([off("head1", Disk(Holds.FOREIGN)), off("head2")], "foreign-data"),
        ([serves("head1"), off("head2", Disk(Holds.FOREIGN))], "foreign-data"),
        ([off("head1", Disk(Holds.BROKEN)), off("head2")], "unknown-position"),
        ([off("head1", Disk(Holds.TORN)), off("head2", held(5))], "unknown-position"),
        ([serves("head1"), off("head2", Disk(Holds.TORN))], "unknown-position"),
        ([off("head1", held(5)), off("head2", held(6), ours=False)], "head-needed"),
        ([off("head1", held(5)), off("head2", held(UNKNOWN), ours=False)], "head-needed"),
        ([off("head1"), lost("head2", held(UNKNOWN), ours=False)], "head-needed"),
        ([off("head1", ours=False)], "head-needed"),
    ],
)
def test_what_is_in_doubt_is_refused(nodes: list[Node], slug: str) -> None:
    found = decided(*nodes)
    assert (found.do, found.slug) == (Do.REFUSE, slug)
    assert found.hint


def began(node: Node) -> Node:
    return replace(node, began=True)


def test_a_cluster_that_was_is_not_begun_anew_without_a_word() -> None:
    found = decided(off("head1"), began(off("head2")))
    assert (found.do, found.slug) == (Do.REFUSE, "data-gone")
    assert "head2 was in the cluster" in found.reason


def test_nobody_goes_on_without_data_that_may_have_gone_further() -> None:
    """As of heads of which one alone has its disk mounted."""
    gone = began(off("head2"))
    found = decided(off("head1", held(5)), gone)
    assert (found.do, found.slug) == (Do.REFUSE, "data-gone")
    # One that Galera says was the last has all; so has a cluster that serves.
    assert decided(off("head1", held(5, last=True)), gone).heads == ("head1",)
    assert decided(serves("head1"), gone).do is Do.JOIN


def test_a_node_that_takes_clients_and_is_silent_is_never_stopped() -> None:
    """It may serve: too many clients, or too slow for the one that asked."""
    silent = replace(lost("head2", held(UNKNOWN, view=True)), ready=True, said="ERROR 1040")
    for waited in (False, True):
        found = decided(off("head1", held(5)), silent, waited=waited)
        assert (found.do, found.slug) == (Do.REFUSE, "database-silent")
        assert "head2: ERROR 1040" in found.reason


def test_a_node_that_is_silent_beside_one_that_serves_is_waited_for() -> None:
    silent = replace(lost("head2", held(UNKNOWN)), ready=True)
    assert decided(serves("head1"), silent).do is Do.WAIT


def test_a_node_that_answers_that_it_does_not_serve_is_stopped() -> None:
    alone = Live(False, False, ONE)  # noqa: FBT003
    node = replace(lost("head1", held(UNKNOWN)), ready=True, live=alone)
    assert decided(node, off("head2", held(7))).do is Do.STOP


def test_broken_data_come_back_from_another_head() -> None:
    found = decided(off("head1", Disk(Holds.BROKEN)), off("head2", held(7)))
    assert (found.do, found.heads) == (Do.BOOTSTRAP, ("head2",))
    assert decided(serves("head2"), off("head1", Disk(Holds.BROKEN))).do is Do.JOIN


def test_a_cluster_that_changes_is_not_taken_for_two() -> None:
    assert not apart([serves("head1", "head2"), serves("head2")])
    assert apart([serves("head1"), serves("head2")])


def test_what_galera_writes_down_is_read() -> None:
    found = disk(GRASTATE, ["mysql", "sys", "slurm_acct_db", "gvwstate.dat"])
    assert found == Disk(
        Holds.HISTORY, "06a4943c-e751-11f1-9167-ca6143ea035b", 11, last=True, view=True
    )


@pytest.mark.parametrize(
    ("state", "names", "holds"),
    [
        ("", [], Holds.NOTHING),
        ("", ["mysql", "performance_schema", "sys", "#rocksdb", ".sst"], Holds.NOTHING),
        ("", ["mysql", "wordpress"], Holds.FOREIGN),
        ("version: 2.1\nseqno: 7\n", ["mysql", "wordpress"], Holds.FOREIGN),
        (f"uuid: {NO_HISTORY}\nseqno: -1\n", ["mysql", "slurm_acct_db"], Holds.BROKEN),
        (f"uuid: {NO_HISTORY}\nseqno: -1\n", ["mysql", "gvwstate.dat"], Holds.NOTHING),
    ],
)
def test_a_data_directory_is_known_by_what_is_in_it(
    state: str, names: list[str], holds: Holds
) -> None:
    assert disk(state, names).holds is holds


@pytest.mark.parametrize(
    ("state", "names", "holds"),
    [
        ("", [], Holds.NOTHING),
        ("", ["mysql", "slurm_acct_db"], Holds.TORN),
        ("version: 2.1\nseqno: 7\n", ["slurm_acct_db"], Holds.TORN),
        (f"uuid: {NO_HISTORY}\nseqno: -1\n", ["slurm_acct_db"], Holds.BROKEN),
    ],
)
def test_data_of_a_node_that_was_in_a_cluster_are_not_foreign(
    state: str, names: list[str], holds: Holds
) -> None:
    assert disk(state, names, began=True).holds is holds


def test_a_node_that_serves_is_not_refused_for_what_it_wrote_down() -> None:
    assert decided(replace(serves("head1"), disk=Disk(Holds.TORN))).do is Do.KEEP


@pytest.mark.parametrize("text", ["", "uuid: x", "seqno: many", "\0\0\0\0"])
def test_a_state_that_says_nothing_is_no_history_of_some_position(text: str) -> None:
    assert disk(text, []).position == UNKNOWN


def test_a_node_that_runs_is_asked() -> None:
    found = live(STATUS)
    assert found == Live(True, True, ONE, 3, frozenset({"10.0.0.1", "10.0.0.2"}))  # noqa: FBT003


@pytest.mark.parametrize(
    ("name", "value"),
    [("wsrep_cluster_status", "non-Primary"), ("wsrep_connected", "OFF")],
)
def test_a_node_without_a_majority_does_not_serve(name: str, value: str) -> None:
    assert not live({**STATUS, name: value}).primary


@pytest.mark.parametrize(("name", "value"), [("wsrep_local_state", "2"), ("wsrep_ready", "OFF")])
def test_a_node_that_lags_is_not_synced(name: str, value: str) -> None:
    assert not live({**STATUS, name: value}).synced


def test_the_last_position_that_recovery_tells_is_the_one() -> None:
    log = f"[Note] WSREP: Recovered position: {ONE}:3\n[Note] WSREP: Recovered position: {ONE}:6\n"
    assert recovered(log) == (ONE, 6)
    assert recovered("InnoDB: corrupted") is None
