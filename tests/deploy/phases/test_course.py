from __future__ import annotations

import pytest

from deploy.phases.course import (
    ACTIONS,
    FINAL,
    TABLE,
    NoSuchTransitionError,
    Outcome,
    Stage,
    advance,
)


def test_every_stage_has_an_action_or_is_final() -> None:
    assert {*ACTIONS, *FINAL} == set(Stage)
    assert not {*ACTIONS} & FINAL


def test_every_outcome_of_every_action_leads_somewhere() -> None:
    assert set(TABLE) == {(stage, outcome) for stage in ACTIONS for outcome in Outcome}


def test_the_way_of_a_phase_that_works() -> None:
    stage, way = Stage.WAITING, []
    while stage not in FINAL:
        way.append(ACTIONS[stage].value)
        stage = advance(stage, Outcome.DONE)
    assert way == ["require", "lay", "apply", "enable", "verify", "record"]
    assert stage is Stage.VERIFIED


def test_only_what_was_recorded_is_verified() -> None:
    into = [key for key, stage in TABLE.items() if stage is Stage.VERIFIED]
    assert into == [(Stage.TRIED, Outcome.DONE)]


def test_what_was_laid_is_never_called_untouched() -> None:
    touched = {Stage.LAID, Stage.APPLIED, Stage.ENABLED, Stage.TRIED}
    on_the_way = {(Stage.READY, Outcome.CUT), (Stage.READY, Outcome.FAILED)}
    for (stage, outcome), after in TABLE.items():
        if stage in touched or (stage, outcome) in on_the_way:
            assert after is not Stage.REFUSED


def test_nothing_follows_the_end() -> None:
    with pytest.raises(NoSuchTransitionError):
        advance(Stage.VERIFIED, Outcome.DONE)
