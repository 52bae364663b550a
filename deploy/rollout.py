"""The rollout of a release on one head: a table of (stage, event) → stage, and nothing else.

Each stage that is not final has one action; its outcome is the event. `deploy.activate` carries
the actions out; a head that was cut off in a stage goes on with the event `CUT`. No effects.
"""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """What has been reached. A stage from `INTENDED` on is in the head's journal."""

    LOCKED = "locked"
    PREPARED = "prepared"
    PERMITTED = "permitted"
    INTENDED = "intended"
    SWITCHED = "switched"
    RESTARTED = "restarted"
    HEALTHY = "healthy"
    AGREED = "agreed"
    REVERTING = "reverting"
    REFUSED = "refused"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    STRANDED = "stranded"


class Happening(Enum):
    """How a stage's action ended; `CUT` says that nobody was left to tell."""

    DONE = "done"
    FAILED = "failed"
    CUT = "cut"


class Action(Enum):
    """What is done to leave a stage."""

    PREPARE = "prepare"
    PERMIT = "permit"
    INTEND = "intend"
    SWITCH = "switch"
    RESTART = "restart"
    CHECK = "check"
    AWAIT = "await"
    CONFIRM = "confirm"
    REVERT = "revert"


FINAL = frozenset({Stage.REFUSED, Stage.CONFIRMED, Stage.REVERTED, Stage.STRANDED})

ACTIONS = {
    Stage.LOCKED: Action.PREPARE,
    Stage.PREPARED: Action.PERMIT,
    Stage.PERMITTED: Action.INTEND,
    Stage.INTENDED: Action.SWITCH,
    Stage.SWITCHED: Action.RESTART,
    Stage.RESTARTED: Action.CHECK,
    Stage.HEALTHY: Action.AWAIT,
    Stage.AGREED: Action.CONFIRM,
    Stage.REVERTING: Action.REVERT,
}

# A failure before the intent is written touches nothing. After that, everything that is not
# success goes back, also a healthy release whose operator is gone: on other heads it may have
# failed. Only what the operator agreed to is kept by whoever takes over.
TABLE = {
    (Stage.LOCKED, Happening.DONE): Stage.PREPARED,
    (Stage.LOCKED, Happening.FAILED): Stage.REFUSED,
    (Stage.LOCKED, Happening.CUT): Stage.REFUSED,
    (Stage.PREPARED, Happening.DONE): Stage.PERMITTED,
    (Stage.PREPARED, Happening.FAILED): Stage.REFUSED,
    (Stage.PREPARED, Happening.CUT): Stage.REFUSED,
    (Stage.PERMITTED, Happening.DONE): Stage.INTENDED,
    (Stage.PERMITTED, Happening.FAILED): Stage.REVERTING,
    (Stage.PERMITTED, Happening.CUT): Stage.REFUSED,
    (Stage.INTENDED, Happening.DONE): Stage.SWITCHED,
    (Stage.INTENDED, Happening.FAILED): Stage.REVERTING,
    (Stage.INTENDED, Happening.CUT): Stage.REVERTING,
    (Stage.SWITCHED, Happening.DONE): Stage.RESTARTED,
    (Stage.SWITCHED, Happening.FAILED): Stage.REVERTING,
    (Stage.SWITCHED, Happening.CUT): Stage.REVERTING,
    (Stage.RESTARTED, Happening.DONE): Stage.HEALTHY,
    (Stage.RESTARTED, Happening.FAILED): Stage.REVERTING,
    (Stage.RESTARTED, Happening.CUT): Stage.REVERTING,
    (Stage.HEALTHY, Happening.DONE): Stage.AGREED,
    (Stage.HEALTHY, Happening.FAILED): Stage.REVERTING,
    (Stage.HEALTHY, Happening.CUT): Stage.REVERTING,
    (Stage.AGREED, Happening.DONE): Stage.CONFIRMED,
    (Stage.AGREED, Happening.FAILED): Stage.REVERTING,
    (Stage.AGREED, Happening.CUT): Stage.AGREED,
    (Stage.REVERTING, Happening.DONE): Stage.REVERTED,
    (Stage.REVERTING, Happening.FAILED): Stage.STRANDED,
    (Stage.REVERTING, Happening.CUT): Stage.REVERTING,
}


class NoSuchTransitionError(RuntimeError):
    """An event that cannot happen in a stage: a bug, and nothing that an operator can act on."""


def advance(stage: Stage, happening: Happening) -> Stage:
    """Return the stage that follows.

    Raises:
        NoSuchTransitionError: the table has no such row; final stages have none.
    """
    try:
        return TABLE[stage, happening]
    except KeyError:
        reason = f"nothing follows {stage.value!r} on {happening.value!r}"
        raise NoSuchTransitionError(reason) from None
