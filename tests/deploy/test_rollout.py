"""The table: complete, and it never leaves a head without a whole generation."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deploy.rollout import ACTIONS, FINAL, TABLE, Action, Happening, NoSuchTransitionError, Stage
from deploy.rollout import advance as real
from store.errors import Error

OLD, NEW = "old", "new"


@dataclass
class Model:
    """A head with an old generation: what its profile names, what runs, and what is prepared."""

    profile: str = OLD
    runs: str = OLD
    prepared: bool = False
    agreed: bool = False
    journal: Stage | None = None

    def whole(self) -> bool:
        return self.profile == OLD or self.prepared

    def act(self, action: Action, *, done: bool) -> None:
        """Do what `deploy.perform` does; an action that is not done may have happened or not."""
        match action:
            case Action.PREPARE:
                self.prepared = self.prepared or done
            case Action.INTEND:
                self.journal = Stage.INTENDED
            case Action.SWITCH:
                self.profile = NEW
            case Action.RESTART:
                self.runs = NEW
            case Action.AWAIT if done:
                self.agreed = True
            case Action.CONFIRM if done:
                assert self.agreed, "nobody agreed to what is confirmed"
                self.journal = None
            case Action.REVERT if done:
                self.profile = self.runs = OLD
                self.journal = None
            case _:
                pass


Table = dict[tuple[Stage, Happening], Stage]


def run(table: Table, script: list[tuple[Happening, bool]]) -> Model:
    """Let a rollout meet a script of happenings; afterwards everything succeeds.

    In each pair the flag tells whether an action that was not done had its effect all the same.
    A cut goes on from the journal, as the next command does.
    """
    head, stage = Model(), Stage.LOCKED
    happenings = iter(script)
    while stage not in FINAL:
        happening, effect = next(happenings, (Happening.DONE, True))
        if happening is Happening.DONE or effect:
            head.act(ACTIONS[stage], done=happening is Happening.DONE)
        assert head.whole(), f"in {stage} the profile names a generation that is not whole"
        if happening is Happening.CUT:
            if head.journal is None:
                break
            stage = head.journal
        stage = table[stage, happening]
        if head.journal is not None and stage not in FINAL:
            head.journal = stage
    return head


# Mostly success, so that every stage is met.
LIKELY = [Happening.DONE] * 4 + [Happening.FAILED, Happening.CUT]
SCRIPTS = st.lists(st.tuples(st.sampled_from(LIKELY), st.booleans()), max_size=40)


@settings(max_examples=1000)
@given(SCRIPTS)
def test_no_sequence_leaves_a_head_without_a_whole_generation(
    script: list[tuple[Happening, bool]],
) -> None:
    head = run(TABLE, script)
    assert head.whole()
    stranded = any(h is Happening.FAILED for h, _ in script)
    assert head.runs == head.profile or stranded
    assert head.journal is None or stranded


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ((Stage.LOCKED, Happening.FAILED), Stage.PREPARED),
        ((Stage.RESTARTED, Happening.CUT), Stage.REFUSED),
        ((Stage.SWITCHED, Happening.CUT), Stage.REFUSED),
        ((Stage.HEALTHY, Happening.CUT), Stage.AGREED),
    ],
)
def test_a_wrong_row_is_found(row: tuple[Stage, Happening], wrong: Stage) -> None:
    """The negative control: with one row spoiled the property does not hold."""
    table = {**TABLE, row: wrong}

    @settings(max_examples=2000, database=None, phases=[Phase.generate])
    @given(SCRIPTS)
    def holds(script: list[tuple[Happening, bool]]) -> None:
        head = run(table, script)
        failed = any(h is Happening.FAILED for h, _ in script)
        assert head.whole()
        assert (head.runs == head.profile and head.journal is None) or failed

    with pytest.raises(AssertionError):
        holds()


def test_every_stage_has_an_action_and_an_answer_to_everything() -> None:
    assert set(ACTIONS) | FINAL == set(Stage)
    assert set(TABLE) == {(stage, happening) for stage in ACTIONS for happening in Happening}


@pytest.mark.parametrize("stage", [each for each in Stage if each in FINAL])
@pytest.mark.parametrize("happening", Happening)
def test_nothing_follows_the_end(stage: Stage, happening: Happening) -> None:
    with pytest.raises(NoSuchTransitionError) as caught:
        real(stage, happening)
    # A bug shows its traceback; what an operator reads in one line is an Error.
    assert not isinstance(caught.value, Error)


def test_success_goes_straight_through() -> None:
    stage, seen = Stage.LOCKED, []
    while stage not in FINAL:
        seen.append(ACTIONS[stage])
        stage = real(stage, Happening.DONE)
    assert stage is Stage.CONFIRMED
    assert seen == [a for a in Action if a is not Action.REVERT]
