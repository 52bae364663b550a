"""One change of a head at an operator's word: prepare, then wait; switch, check, then wait again.

The head's end of the line. The lock is held from the first word to the last. An operator who is
gone before the switch has touched nothing; after it the head goes back by itself, unless it was
told to stay.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deploy import activate
from deploy.errors import DeployFailedError, StrandedError
from deploy.events import Event, What
from deploy.head import Head
from deploy.orders import Order
from deploy.report import changes_json, error_json, event_json
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deploy.activate import Outcome
    from deploy.journal import Intent
    from deploy.line import Line
    from deploy.release import Release
    from deploy.services import Changes

SWITCH, VOUCH, CONFIRM = "switch", "vouch", "confirm"


class RemoteHead(Head, Protocol):
    """A head that an operator changes over a line."""

    def take(self, order: Order) -> None:
        """Take what comes with an order; it holds from the switch on, and for good in the end."""
        ...

    def forecast(self, wanted: Release) -> Changes:
        """Tell what a switch to `wanted`, which was prepared, would do."""
        ...

    def vigil(self, wanted: Release) -> Vigil:
        """Return what looks whether `wanted`, which runs, is still well, and raises if not."""
        ...


class Vigil(Protocol):
    """What looks now and then, the `last` time without fail, and raises if all is not well."""

    def __call__(self, *, last: bool = False) -> None:
        """Look."""
        ...


@dataclass(slots=True)
class Remote:
    """The operator at the other end of the line."""

    head: RemoteHead
    line: Line
    order: Order
    began: float | None = None
    """When it was permitted to switch; a moment of the monotonic clock."""

    def hand_over(self) -> None:
        """Give the head what came with the order. The first word says that it is locked."""
        self.observe(Event(What.LOCKED, self.head.name))
        self.head.take(self.order)

    def permit(self, intent: Intent, wanted: Release) -> None:
        """Say what would be done, and wait for the word to do it."""
        plan = self.head.forecast(wanted)
        self.line.say(
            "prepared",
            generation=intent.after,
            before=intent.before,
            start=list(plan.started),
            restart=list(plan.restarted),
            stop=list(plan.stopped),
            reload=list(plan.reloaded),
        )
        self.line.wait(SWITCH)
        self.began = time.monotonic()

    def present(self) -> None:
        """Be at the other end."""
        self.line.present()

    def agree(self, intent: Intent, wanted: Release, changes: Changes) -> None:
        """Say that it is well, and look after it until the operator wants it to stay.

        Before the last word each head is asked to vouch: it looks once more, and what it finds
        after that no longer takes it back by itself. Otherwise one head could go back while the
        operator tells the others to keep what they have.
        """
        seconds = 0.0 if self.began is None else time.monotonic() - self.began
        told = changes_json(changes)
        self.line.say("healthy", generation=intent.after, changes=told, seconds=round(seconds, 3))
        vigil = self.head.vigil(wanted)
        self.line.wait(VOUCH, vigil)
        vigil(last=True)
        self.line.say("vouched")
        self.line.wait(CONFIRM)

    def observe(self, event: Event) -> None:
        """Pass on what the head does."""
        self.line.say("event", **event_json(event))


def serve(line: Line, open_head: Callable[[], RemoteHead]) -> int:
    """Do what the operator at the other end orders; return the exit code.

    Raises:
        BaseException: what is no `Error`, after the operator was told.
    """
    try:
        order = Order.from_json(line.first())
        line.deadline = order.deadline
        remote = Remote(open_head(), line, order)
    except Error as error:
        line.say("refused", error=error_json(error))
        return error.exit_code
    try:
        outcome = _change(remote)
    except BaseException as error:
        line.say(_end(error, remote), error=error_json(error))
        if isinstance(error, Error):
            return error.exit_code
        raise
    line.say("confirmed", **_result(outcome))
    return 0


def _change(remote: Remote) -> Outcome:
    head, order = remote.head, remote.order
    if order.release is None:
        return activate.rollback(
            head, order.to, by=order.by, observe=remote.observe, operator=remote
        )
    return activate.deploy(
        head, order.release, by=order.by, observe=remote.observe, operator=remote
    )


def _end(error: BaseException, remote: Remote) -> str:
    match error:
        case StrandedError():
            return "stranded"
        case DeployFailedError():
            return "reverted"
        case Error():
            return "refused"
    return "refused" if remote.began is None else "stranded"


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "generation": outcome.generation,
        "before": outcome.before,
        "changes": changes_json(outcome.changes),
        "seconds": round(outcome.seconds, 3),
    }
