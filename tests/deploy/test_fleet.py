"""The table of a rollout over several heads: complete, and heads never differ unsaid."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deploy.fleet import ACTIONS, FINAL, TABLE, Action, Happening, NoSuchTransitionError, Stage
from deploy.fleet import advance as real
from store.errors import Error

OLD, NEW = "old", "new"
HEADS = 3


@dataclass
class Model:
    """Three heads; a switched one that is left alone goes back, a confirmed one stays."""

    runs: list[str] = field(default_factory=lambda: [OLD] * HEADS)
    fixed: list[bool] = field(default_factory=lambda: [False] * HEADS)

    def act(self, action: Action, reached: int) -> None:
        """Let an action have its effect on the first `reached` heads."""
        match action:
            case Action.TRY:
                self.runs[: min(1, reached)] = [NEW] * min(1, reached)
            case Action.SPREAD:
                self.runs[1 : max(1, reached)] = [NEW] * max(0, reached - 1)
            case Action.CONFIRM:
                self.fixed[:reached] = [True] * reached
            case Action.REVERT | Action.SETTLE:
                self.leave(reached)
            case _:
                pass

    def leave(self, reached: int = HEADS) -> None:
        for number in range(reached):
            if not self.fixed[number]:
                self.runs[number] = OLD


Table = dict[tuple[Stage, Happening], Stage]
Script = list[tuple[Happening, int]]


def run(table: Table, script: Script) -> tuple[Stage, Model]:
    """Let a rollout meet a script; afterwards everything succeeds, and nobody asks to stop."""
    fleet, stage = Model(), Stage.ASKED
    steps = iter(script)
    while stage not in FINAL:
        happening, reached = next(steps, (Happening.DONE, HEADS))
        if happening is Happening.DONE:
            reached = HEADS
        if stage is Stage.SETTLING:
            fleet.leave()
            happening = Happening.DONE if set(fleet.runs) == {NEW} else Happening.FAILED
        fleet.act(ACTIONS[stage], reached)
        stage = table[stage, happening]
    fleet.leave()
    return stage, fleet


LIKELY = [Happening.DONE] * 6 + [Happening.FAILED, Happening.STOPPED]
SCRIPTS = st.lists(st.tuples(st.sampled_from(LIKELY), st.integers(0, HEADS)), max_size=30)


def told(stage: Stage, fleet: Model) -> bool:
    """Tell whether the end that is reported is what the heads run."""
    everywhere = set(fleet.runs)
    match stage:
        case Stage.CONFIRMED:
            return everywhere == {NEW}
        case Stage.REFUSED | Stage.REVERTED:
            return everywhere == {OLD}
        case _:
            return True


@settings(max_examples=1000)
@given(SCRIPTS)
def test_what_is_reported_is_what_the_heads_run(script: Script) -> None:
    stage, fleet = run(TABLE, script)
    assert told(stage, fleet)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ((Stage.TRIED, Happening.FAILED), Stage.HEALTHY),
        ((Stage.COUNTED, Happening.FAILED), Stage.CONFIRMED),
        ((Stage.COUNTED, Happening.STOPPED), Stage.REVERTING),
    ],
)
def test_a_wrong_row_is_found(row: tuple[Stage, Happening], wrong: Stage) -> None:
    """The negative control: with one row spoiled the property does not hold."""
    table = {**TABLE, row: wrong}

    @settings(max_examples=10_000, database=None, derandomize=True, phases=[Phase.generate])
    @given(SCRIPTS)
    def holds(script: Script) -> None:
        stage, fleet = run(table, script)
        assert told(stage, fleet)

    with pytest.raises(AssertionError):
        holds()


def test_every_stage_has_an_action_and_an_answer_to_everything() -> None:
    assert set(ACTIONS) | FINAL == set(Stage)
    assert set(TABLE) == {(stage, happening) for stage in ACTIONS for happening in Happening}


@pytest.mark.parametrize("stage", sorted(FINAL, key=str))
@pytest.mark.parametrize("happening", Happening)
def test_nothing_follows_the_end(stage: Stage, happening: Happening) -> None:
    with pytest.raises(NoSuchTransitionError) as caught:
        real(stage, happening)
    assert not isinstance(caught.value, Error)


def test_nothing_is_touched_before_the_canary() -> None:
    """Until then every way but the straight one ends in a refusal."""
    before = [Stage.ASKED, Stage.CHECKED, Stage.WANTED, Stage.PUSHED]
    for stage in before:
        for happening in (Happening.FAILED, Happening.STOPPED):
            following = real(stage, happening)
            assert following in (Stage.REFUSED, Stage.DROPPING)


def test_success_goes_straight_through() -> None:
    stage, seen = Stage.ASKED, []
    while stage not in FINAL:
        seen.append(ACTIONS[stage])
        stage = real(stage, Happening.DONE)
    assert stage is Stage.CONFIRMED
    assert seen == list(Action)[: list(Action).index(Action.DROP)]
