"""The rollout of a release over several heads: a table of (stage, event) → stage.

As `deploy.rollout` is for one head: each stage that is not final has one action, whose outcome is
the event. `deploy.rolling` carries the actions out on all heads. No effects.
"""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """What all heads have reached."""

    ASKED = "asked"
    CHECKED = "checked"
    WANTED = "wanted"
    PUSHED = "pushed"
    PREPARED = "prepared"
    TRIED = "tried"
    HEALTHY = "healthy"
    COUNTED = "counted"
    DROPPING = "dropping"
    REVERTING = "reverting"
    SETTLING = "settling"
    REFUSED = "refused"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    PARTIAL = "partial"


class Happening(Enum):
    """How a stage's action ended; `STOPPED` says that the operator wants no more of it."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Action(Enum):
    """What is done on the heads to leave a stage."""

    CHECK = "check"
    AGREE = "agree"
    PUSH = "push"
    PREPARE = "prepare"
    TRY = "try"
    SPREAD = "spread"
    COUNT = "count"
    CONFIRM = "confirm"
    DROP = "drop"
    REVERT = "revert"
    SETTLE = "settle"


FINAL = frozenset({Stage.REFUSED, Stage.CONFIRMED, Stage.REVERTED, Stage.PARTIAL})

ACTIONS = {
    Stage.ASKED: Action.CHECK,
    Stage.CHECKED: Action.AGREE,
    Stage.WANTED: Action.PUSH,
    Stage.PUSHED: Action.PREPARE,
    Stage.PREPARED: Action.TRY,
    Stage.TRIED: Action.SPREAD,
    Stage.HEALTHY: Action.COUNT,
    Stage.COUNTED: Action.CONFIRM,
    Stage.DROPPING: Action.DROP,
    Stage.REVERTING: Action.REVERT,
    Stage.SETTLING: Action.SETTLE,
}

# Until the canary is tried nothing that runs was touched, and letting go is enough. From then on
# every head goes back unless all are healthy and still answer; that is what COUNT asks. Once the
# first head was told to confirm there is no way back that does not differ from head to head, so
# stopping then means to go on, and a failure means to look what each head really runs.
TABLE = {
    (Stage.ASKED, Happening.DONE): Stage.CHECKED,
    (Stage.ASKED, Happening.FAILED): Stage.REFUSED,
    (Stage.ASKED, Happening.STOPPED): Stage.REFUSED,
    (Stage.CHECKED, Happening.DONE): Stage.WANTED,
    (Stage.CHECKED, Happening.FAILED): Stage.REFUSED,
    (Stage.CHECKED, Happening.STOPPED): Stage.REFUSED,
    (Stage.WANTED, Happening.DONE): Stage.PUSHED,
    (Stage.WANTED, Happening.FAILED): Stage.REFUSED,
    (Stage.WANTED, Happening.STOPPED): Stage.REFUSED,
    (Stage.PUSHED, Happening.DONE): Stage.PREPARED,
    (Stage.PUSHED, Happening.FAILED): Stage.DROPPING,
    (Stage.PUSHED, Happening.STOPPED): Stage.DROPPING,
    (Stage.PREPARED, Happening.DONE): Stage.TRIED,
    (Stage.PREPARED, Happening.FAILED): Stage.REVERTING,
    (Stage.PREPARED, Happening.STOPPED): Stage.REVERTING,
    (Stage.TRIED, Happening.DONE): Stage.HEALTHY,
    (Stage.TRIED, Happening.FAILED): Stage.REVERTING,
    (Stage.TRIED, Happening.STOPPED): Stage.REVERTING,
    (Stage.HEALTHY, Happening.DONE): Stage.COUNTED,
    (Stage.HEALTHY, Happening.FAILED): Stage.REVERTING,
    (Stage.HEALTHY, Happening.STOPPED): Stage.REVERTING,
    (Stage.COUNTED, Happening.DONE): Stage.CONFIRMED,
    (Stage.COUNTED, Happening.FAILED): Stage.SETTLING,
    (Stage.COUNTED, Happening.STOPPED): Stage.COUNTED,
    (Stage.DROPPING, Happening.DONE): Stage.REFUSED,
    (Stage.DROPPING, Happening.FAILED): Stage.REFUSED,
    (Stage.DROPPING, Happening.STOPPED): Stage.DROPPING,
    (Stage.REVERTING, Happening.DONE): Stage.REVERTED,
    (Stage.REVERTING, Happening.FAILED): Stage.PARTIAL,
    (Stage.REVERTING, Happening.STOPPED): Stage.REVERTING,
    (Stage.SETTLING, Happening.DONE): Stage.CONFIRMED,
    (Stage.SETTLING, Happening.FAILED): Stage.PARTIAL,
    (Stage.SETTLING, Happening.STOPPED): Stage.SETTLING,
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
