from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import HeadLostError
from deploy.phases.configuration import Port, To
from deploy.phases.course import Stage
from deploy.phases.errors import (
    PhaseError,
    PhasesPartialError,
    PhasesRefusedError,
    PhasesStoppedError,
    QuorumError,
)
from deploy.phases.firewall import WANTED
from deploy.phases.phase import Kind
from deploy.phases.plan import Doing
from deploy.phases.run import Run
from deploy.phases.state import FileState, Refusal, State, UnitState
from deploy.team import StoppedError
from store.errors import Error
from tests.deploy.phases.grounds import HEADS, Scene, change, refusal, scene, wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.phase import Finding
    from deploy.phases.plan import Plan
    from deploy.phases.run import Done


def go(found: Scene, *asked: str, agree: bool = True, **options: Any) -> tuple[Done, list[Plan]]:
    shown: list[Plan] = []
    run = Run(found.ground(*asked, **options), shown.append, lambda: agree)
    return run.go(), shown


def test_phases_are_laid_applied_enabled_verified_and_recorded_in_order() -> None:
    found = scene("storage", "redis")
    done, _ = go(found)
    assert found.log("head2") == [
        "lay storage +redis",
        "enable storage",
        "verified storage",
        "lay redis",
        "enable redis",
        "verified redis",
    ]
    assert found.phases["storage"].done == ["check", "apply", "verify"]
    assert set(done.stages.values()) == {Stage.VERIFIED}
    assert done.tried == {"storage": ("storage works",), "redis": ("redis works",)}
    assert done.changed


def test_a_second_run_changes_nothing_and_tries_nothing_again() -> None:
    found = scene("storage", "redis")
    go(found)
    before = {head: list(found.log(head)) for head in HEADS}
    done, shown = go(found, agree=False)
    assert not done.changed
    assert not shown[0].changes
    assert {head: found.log(head) for head in HEADS} == before
    assert found.phases["redis"].done == ["check", "apply", "verify", "check"]


def test_a_refusal_of_any_phase_keeps_all_from_being_touched() -> None:
    found = scene("storage", "redis", "slurm")
    found.phases["slurm"].findings = [refusal("port 6817 is taken", "head3", slug="port-taken")]
    with pytest.raises(PhasesRefusedError, match="port 6817") as caught:
        go(found)
    assert caught.value.exit_code == 6
    assert caught.value.slug == "port-taken"
    assert caught.value.hint == "do something"
    assert not any(found.log(head) for head in HEADS)


def test_what_a_check_cannot_tell_is_a_refusal() -> None:
    found = scene("storage")
    found.phases["storage"].fails.add("check")
    with pytest.raises(PhasesRefusedError, match="check does not work"):
        go(found)


def test_nothing_is_done_without_agreement() -> None:
    found = scene("storage")
    with pytest.raises(PhasesStoppedError) as caught:
        go(found, agree=False)
    assert caught.value.exit_code == 130
    assert not any(found.log(head) for head in HEADS)


def test_the_first_failure_ends_the_run_with_the_state_of_every_head() -> None:
    found = scene("storage", "redis", "slurm")
    found.phases["redis"].fails.add("apply")
    with pytest.raises(PhasesPartialError, match="redis: apply does not work") as caught:
        go(found)
    error = caught.value
    assert error.exit_code == 4
    assert error.lines == (
        "storage: head[1-3] verified",
        "redis: head[1,3] begun; head2 failed",
        "slurm: head[1-3] not begun",
    )
    assert error.heads["head2"] == "storage verified, redis failed, slurm not begun"
    assert error.hint == "mend it; then: sealift phase run 0-2 --host head[1-3]"
    assert not any("slurm" in line for line in found.log("head1") if line.startswith("verified"))


def test_a_run_that_stopped_goes_on_from_there() -> None:
    found = scene("storage", "redis")
    found.phases["redis"].fails.add("verify")
    with pytest.raises(PhasesPartialError):
        go(found)
    found.phases["redis"].fails.clear()
    done, shown = go(found)
    assert [each.doing for each in shown[0].phases] == [Doing.NOTHING, Doing.RUN]
    assert done.stages == {"storage": Stage.UNCHANGED, "redis": Stage.VERIFIED}
    assert found.log("head1").count("verified storage") == 1


def test_what_did_not_pass_its_trial_is_not_recorded() -> None:
    found = scene("storage")
    found.phases["storage"].fails.add("verify")
    with pytest.raises(PhasesPartialError):
        go(found)
    assert not any("verified" in line for line in found.log("head1"))


def test_a_head_that_is_lost_while_it_is_laid() -> None:
    found = scene("storage")

    def lost(*_: object) -> None:
        raise HeadLostError("head3 is silent", where="head3")

    found.members["head3"].lay = lost  # type: ignore[method-assign,assignment]
    with pytest.raises(PhasesPartialError) as caught:
        go(found)
    assert caught.value.heads["head3"] == "storage failed"
    assert caught.value.heads["head1"] == "storage begun"


def test_the_operator_stops_between_two_steps() -> None:
    found = scene("storage", "redis")

    def apply(crew: object) -> None:
        del crew
        found.stopping.asked = True

    found.phases["storage"].apply = apply  # type: ignore[method-assign]
    with pytest.raises(PhasesStoppedError) as caught:
        go(found)
    assert caught.value.lines[0] == "storage: head[1-3] begun"
    assert "sealift phase run" in (caught.value.hint or "")
    assert "enable storage" not in found.log("head1")


def test_a_bug_too_says_what_each_head_has_reached() -> None:
    found = scene("storage", "redis")

    def apply(crew: object) -> None:
        raise ZeroDivisionError(crew)

    found.phases["redis"].apply = apply  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError) as caught:
        go(found)
    note = "".join(caught.value.__notes__)
    assert "storage: head[1-3] verified\nredis: head[1-3] laid" in note
    assert "sealift phase run 0-1 --host head[1-3]" in note


def test_what_stands_on_a_change_is_tried_again_and_not_laid() -> None:
    found = scene("storage", "redis")
    go(found)
    found.phases["storage"].findings = [change()]
    done, _ = go(found)
    assert done.stages == {"storage": Stage.VERIFIED, "redis": Stage.UNCHANGED}
    assert found.phases["redis"].done[-2:] == ["check", "verify"]
    assert found.log("head1").count("lay redis") == 1


def test_what_does_not_work_any_more_after_a_change_is_told() -> None:
    found = scene("storage", "redis")
    go(found)
    found.phases["storage"].findings = [change()]
    found.phases["redis"].fails.add("verify")
    with pytest.raises(PhasesPartialError, match="redis") as caught:
        go(found)
    assert caught.value.heads["head1"] == "storage verified, redis not well"
    found.phases["storage"].findings = []
    found.phases["redis"].fails.clear()
    done, _ = go(found)
    assert done.stages == {"storage": Stage.UNCHANGED, "redis": Stage.VERIFIED}


def test_witnesses_are_looked_at_and_not_changed() -> None:
    found = scene("storage")
    go(found, heads=["head1"])
    assert "lay storage" in found.log("head1")
    assert found.log("head2") == found.log("head3") == []


def test_missing_heads_are_not_touched_and_told() -> None:
    found = scene("storage")
    done, shown = go(found, missing=["head3"])
    assert shown[0].missing == ("head3",)
    assert found.log("head3") == []
    assert done.plan.phases[0].missing == ("head3",)


def test_a_phase_before_that_was_not_verified_refuses() -> None:
    found = scene("storage", "redis")
    with pytest.raises(PhasesRefusedError, match="storage comes before redis") as caught:
        go(found, "redis")
    assert caught.value.slug == "phase-not-verified"


def test_progress_tells_every_step_of_a_phase() -> None:
    found = scene("storage")
    go(found)
    words = [text for phase, head, text in found.told if phase == "storage" and not head]
    assert words == ["require", "lay", "apply", "enable", "verify", "record", "verified"]


Failing = st.lists(
    st.tuples(
        st.sampled_from(["storage", "redis", "slurm"]),
        st.sampled_from(["apply", "verify", "lay", "enable", "record", "stop"]),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(Failing)
def test_however_often_it_fails_a_later_run_converges(failing: Sequence[tuple[str, str]]) -> None:
    found = scene("storage", "redis", "slurm")
    for phase, what in failing:
        _fail_once(found, phase, what)
        _check(found)
    done, _ = go(found)
    _check(found)
    assert set(done.stages.values()) <= {Stage.VERIFIED, Stage.UNCHANGED}
    again, _ = go(found, agree=False)
    assert not again.changed


def _fail_once(found: Scene, phase: str, what: str) -> None:
    """Run with one thing that fails, unless there is nothing to do any more."""
    broken = found.members["head2"]
    steps = found.phases[phase]
    words = {"lay": "lay", "enable": "enable", "record": "verified"}

    def fail(*args: Any) -> Any:
        if args[0] == phase:
            raise HeadLostError("gone", where="head2")
        return real(*args)

    def stop(crew: object) -> None:
        del crew
        found.stopping.asked = True

    if what in words:
        real = getattr(broken, words[what])
        setattr(broken, words[what], fail)
    elif what == "stop":
        steps.apply = stop  # type: ignore[method-assign]
    else:
        steps.fails.add(what)
    try:
        go(found)
    except Error:
        pass
    finally:
        found.stopping.asked = False
        steps.fails.clear()
        steps.__dict__.pop("apply", None)
        if what in words:
            delattr(broken, words[what])


def _check(found: Scene) -> None:
    """A head says `verified` of a phase only after its last trial worked."""
    for name, steps in found.phases.items():
        said = [line for head in HEADS for line in found.log(head)]
        if f"verified {name}" in said:
            assert "verify" in steps.done


def newer(found: Scene, phase: str, *heads: str, running: bool = True) -> None:
    """Let a phase that is verified have newer packages in the release from now on."""
    unit = {"redis.service": UnitState("active" if running else "failed")}
    for head in heads:
        member = found.members[head]
        state = member.found[phase]
        moved = {"redis-server": "7.0 → 7.2"}
        member.found[phase] = replace(state, packages=moved, units=unit)


def test_newer_packages_come_to_one_head_after_the_other_while_all_is_well() -> None:
    found = scene("redis")
    go(found)
    steps = found.phases["redis"]
    order: list[list[int]] = []
    steps.done.clear()
    newer(found, "redis", *HEADS)
    for member in found.members.values():
        member.told.clear()

    def asked() -> str:
        order.append([len(each.told) for each in found.members.values()])
        return ""

    steps.asked = asked
    go(found)
    assert order == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert steps.done == ["check", "apply", "apply", "apply", "apply", "verify"]


def test_a_cluster_that_is_not_well_gets_no_newer_packages() -> None:
    found = scene("redis")
    go(found)
    newer(found, "redis", *HEADS)
    found.phases["redis"].asked = lambda: "head3 does not answer"
    with pytest.raises(PhasesPartialError, match="head1 keeps its packages") as caught:
        go(found)
    assert isinstance(caught.value.cause, QuorumError)
    assert caught.value.cause.got == "head3 does not answer"
    assert not any(found.log(head)[3:] for head in HEADS)


def test_one_head_that_does_not_get_well_is_the_last_that_changes() -> None:
    found = scene("redis")
    go(found)
    newer(found, "redis", *HEADS)
    found.phases["redis"].asked = lambda: "it heals" if found.log("head1")[3:] else ""
    with pytest.raises(PhasesPartialError, match="not within"):
        go(found)
    assert found.log("head1")[3:] == ["lay redis"]
    assert not found.log("head2")[3:]


def test_a_stop_between_two_heads_that_get_newer_packages_leaves_the_phase_begun() -> None:
    found = scene("redis")
    go(found)
    newer(found, "redis", *HEADS)

    def asked() -> str:
        found.stopping.asked = bool(found.log("head1")[3:])
        return ""

    found.phases["redis"].asked = asked
    with pytest.raises(PhasesStoppedError, match="what was begun stays") as caught:
        go(found)
    assert caught.value.lines == ("redis: head[1-3] begun",)
    assert found.log("head1")[3:] == ["lay redis"]
    assert not found.log("head2")[3:]


def test_a_stop_before_anything_is_laid_touches_nothing() -> None:
    found = scene("storage", "redis")
    found.phases["storage"].check = _stopping(found)  # type: ignore[method-assign,assignment]
    with pytest.raises(PhasesStoppedError, match="nothing was touched") as caught:
        go(found)
    assert caught.value.lines == ("storage: head[1-3] not touched", "redis: head[1-3] not begun")
    assert not any(found.log(head) for head in HEADS)


def _stopping(found: Scene) -> Callable[[object], Sequence[Finding]]:
    def check(crew: object) -> Sequence[Finding]:
        del crew
        found.stopping.asked = True
        return ()

    return check


def test_no_head_gets_newer_packages_while_one_cannot_be_reached() -> None:
    found = scene("redis")
    go(found)
    newer(found, "redis", "head1", "head2")
    with pytest.raises(PhasesRefusedError, match="head1: keeps its packages, as head3") as caught:
        go(found, missing=("head3",))
    assert caught.value.slug == "phase-quorum"
    assert not any(found.log(head)[3:] for head in HEADS)


def test_a_head_that_is_out_already_gets_its_packages_before_the_others() -> None:
    found = scene("redis")
    go(found)
    newer(found, "redis", "head1", "head3")
    newer(found, "redis", "head2", running=False)
    seen: list[list[str]] = []

    def asked() -> str:
        seen.append([head for head in HEADS if found.log(head)[3:]])
        return ""

    found.phases["redis"].asked = asked
    go(found)
    assert seen[0] == ["head2"]
    assert seen[2] == ["head1", "head2"]


def test_newer_packages_of_a_later_phase_do_not_come_along() -> None:
    found = scene("storage", "redis")
    go(found)
    newer(found, "redis", "head1")
    found.phases["storage"].findings = [change()]
    go(found)
    assert found.log("head1")[6:] == [
        "lay storage",
        "enable storage",
        "verified storage",
        "lay redis",
        "enable redis",
        "verified redis",
    ]


RULES = """\
--- a
+++ b
@@ -1,3 +1,4 @@
 tcp dport 22 accept
 tcp dport 6379 reject with tcp reset
-tcp dport 6380 accept comment "redis"
+tcp dport 6379 accept comment "redis"
"""


def later_infrastructure(port: int) -> Scene:
    """Return redis, which has a port, above a firewall whose rules are behind."""
    found = scene("infrastructure", "redis", ports=(Port(port, port, "tcp", To.PEERS, None),))
    go(found)
    rules = FileState(WANTED, "changed", diff=RULES)
    for member in found.members.values():
        state = member.found["infrastructure"]
        member.found["infrastructure"] = replace(state, files=(rules,))
    return found


def test_what_the_firewall_would_keep_out_is_refused_until_it_opens() -> None:
    found = later_infrastructure(6379)
    with pytest.raises(PhasesRefusedError, match="does not open port 6379 to redis") as caught:
        go(found, "redis")
    assert caught.value.slug == "phase-behind"
    assert caught.value.hint == "sealift phase run 0-1 --host head[1-3]"
    go(later_infrastructure(6379))


@pytest.mark.parametrize("port", [22, 6380, 7000])
def test_what_the_firewall_lets_in_is_told_alone(port: int) -> None:
    _, shown = go(later_infrastructure(port), "redis")
    notes = [each for each in shown[0].phases[0].findings if "is behind" in each.what]
    assert [each.kind for each in notes] == [Kind.NOTE] * 3


def test_what_a_phase_before_brought_to_light_stops_the_next() -> None:
    found = scene("storage", "redis")
    member = found.members["head2"]
    verified = member.verified

    def after(phase: str) -> None:
        verified(phase)
        refused = (Refusal("path-in-use", "a folder lies there", "move it"),)
        member.found["redis"] = State(refusals=refused)

    found.members["head2"].verified = after  # type: ignore[method-assign]
    with pytest.raises(PhasesPartialError, match="head2: a folder lies there") as caught:
        go(found)
    assert found.phases["redis"].done == ["check"]
    assert "lay redis" not in found.log("head1")
    assert caught.value.lines == (
        "storage: head[1-3] verified",
        "redis: head[1,3] not touched; head2 failed",
    )


def above(*, well: str = "", laid: bool = True) -> Scene:
    """Return Slurm, which is to change, above a database that was verified, and is as `well` says.

    Without `laid` one head has lost it.
    """
    found = scene("database", "slurm")
    go(found, "database")
    found.phases["database"].asked = lambda: well
    if not laid:
        member = found.members["head3"]
        member.found["database"] = replace(member.found["database"], laid=False)
    return found


def test_nothing_begins_on_a_phase_that_was_verified_and_is_not_well_now() -> None:
    found = above(well="head2 not in the cluster, or not synced")
    with pytest.raises(PhasesRefusedError) as caught:
        go(found, "slurm")
    assert caught.value.exit_code == 6
    assert caught.value.slug == "phase-unwell"
    why = "database, on which slurm stands, is not well: head2 not in the cluster, or not synced"
    assert why in caught.value.reason
    assert caught.value.hint == "sealift phase run 0-1 --host head[1-3]"
    assert not any("slurm" in line for head in HEADS for line in found.log(head))
    assert ("slurm", "", f"waiting until database is well: {why.partition(': ')[2]}") in found.told


def test_the_way_out_of_it_names_the_heads_of_the_phase_below() -> None:
    with pytest.raises(PhasesRefusedError) as caught:
        go(above(well="it is out"), "slurm", heads=["head1"])
    assert caught.value.hint == "sealift phase run 0-1 --host head[1-3]"


def test_a_phase_below_that_gets_well_by_itself_is_waited_for() -> None:
    found = above()
    said = ["it syncs", "it syncs", ""]
    found.phases["database"].asked = lambda: said.pop(0)
    done, _ = go(found, "slurm")
    assert done.stages == {"slurm": Stage.VERIFIED}
    assert said == []


def test_a_phase_below_is_asked_about_what_is_laid_there() -> None:
    found = above()
    seen: list[str] = []

    def well(crew: Crew) -> str:
        seen.extend(str(each.parameters) for each in crew.configurations.values())
        return ""

    found.phases["database"].well = well  # type: ignore[method-assign]
    for member in found.members.values():
        member.has["database"] = wanted("database", member.name, parameters={"is": "laid"})
    go(found, "slurm")
    assert seen == ["{'is': 'laid'}"] * 3


def test_a_phase_below_that_does_not_tell_is_a_refusal() -> None:
    found = above()

    def asked() -> str:
        raise PhaseError("nobody answers", where="head2", hint="look there")

    found.phases["database"].asked = asked
    with pytest.raises(PhasesRefusedError, match="head2: nobody answers") as caught:
        go(found, "slurm")
    assert caught.value.slug == "phase-failed"
    assert caught.value.hint == "look there"


def test_a_stop_ends_the_wait_for_a_phase_below() -> None:
    found = above(well="it syncs")
    found.stopping.asked = True
    with pytest.raises(StoppedError):
        go(found, "slurm")


@pytest.mark.parametrize("asked", [("database", "slurm"), ("slurm",)])
def test_a_phase_below_is_not_asked_if_it_is_run_too_or_nothing_is_to_be_done(
    asked: Sequence[str],
) -> None:
    found = above(well="it is out")
    go(found, "database", "slurm")
    assert not go(found, *asked)[0].changed


def test_a_phase_below_of_which_a_head_is_missing_is_not_asked() -> None:
    done, _ = go(above(well="it is out"), "slurm", missing=["head3"])
    assert done.stages == {"slurm": Stage.VERIFIED}


def test_a_phase_below_that_a_head_does_not_have_is_not_asked() -> None:
    done, _ = go(above(well="it is out", laid=False), "slurm")
    assert done.stages == {"slurm": Stage.VERIFIED}
