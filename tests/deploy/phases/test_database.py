"""A Galera cluster is brought up exactly once, from wherever it is, whoever dies meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.install.words import LONGEST
from deploy.phases import galera
from deploy.phases.database import DATABASES, apply, before_undo, check, undo, verify, well
from deploy.phases.errors import DatabaseRefusedError, PhaseError, QuorumError
from deploy.phases.galera_up import FIRST
from deploy.phases.mariadb import UNIT
from deploy.phases.phase import Kind
from deploy.phases.state import LAID
from store.errors import Error
from tests.deploy.phases.galera_world import HEADS, KilledError, Node, World, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.phase import Finding
    from tests.deploy.phases.fakes import FakeMember

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["start", "stop", "crash", "wipe"]), st.sampled_from(HEADS)),
        st.tuples(st.sampled_from(["commit", "all off", "all stopped"]), st.just("")),
        st.tuples(
            st.just("run"),
            st.sets(st.sampled_from(HEADS), max_size=1),
            st.one_of(st.none(), st.integers(1, 80)),
        ),
    ),
    max_size=12,
)


def up() -> World:
    world = World.of()
    apply(world.crew())
    world.commit()
    return world


def kinds(found: Sequence[Finding], kind: Kind) -> list[str]:
    return [f"{each.head}: {each.what}" for each in found if each.kind is kind]


def test_bare_heads_become_a_cluster_of_one_beginning() -> None:
    world = World.of()
    told = kinds(check(world.crew()), Kind.CHANGE)
    assert told[0].startswith("head1: be the first node")
    assert told[1:] == ["head2: join the cluster", "head3: join the cluster"]
    apply(world.crew())
    assert world.serving == set(HEADS)
    assert world.begun == ["head1"]
    assert verify(world.crew())[0] == "3 of 3 heads are in the cluster, and synced"
    assert check(world.verified()) == []


def test_a_second_run_starts_nothing() -> None:
    world = up()
    crew = world.verified()
    apply(crew)
    ran = [argv for member in crew.members for argv in member.ran]  # type: ignore[attr-defined]
    assert not [argv for argv in ran if argv[0] in ("systemctl", "/bin/sh")]


def test_all_stopped_in_order_come_up_from_the_last() -> None:
    world = up()
    for name in ("head3", "head1", "head2"):
        world.stop(name)
        world.commit()
    apply(world.verified())
    assert world.begun == ["head1", "head2"]
    assert world.serving == set(HEADS)
    assert world.wrong == []


def test_all_that_lost_power_and_are_on_again_find_each_other() -> None:
    world = up()
    world.crash(*HEADS)
    for name in HEADS:
        world.start(name)
    assert world.serving == set(HEADS)
    apply(world.verified())
    assert world.begun == ["head1"]


def test_what_committed_most_before_the_power_went_is_where_it_goes_on() -> None:
    world = up()
    world.crash("head1")
    world.commit()
    world.crash("head2", "head3")
    apply(world.verified())
    assert world.begun == ["head1", "head2"]
    assert world.wrong == []


def test_a_majority_that_waits_for_a_disk_that_is_lost_is_begun_anew() -> None:
    world = up()
    world.crash(*HEADS)
    world.wipe("head3")
    for name in HEADS:
        world.start(name)
    assert world.serving == set()
    apply(world.verified())
    assert world.serving == set(HEADS)
    assert world.begun == ["head1", "head1"]
    assert world.wrong == []


def test_nobody_begins_while_a_head_is_not_reached() -> None:
    world = up()
    for name in ("head1", "head2", "head3"):
        world.stop(name)
    crew = world.crew(missing=["head3"], state=LAID)
    (found,) = [each for each in check(crew) if each.kind is Kind.REFUSAL]
    assert found.slug == "unreachable"
    with pytest.raises(DatabaseRefusedError, match="head3 may be"):
        apply(crew)
    assert world.begun == ["head1"]


def test_a_head_that_is_not_reached_and_serves_is_what_the_others_would_have_split_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: with the check removed there are two clusters."""
    world = up()
    world.stop("head1")
    world.stop("head2")
    real = galera.decide
    careless = lambda nodes, _missing, **more: real(nodes, (), **more)  # noqa: E731
    monkeypatch.setattr(galera, "decide", careless)
    with suppress(Error):
        apply(world.crew(missing=["head3"], state=LAID))
    # The world lets no first node begin while another runs; on another machine nothing would.
    assert not world.wrong
    world.nodes["head3"].running = False
    with suppress(Error):
        apply(world.crew(missing=["head3"], state=LAID))
    assert "begins beside" in world.wrong[0]


def test_a_witness_that_holds_more_must_be_named() -> None:
    world = up()
    for name in ("head1", "head2", "head3"):
        world.stop(name)
        world.commit()
    crew = world.crew(witnesses=["head3"], state=LAID)
    (found,) = [each for each in check(crew) if each.kind is Kind.REFUSAL]
    assert (found.slug, found.hint) == ("head-needed", "name it too: --host head3")


def test_foreign_data_are_not_joined_away() -> None:
    world = World.of()
    world.nodes["head2"].foreign = True
    (found,) = [each for each in check(world.crew()) if each.kind is Kind.REFUSAL]
    assert found.slug == "foreign-data"
    with pytest.raises(DatabaseRefusedError):
        apply(world.crew())
    assert world.begun == []


def test_a_server_that_lets_root_in_by_a_password_alone_is_refused() -> None:
    world = up()
    world.nodes["head2"].denied = True
    (found,) = check(world.crew())
    assert (found.head, found.slug, found.kind) == ("head2", "wrong-password", Kind.REFUSAL)


def test_a_password_that_the_site_changed_is_given() -> None:
    world = up()
    world.made = rows(right=False)
    (found,) = check(world.verified())
    assert found.what == "give the user slurm the password SLURM_DB_PASSWORD"
    assert found.consequence
    apply(world.verified())
    assert world.made == rows()


@pytest.mark.parametrize("right", [True, False])
def test_a_user_of_a_head_that_was_taken_out_is_dropped(right: bool) -> None:  # noqa: FBT001
    """It would keep the password of that day."""
    world = up()
    world.made = rows(right=right) | {"user\tslurm\t10.0.0.9\t0"}
    found = check(world.verified())[-1]
    assert "drop the user slurm of 10.0.0.9" in found.what
    assert (found.kind, bool(found.consequence)) == (Kind.CHANGE, True)
    with pytest.raises(PhaseError) as told:
        verify(world.verified())
    assert "user slurm of 10.0.0.9" in str(told.value.got)
    apply(world.verified())
    assert world.made == rows()
    assert check(world.verified()) == []
    assert verify(world.verified())


def test_a_password_that_was_never_the_sites_is_refused() -> None:
    world = up()
    world.made = rows(right=False)
    (found,) = check(world.crew())
    assert (found.kind, found.slug) == (Kind.REFUSAL, "wrong-password")
    assert found.hint == "sealift secret set SLURM_DB_PASSWORD"


def test_a_database_of_nobody_is_refused() -> None:
    found = check(World.of().crew(ownerless=True))
    assert found[0].kind is Kind.REFUSAL
    assert "lost" in found[0].what


def test_settings_are_taken_one_head_after_the_other() -> None:
    world = up()
    for node in world.nodes.values():
        node.stale = "restart"
    crew = world.verified()
    apply(crew)
    assert [node.stale for node in world.nodes.values()] == ["", "", ""]
    assert world.begun == ["head1"]
    assert world.serving == set(HEADS)


def test_a_restart_may_take_as_long_as_stopping_and_joining() -> None:
    world = up()
    world.nodes["head1"].stale = "restart"
    world.join = 86_400
    crew = world.verified()
    apply(crew)
    head1 = cast("FakeMember", crew.members[0])
    limit = head1.limits[head1.ran.index(("systemctl", "restart", UNIT))]
    assert limit > crew.parameters["stop"] + crew.parameters["join"]
    assert limit < LONGEST


def test_no_head_is_taken_down_while_another_is_missing() -> None:
    world = up()
    world.nodes["head1"].stale = "restart"
    world.crash("head3")
    with pytest.raises(QuorumError):
        apply(world.crew(missing=["head3"], state=LAID))
    assert world.serving == {"head1", "head2"}


def test_undo_stops_the_first_last_and_keeps_data() -> None:
    world = up()
    undo(world.verified(), ())
    assert world.serving == set()
    assert [node.last for node in world.nodes.values()] == [True, False, False]
    assert all(node.history for node in world.nodes.values())
    apply(world.crew())
    assert world.begun == ["head1", "head1"]


def test_undo_gives_data_up_by_name_alone() -> None:
    world = up()
    assert before_undo(world.verified(), ()) == []
    told = [str(each) for each in before_undo(world.verified(), [DATABASES])]
    assert [each.kind for each in before_undo(world.verified(), [DATABASES])] == [
        Kind.IRREVERSIBLE
    ] * 3
    assert "remove all that lies in /var/lib/mysql" in told[0]
    assert world.serving == set(HEADS)
    undo(world.verified(), [DATABASES])
    assert not any(node.history for node in world.nodes.values())


def test_a_cluster_whose_data_were_given_up_is_begun_anew() -> None:
    world = up()
    undo(world.verified(), [DATABASES])
    world.made, world.words = set(), {}
    apply(world.crew())
    assert world.serving == set(HEADS)
    assert len(world.begun) == 2


@pytest.mark.parametrize("destroy", [(), (DATABASES,)])
def test_undo_gives_up_nothing_that_it_does_not_know(destroy: Sequence[str]) -> None:
    """A head that holds somebody else's databases keeps them, and all others run on."""
    world = up()
    world.stop("head3")
    world.nodes["head3"] = Node("head3", "10.0.0.3", foreign=True)
    found = [each for each in before_undo(world.crew(state=LAID), destroy) if each.head == "head3"]
    if destroy:
        assert [(each.kind, each.slug) for each in found] == [(Kind.REFUSAL, "foreign-data")]
        with pytest.raises(PhaseError, match="wordpress"):
            undo(world.crew(state=LAID), destroy)
        assert world.serving == {"head1", "head2"}
    else:
        undo(world.crew(state=LAID), destroy)
    assert world.nodes["head3"].foreign
    assert all(world.nodes[head].history for head in ("head1", "head2"))


def test_a_run_that_failed_does_not_make_heads_forget_that_there_was_a_cluster() -> None:
    """New settings were laid over a cluster that was verified; then no disk is mounted."""
    world = up()
    world.crash(*HEADS)
    for node in world.nodes.values():
        node.mounted = False
    (found,) = [each for each in check(world.crew(state=LAID)) if each.kind is Kind.REFUSAL]
    assert found.slug == "data-gone"
    with pytest.raises(DatabaseRefusedError):
        apply(world.crew(state=LAID))
    assert world.begun == ["head1"]


def test_one_mounted_disk_of_three_is_not_gone_on_from() -> None:
    world = up()
    world.crash("head1")
    world.commit()
    world.crash("head2", "head3")
    world.nodes["head2"].mounted = world.nodes["head3"].mounted = False
    with pytest.raises(DatabaseRefusedError, match="head2 and head3 was in the cluster"):
        apply(world.crew(state=LAID))
    assert world.begun == ["head1"]


@pytest.mark.parametrize("word", ["find", "cat"])
def test_a_disk_that_does_not_answer_is_not_an_empty_one(word: str) -> None:
    """The head that came furthest has it: what the others hold is not all."""
    world = up()
    world.crash("head3")
    world.stop("head2")
    world.commit()
    world.crash("head1")
    world.nodes["head1"].hangs = word
    for act in (check, apply):
        with pytest.raises(PhaseError, match="/var/lib/mysql on head1 cannot be looked at") as told:
            act(world.crew(state=LAID))
        assert told.value.where == "head1"
    assert (world.begun, world.wrong) == (["head1"], [])


def test_disks_that_none_answer_are_no_bare_heads() -> None:
    world = up()
    world.crash(*HEADS)
    for node in world.nodes.values():
        node.hangs = "find"
    with pytest.raises(PhaseError, match="cannot be looked at"):
        apply(world.crew(state=LAID))
    assert world.begun == ["head1"]


def test_what_cannot_be_looked_at_is_not_nothing_to_destroy() -> None:
    world = up()
    world.nodes["head2"].hangs = "find"
    with pytest.raises(PhaseError, match="on head2 cannot be looked at"):
        undo(world.verified(), [DATABASES])
    assert world.serving == set(HEADS)


def test_data_of_the_cluster_that_say_nothing_of_it_are_not_called_foreign() -> None:
    world = up()
    world.crash(*HEADS)
    world.nodes["head1"].torn = True
    (found,) = [each for each in check(world.crew(state=LAID)) if each.kind is Kind.REFUSAL]
    assert found.slug == "unknown-position"
    assert "head1 was in the cluster" in found.what
    with pytest.raises(DatabaseRefusedError):
        apply(world.crew(state=LAID))
    assert world.begun == ["head1"]


def test_servers_that_are_too_busy_to_answer_are_not_stopped() -> None:
    world = up()
    for node in world.nodes.values():
        node.busy = True
    (found,) = check(world.verified())
    assert (found.kind, found.slug) == (Kind.REFUSAL, "database-silent")
    assert "Too many connections" in found.what
    with pytest.raises(DatabaseRefusedError):
        apply(world.verified())
    assert world.serving == set(HEADS)


def test_servers_that_find_no_cluster_are_told_of_before_they_are_stopped() -> None:
    world = up()
    for name in ("head3", "head2", "head1"):
        world.stop(name)
    for name in HEADS:
        world.start(name)
    told = kinds(check(world.verified()), Kind.CHANGE)
    assert told[0] == "head1: stop mariadb.service, which finds no cluster"
    apply(world.verified())
    assert world.serving == set(HEADS)


def test_data_are_where_they_are_looked_at() -> None:
    world = World.of()
    world.options = {"datadir": "/srv/mysql"}
    (found,) = [each for each in check(world.crew()) if each.kind is Kind.REFUSAL]
    assert found.slug == "bad-parameter"


def test_a_cluster_is_well_if_all_its_heads_are_in_it() -> None:
    world = up()
    assert well(world.verified()) == ""
    world.crash("head2")
    assert "head2" in well(world.verified())


def test_what_is_not_read_everywhere_is_not_verified() -> None:
    world = up()
    world.words = _Deaf(dict.fromkeys(HEADS, "old"))
    with pytest.raises(PhaseError, match="does not read"):
        verify(world.verified())


def test_a_write_that_meets_another_heads_is_tried_again() -> None:
    world = up()
    world.meetings = 3
    assert "what is written on each head is read on all" in verify(world.verified())
    assert world.meetings == 0


def test_a_write_that_is_never_taken_is_told() -> None:
    world = up()
    world.meetings = 10_000
    with pytest.raises(PhaseError, match="a write on head1 is taken: not within") as raised:
        verify(world.verified())
    assert "ERROR 1205" in str(raised.value.got)


class _Deaf(dict[str, str]):
    def __setitem__(self, _key: str, _value: str) -> None:
        """Forget it."""


@pytest.mark.parametrize("state", ["bare", "stopped", "crashed"])
def test_an_operator_that_dies_anywhere_leaves_what_the_next_one_finishes(state: str) -> None:
    for at in range(1, 400):
        world = World.of() if state == "bare" else up()
        if state == "stopped":
            for name in HEADS:
                world.stop(name)
        if state == "crashed":
            world.crash(*HEADS)
        began = len(world.begun)
        world.kill_at = world.commands + at
        with suppress(KilledError):
            apply(world.crew(state=LAID))
        done = world.commands < world.kill_at
        world.kill_at = None
        apply(world.crew(state=LAID))
        assert world.wrong == []
        assert world.serving == set(HEADS)
        assert len(world.begun) == began + 1, f"killed at {at}"
        if done:
            return
    raise AssertionError("a run takes more commands than that")


@given(events=EVENTS)
@settings(max_examples=80, deadline=None)
def test_whatever_happens_there_is_one_cluster_with_all_that_was_committed(
    events: list[tuple[object, ...]],
) -> None:
    world = World.of()
    for event in events:
        happen(world, *event)
        assert world.wrong == []
    for name in HEADS:
        world.crash(name)
    apply(world.crew(state=LAID))
    assert world.serving == set(HEADS)
    assert world.wrong == []


def happen(world: World, what: object, *rest: object) -> None:
    match what, rest:
        case "start", (str(name),):
            # A head that is on starts what is enabled.
            if world.nodes[name].history:
                world.start(name)
        case ("stop" | "crash" | "wipe") as word, (str(name),):
            getattr(world, str(word))(name)
        case "commit", _:
            world.commit()
        case "all off", _:
            world.crash(*HEADS)
        case "all stopped", _:
            for name in HEADS:
                world.stop(name)
        case "run", (set() as missing, kill_at):
            world.kill_at = None if kill_at is None else world.commands + int(str(kill_at))
            with suppress(Error, KilledError):
                apply(world.crew(missing=sorted(missing), state=LAID))
            world.kill_at = None


def test_a_first_node_is_begun_by_the_script_that_asks_the_others_again() -> None:
    world = World.of()
    crew = world.crew()
    apply(crew)
    ran = crew.members[0].ran  # type: ignore[attr-defined]
    assert ("/bin/sh", FIRST) in ran
