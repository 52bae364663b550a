from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.phases.configuration import Configuration, File, Port, To, UnitWish
from deploy.phases.crew import Crew
from deploy.phases.phase import Finding, Kind
from deploy.phases.plan import Doing, PhasePlan, judge, settle
from deploy.phases.state import FileState, Record, Refusal, State, UnitState
from tests.deploy.phases.fakes import FakeMember
from tests.deploy.phases.grounds import change, refusal, units, wanted

UP = UnitState("active", "running", enabled=True)


def looked(state: State, *found: Finding, verified: bool = True, **facts: Any) -> PhasePlan:
    """Judge one head in a state against a configuration with these fields."""
    configuration = wanted("redis", "head1", 3, hosts=["head1"], **facts)
    return judge(
        crew(configuration, state),
        found,
        verified={"storage": {"head1": verified}},
        asked=["redis"],
    )


def crew(configuration: Configuration, state: State) -> Crew:
    return Crew(
        "redis",
        (FakeMember("head1"),),
        configurations={"head1": configuration},
        states={"head1": state},
    )


def verified(**facts: Any) -> State:
    """Return the state of a head where the phase was verified with what is wanted."""
    path = str(wanted("redis", "head1").path)
    return State(Record(path, "verified", 1.0, "me"), laid=True, **facts)


def texts(plan: PhasePlan) -> list[str]:
    return [each.what for each in plan.findings]


def test_what_is_as_it_should_be_is_unchanged() -> None:
    plan = looked(verified(units={"redis.service": UP}), units=units("redis.service"))
    assert plan.doing is Doing.NOTHING
    assert plan.findings == ()


def test_what_a_module_finds_counts() -> None:
    assert looked(verified(), change()).doing is Doing.RUN
    assert looked(verified(), Finding("", "x", Kind.NOTE)).doing is Doing.NOTHING


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State(), "lay it: all that it wants is there already"),
        (
            State(Record("/other", "verified", 1.0, "me"), laid=True),
            "take the new configuration, whose files are the same",
        ),
        (
            State(Record(str(wanted("redis", "head1").path), "laid", 1.0, "me"), laid=True),
            "finish it: it was laid, and not verified",
        ),
    ],
)
def test_what_is_only_written_down_differs(state: State, text: str) -> None:
    plan = looked(state)
    assert texts(plan) == [text]
    assert plan.doing is Doing.RUN


def test_packages_are_installed_or_upgraded() -> None:
    moved = {"redis": "7.0 → 7.2", "a": "absent → 1", "b": "absent → 1"}
    plan = looked(verified(packages=moved, units={"redis.service": UP}))
    install, upgrade = plan.changes
    assert install.what == "install a, b"
    assert upgrade.what == "upgrade redis 7.0 → 7.2"
    assert upgrade.consequence == "restarts redis.service, one head after the other: head1"


def test_many_packages_are_counted() -> None:
    plan = looked(State(packages={f"p{n}": "absent → 1" for n in range(9)}))
    assert texts(plan) == ["install 9 packages"]


def test_a_file_says_what_it_stirs_and_what_is_kept() -> None:
    file = File(
        path=Path("/etc/x"),
        source="root/etc/x",
        secret=None,
        markers=(),
        owner="root",
        group="root",
        mode=0o644,
        units=("redis.service",),
        reload=False,
    )
    found = FileState("/etc/x", "foreign", aside="/aside/x")
    plan = looked(verified(files=(found,), units={"redis.service": UP}), files=(file,))
    assert texts(plan) == ["replace /etc/x, which is not ours"]
    told = "what is there is kept as /aside/x; restarts redis.service"
    assert plan.findings[0].consequence == told
    assert plan.files == {"head1": (found,)}


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (UnitState("failed", enabled=True), "start redis.service, which is failed"),
        (
            UnitState("active", enabled=True, stale="restart"),
            "restart redis.service, which runs with what it had before",
        ),
        (
            UnitState("active", enabled=True, stale="reload"),
            "reload redis.service, which runs with what it had before",
        ),
        (UnitState("active"), "let redis.service start at boot"),
    ],
)
def test_units_that_are_not_as_wanted(unit: UnitState, text: str) -> None:
    wish = (UnitWish("redis.service", enabled=True),)
    assert texts(looked(verified(units={"redis.service": unit}), units=wish)) == [text]


def test_a_unit_that_must_not_start_at_boot() -> None:
    wish = (UnitWish("redis.service", enabled=False),)
    plan = looked(verified(units={"redis.service": UP}), units=wish)
    assert texts(plan) == ["keep redis.service from starting at boot"]


def test_what_the_head_refuses_is_a_refusal() -> None:
    plan = looked(State(refusals=(Refusal("uid-taken", "64001 is munin's", "move it"),)))
    assert [(each.slug, each.head, each.hint) for each in plan.refusals] == [
        ("uid-taken", "head1", "move it")
    ]


PORT = Port(6379, 6379, "tcp", To.PEERS, "redis.service")


def test_a_port_of_somebody_else_is_refused() -> None:
    plan = looked(State(listening={6379: "memcached"}), ports=(PORT,))
    assert [each.slug for each in plan.refusals] == ["port-taken"]
    assert "6379 is taken by memcached" in plan.refusals[0].what


def test_a_port_of_the_phase_itself_is_not() -> None:
    running = {"redis.service": UP}
    assert not looked(State(listening={6379: "redis"}, units=running), ports=(PORT,)).refusals
    assert not looked(verified(listening={6379: "redis"}), ports=(PORT,)).refusals


def test_what_comes_before_must_have_been_verified() -> None:
    plan = looked(verified(), verified=False, after=("storage",))
    assert [each.slug for each in plan.refusals] == ["phase-not-verified"]
    assert not looked(verified(), verified=True, after=("storage",)).refusals


def test_what_comes_before_may_be_in_the_same_run() -> None:
    configuration = wanted("redis", "head1", 3, hosts=["head1"], after=("storage",))
    plan = judge(
        crew(configuration, verified()),
        (),
        verified={"storage": {"head1": False}},
        asked=["storage", "redis"],
    )
    assert not plan.refusals


def test_a_witness_that_is_behind_is_told_and_not_changed() -> None:
    of = {name: wanted("redis", name, 3, hosts=["head1", "head2"]) for name in ("head1", "head2")}
    both = Crew(
        "redis",
        (FakeMember("head1"),),
        witnesses=(FakeMember("head2"),),
        configurations=of,
        states={"head1": verified(), "head2": State()},
    )
    plan = judge(both, (), verified={}, asked=["redis"])
    assert [(each.head, each.kind) for each in plan.findings] == [("head2", Kind.NOTE)]
    assert plan.doing is Doing.NOTHING


def phase(name: str, doing: Doing, *after: str) -> PhasePlan:
    return PhasePlan(name, 0, after, ("head1",), (), (), (), doing)


def test_what_stands_on_a_change_is_tried_again() -> None:
    plans = settle(
        [
            phase("storage", Doing.RUN),
            phase("redis", Doing.NOTHING),
            phase("slurm", Doing.NOTHING, "storage"),
        ]
    )
    assert [each.doing for each in plans] == [Doing.RUN, Doing.NOTHING, Doing.AGAIN]


def test_refusals_of_a_module_are_the_phases() -> None:
    assert looked(verified(), refusal()).refusals == (refusal(),)
