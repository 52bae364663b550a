from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deploy.phases.configuration import Peer
from deploy.phases.errors import (
    PhasesPartialError,
    PhasesRefusedError,
    PhasesStoppedError,
    PhasesUnwellError,
)
from deploy.phases.phase import Finding, Kind
from deploy.phases.run import Run
from deploy.phases.state import State
from deploy.phases.trial import trial
from deploy.phases.undo import BEGUN, Undo
from store.errors import InputError
from tests.deploy.phases.grounds import HEADS, Scene, refusal, scene

if TYPE_CHECKING:
    from deploy.phases.plan import Plan
    from deploy.phases.undo import Undone


def laid(**facts: object) -> Scene:
    found = scene("storage", "redis", **facts)
    Run(found.ground(), lambda _: None, lambda: True).go()
    for member in found.members.values():
        member.told.clear()
    return found


def undo(
    found: Scene,
    *asked: str,
    destroy: tuple[str, ...] = (),
    agree: bool = True,
    **of: Any,
) -> tuple[Undone, list[Plan]]:
    shown: list[Plan] = []
    done = Undo(found.ground(*asked, **of), destroy, shown.append, lambda: agree).go()
    return done, shown


def wants(found: Scene, phase: str, **facts: Any) -> None:
    """Let the release want something else from now on."""
    of = {name: replace(each, **facts) for name, each in found.configurations[phase].items()}
    found.configurations = {**found.configurations, phase: of}


def refused(found: Scene, *asked: str, **of: Any) -> PhasesRefusedError:
    with pytest.raises(PhasesRefusedError) as caught:
        undo(found, *asked, **of)
    assert not any("undo" in word for each in found.phases.values() for word in each.done)
    assert not any(each.told for each in found.members.values())
    return caught.value


def test_the_last_phase_goes_first() -> None:
    found = laid()
    done, _ = undo(found)
    assert done.phases == ("redis", "storage")
    assert found.log("head1") == ["unlay redis", "unlay storage"]


def test_what_was_never_laid_is_left_alone() -> None:
    found = scene("storage", "redis")
    done, shown = undo(found, agree=False)
    assert done.phases == ()
    assert not shown[0].changes


def test_what_others_stand_on_stays() -> None:
    found = laid()
    with pytest.raises(PhasesRefusedError, match="redis stands on storage") as caught:
        undo(found, "storage")
    assert caught.value.slug == "phase-needed"
    assert caught.value.hint == "sealift phase undo 0-1 --host head[1-3]"
    assert not any(found.log(head) for head in HEADS)


def test_data_stays_unless_it_is_named() -> None:
    found = laid(irreversible=("shared_data",))
    _, shown = undo(found)
    kinds = [each.kind for each in shown[0].phases[0].findings if "shared_data" in each.what]
    assert kinds == [Kind.NOTE]
    assert found.phases["storage"].done[-1] == "undo"


def test_what_is_named_is_destroyed_and_told_before() -> None:
    found = laid(irreversible=("shared_data",))
    _, shown = undo(found, destroy=("shared_data",))
    kinds = [each.kind for each in shown[0].phases[0].findings if "shared_data" in each.what]
    assert kinds == [Kind.IRREVERSIBLE]
    assert found.phases["storage"].done[-1] == "undo shared_data"


def test_a_name_that_nothing_has_is_refused() -> None:
    found = laid(irreversible=("shared_data",))
    with pytest.raises(InputError, match="shared_dat") as caught:
        undo(found, destroy=("shared_dat",))
    assert caught.value.hint == "did you mean --yes-destroy shared_data?"
    assert not any(found.log(head) for head in HEADS)


def test_nothing_is_undone_without_agreement() -> None:
    found = laid()
    with pytest.raises(PhasesStoppedError):
        undo(found, agree=False)
    assert not any(found.log(head) for head in HEADS)


def test_a_failure_ends_it_and_says_what_became_of_each_head() -> None:
    found = laid()
    found.phases["redis"].fails.add("undo")
    with pytest.raises(PhasesPartialError, match="undo does not work") as caught:
        undo(found)
    assert caught.value.lines == ("redis: head[1-3] begun",)
    assert not any(found.log(head) for head in HEADS)


def test_a_trial_tells_what_was_tried_and_changes_nothing() -> None:
    found = laid()
    assert trial(found.ground()).tried == {
        "storage": ("storage works",),
        "redis": ("redis works",),
    }
    assert not any(found.log(head) for head in HEADS)


def test_a_trial_tries_all_and_tells_what_does_not_work() -> None:
    found = laid()
    found.phases["storage"].fails.add("verify")
    with pytest.raises(PhasesUnwellError, match="storage does not work") as caught:
        trial(found.ground())
    assert caught.value.exit_code == 7
    assert caught.value.lines == ("storage: head[1-3] not well", "redis: head[1-3] well")
    assert found.phases["redis"].done[-1] == "verify"


def test_a_trial_of_what_was_never_laid() -> None:
    with pytest.raises(PhasesUnwellError, match="was not laid on head1"):
        trial(scene("storage").ground())


def test_it_goes_by_what_is_laid_whatever_the_release_says() -> None:
    found = laid(parameters={"brick": "/bricks"}, irreversible=("shared",))
    wants(found, "redis", parameters={"brick": "/home"}, irreversible=("other",))
    undo(found, "redis", destroy=("shared",))
    crew = found.phases["redis"].crews[-1]
    assert crew.parameters["brick"] == "/bricks"
    assert crew.configuration("head3").irreversible == ("shared",)
    assert found.phases["redis"].done[-1] == "undo shared"


def test_a_name_that_only_the_release_has_destroys_nothing() -> None:
    found = laid(irreversible=("shared",))
    wants(found, "redis", irreversible=("other",))
    error = refused(found, "redis", destroy=("other",))
    assert error.slug == "undo-destroys-nothing"
    assert "sealift phase run 1 --host head[1-3]" in (error.hint or "")


def test_what_is_undone_already_destroys_nothing() -> None:
    found = laid(irreversible=("shared",))
    undo(found)
    for each in found.phases.values():
        each.done.clear()
    for member in found.members.values():
        member.told.clear()
    assert refused(found, destroy=("shared",)).slug == "undo-destroys-nothing"


def test_heads_on_which_nothing_was_laid_take_no_part() -> None:
    found = laid()
    found.members["head3"].found.clear()
    found.members["head3"].has.clear()
    done, shown = undo(found)
    assert done.phases == ("redis", "storage")
    crew = found.phases["redis"].crews[-1]
    assert [each.name for each in crew.everybody] == ["head1", "head2"]
    assert list(crew.configurations) == ["head1", "head2"]
    assert found.log("head3") == []
    assert shown[0].phases[0].members == ("head1", "head2")


def test_a_head_that_was_cut_off_while_it_was_laid_gives_back_what_came() -> None:
    found = laid()
    found.members["head3"].has.clear()
    found.members["head3"].found = {"redis": State(begun=True), "storage": State(begun=True)}
    done, shown = undo(found)
    assert done.phases == ("redis", "storage")
    assert [each.name for each in found.phases["redis"].crews[-1].everybody] == ["head1", "head2"]
    assert found.log("head3") == ["unlay redis", "unlay storage"]
    assert shown[0].phases[0].members == HEADS
    told = [each.what for each in shown[0].phases[0].findings if each.head == "head3"]
    assert told == [BEGUN]


def test_what_was_begun_and_laid_nowhere_is_taken_back_without_its_module() -> None:
    found = scene("storage", "redis")
    found.members["head1"].found = {"redis": State(begun=True)}
    with pytest.raises(PhasesStoppedError):
        undo(found, agree=False)
    done, _ = undo(found)
    assert done.phases == ("redis",)
    assert found.log("head1") == ["unlay redis"]
    assert not found.phases["redis"].done
    assert undo(found, agree=False)[0].phases == ()


def test_what_was_begun_alone_stands_on_nothing() -> None:
    found = laid()
    for member in found.members.values():
        member.has.pop("redis")
        member.found["redis"] = State(begun=True)
    assert undo(found, "storage")[0].phases == ("storage",)


def test_what_is_half_taken_back_still_stands_on_another() -> None:
    found = laid()
    found.members["head2"].found["redis"] = State(laid=True)
    for name in ("head1", "head3"):
        found.members[name].found.pop("redis")
        found.members[name].has.pop("redis")
    with pytest.raises(PhasesRefusedError, match="redis stands on storage"):
        undo(found, "storage")


def test_a_head_that_has_it_and_is_not_meant_stops_all() -> None:
    error = refused(laid(), "redis", heads=("head1", "head2"))
    assert error.slug == "undo-needs-all"
    assert "head3" in error.reason
    assert error.hint == "sealift phase undo 1 --host head[1-3]"


def test_a_head_that_is_not_reached_stops_all() -> None:
    error = refused(laid(), "redis", missing=("head2",))
    assert error.slug == "undo-needs-all"
    assert "head2 cannot be reached" in error.reason


def test_a_head_that_the_settings_do_not_name_any_more_stops_all() -> None:
    found = laid()
    found.configurations = {
        phase: {name: each for name, each in of.items() if name != "head3"}
        for phase, of in found.configurations.items()
    }
    error = refused(found, "redis")
    assert error.slug == "undo-needs-all"
    assert "cluster.hosts" in (error.hint or "")


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"brick": "/home"}},
        {"irreversible": ("all",)},
        {"hosts": tuple(Peer(name, f"10.1.0.{n}", n) for n, name in enumerate(HEADS))},
    ],
)
def test_what_is_not_the_same_everywhere_is_not_undone(change: dict[str, Any]) -> None:
    found = laid()
    member = found.members["head2"]
    member.has["redis"] = replace(member.has["redis"], **change)
    error = refused(found, "redis")
    assert error.slug == "undo-unequal"
    assert "head2" in error.reason
    assert "sealift phase run 1" in (error.hint or "")


def test_what_nothing_tells_of_is_not_undone() -> None:
    found = laid()
    del found.members["head2"].has["redis"]
    assert refused(found, "redis").slug == "undo-unequal"


def test_a_module_says_before_what_goes_and_what_stands_against_it() -> None:
    found = laid(irreversible=("shared",))
    goes = Finding("head1", "remove /bricks", Kind.IRREVERSIBLE)
    found.phases["redis"].parting = [goes]
    _, shown = undo(found, destroy=("shared",))
    assert goes in shown[0].phases[0].findings
    again = laid(irreversible=("shared",))
    again.phases["redis"].parting = [refusal("there are jobs", slug="jobs-alive")]
    assert refused(again, destroy=("shared",)).slug == "jobs-alive"


def test_what_is_undone_is_not_in_the_next_command() -> None:
    found = laid(irreversible=("shared",))
    for member in found.members.values():
        member.has["redis"] = replace(member.has["redis"], irreversible=("keys",))
    found.phases["storage"].fails.add("undo")
    with pytest.raises(PhasesPartialError) as caught:
        undo(found, destroy=("keys", "shared"))
    hint = "sealift phase undo 0 --host head[1-3] --yes-destroy shared"
    assert (caught.value.hint or "").endswith(hint)
