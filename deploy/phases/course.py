"""The way of one phase from being asked for to being verified: a table. No effects.

Each stage that is not final has one action, whose outcome leads to the next. `deploy.phases.run`
carries the actions out. A phase is never taken back by itself: what it had reached, it keeps, and
the next run goes on from there.
"""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """What a phase has reached on all its heads."""

    WAITING = "not begun"
    READY = "ready"
    LAID = "laid"
    APPLIED = "applied"
    ENABLED = "enabled"
    TRIED = "tried"
    KNOWN = "unchanged, to be tried again"
    VERIFIED = "verified"
    UNCHANGED = "unchanged"
    REFUSED = "not touched"
    HALF = "begun"
    UNWELL = "not well"


class Outcome(Enum):
    """How a stage's action ended.

    The operator wants no more of it: before it began (`STOPPED`), or on its way (`CUT`).
    """

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    CUT = "cut off"


class Action(Enum):
    """What is done on the heads to leave a stage."""

    REQUIRE = "require"
    LAY = "lay"
    APPLY = "apply"
    ENABLE = "enable"
    VERIFY = "verify"
    RECORD = "record"
    AGAIN = "again"


FINAL = frozenset({Stage.VERIFIED, Stage.UNCHANGED, Stage.REFUSED, Stage.HALF, Stage.UNWELL})

ACTIONS = {
    Stage.WAITING: Action.REQUIRE,
    Stage.READY: Action.LAY,
    Stage.LAID: Action.APPLY,
    Stage.APPLIED: Action.ENABLE,
    Stage.ENABLED: Action.VERIFY,
    Stage.TRIED: Action.RECORD,
    Stage.KNOWN: Action.AGAIN,
}

# Before anything is laid the phase is as it was. From then on whatever fails leaves it begun: on
# some heads more may be done than on others, and only the next run knows. Newer packages are laid
# head by head, so a stop on that way leaves some heads with them.
TABLE = {
    (Stage.WAITING, Outcome.DONE): Stage.READY,
    (Stage.WAITING, Outcome.FAILED): Stage.REFUSED,
    (Stage.WAITING, Outcome.STOPPED): Stage.REFUSED,
    (Stage.WAITING, Outcome.CUT): Stage.REFUSED,
    (Stage.READY, Outcome.DONE): Stage.LAID,
    (Stage.READY, Outcome.FAILED): Stage.HALF,
    (Stage.READY, Outcome.STOPPED): Stage.REFUSED,
    (Stage.READY, Outcome.CUT): Stage.HALF,
    (Stage.LAID, Outcome.DONE): Stage.APPLIED,
    (Stage.LAID, Outcome.FAILED): Stage.HALF,
    (Stage.LAID, Outcome.STOPPED): Stage.HALF,
    (Stage.LAID, Outcome.CUT): Stage.HALF,
    (Stage.APPLIED, Outcome.DONE): Stage.ENABLED,
    (Stage.APPLIED, Outcome.FAILED): Stage.HALF,
    (Stage.APPLIED, Outcome.STOPPED): Stage.HALF,
    (Stage.APPLIED, Outcome.CUT): Stage.HALF,
    (Stage.ENABLED, Outcome.DONE): Stage.TRIED,
    (Stage.ENABLED, Outcome.FAILED): Stage.HALF,
    (Stage.ENABLED, Outcome.STOPPED): Stage.HALF,
    (Stage.ENABLED, Outcome.CUT): Stage.HALF,
    (Stage.TRIED, Outcome.DONE): Stage.VERIFIED,
    (Stage.TRIED, Outcome.FAILED): Stage.HALF,
    (Stage.TRIED, Outcome.STOPPED): Stage.HALF,
    (Stage.TRIED, Outcome.CUT): Stage.HALF,
    (Stage.KNOWN, Outcome.DONE): Stage.UNCHANGED,
    (Stage.KNOWN, Outcome.FAILED): Stage.UNWELL,
    (Stage.KNOWN, Outcome.STOPPED): Stage.UNCHANGED,
    (Stage.KNOWN, Outcome.CUT): Stage.UNCHANGED,
}


class NoSuchTransitionError(RuntimeError):
    """An outcome that cannot be in a stage: a bug, and nothing that an operator can act on."""


def advance(stage: Stage, outcome: Outcome) -> Stage:
    """Return the stage that follows.

    Raises:
        NoSuchTransitionError: the table has no such row; final stages have none.
    """
    try:
        return TABLE[stage, outcome]
    except KeyError:
        reason = f"nothing follows {stage.value!r} on {outcome.value!r}"
        raise NoSuchTransitionError(reason) from None
