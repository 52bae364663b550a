"""One change of a head, carried out stage by stage as the table says.

Each stage is in the journal before the next action begins, so whoever finds the journal knows what
may have happened. Needs the head's lock; `deploy.activate` takes it.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deploy.errors import (
    DeployFailedError,
    OperatorGoneError,
    StrandedError,
    SystemRefusedError,
    TakenBackError,
)
from deploy.events import Event, Observe, What
from deploy.profile import Status
from deploy.rollout import ACTIONS, FINAL, Action, Happening, Stage, advance
from deploy.services import Changes
from store.database import DiskFullError
from store.errors import Error

if TYPE_CHECKING:
    from deploy.head import Head
    from deploy.journal import Intent
    from deploy.release import Release

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
JOURNALLED = frozenset(
    {Stage.SWITCHED, Stage.RESTARTED, Stage.HEALTHY, Stage.AGREED, Stage.REVERTING}
)


class Operator(Protocol):
    """Who asked for a change, and decides at two points whether it goes on.

    Each method raises an `Error` where it does not.
    """

    def hand_over(self) -> None:
        """Give the head what comes with the change besides the release."""
        ...

    def permit(self, intent: Intent, wanted: Release) -> None:
        """Return when the head may switch to what it has prepared."""
        ...

    def present(self) -> None:
        """Return if the operator is still there and wants the change; asked again and again."""
        ...

    def agree(self, intent: Intent, wanted: Release, changes: Changes) -> None:
        """Return when the healthy release is to stay."""
        ...


class Alone:
    """The operator of a single head, who wants what was asked for if it is well."""

    def hand_over(self) -> None:
        """Have nothing to give."""

    def permit(self, intent: Intent, wanted: Release) -> None:
        """Permit it."""

    def present(self) -> None:
        """Be there."""

    def agree(self, intent: Intent, wanted: Release, changes: Changes) -> None:
        """Agree."""


ALONE = Alone()


@dataclass(slots=True)
class Rollout:
    """A change under way: the intent, what was done so far, and why it failed if it did.

    `live` is false for a change that another process began: then services are put right as far as
    they run, and not waited for.
    """

    head: Head
    intent: Intent
    observe: Observe
    operator: Operator = ALONE
    live: bool = True
    changes: Changes = field(default_factory=Changes)
    cause: BaseException | None = None
    returned: bool = True
    """Whether there was anything to go back to."""

    def run(self, stage: Stage) -> Stage:
        """Go from `stage` to a final one, whatever happens on the way."""
        while stage not in FINAL:
            stage = self._step(stage)
        try:
            if stage is Stage.REFUSED:
                self.head.drop()
            self.head.unguard()
        except (Error, OSError) as error:  # the change is over, and how it ended is to be told
            self.observe(Event(What.FAILED, self._after, str(error)))
        return stage

    def failure(self, end: Stage) -> BaseException:
        """Return the error for a change that ended in the stage `end`."""
        cause = self.cause
        if not isinstance(cause, Error):
            return cause or AssertionError(end)
        if end is Stage.REFUSED:
            return cause
        if end is Stage.STRANDED:
            return StrandedError(
                self._story("which does not run well either"), cause=cause, hint=NEXT
            )
        return DeployFailedError(self._story("which runs again"), cause=cause, hint=NEXT)

    def _step(self, stage: Stage) -> Stage:
        following = advance(stage, self._attempt(ACTIONS[stage]))
        if following in JOURNALLED:
            try:
                self.head.journal.reach(following)
            except OSError as error:
                self.cause = self.cause or error
                # Without its stage in the journal a change does not go on; going back needs none.
                return following if following is Stage.REVERTING else Stage.REVERTING
        return following

    def _attempt(self, action: Action) -> Happening:
        try:
            self._act(action)
        except BaseException as error:  # noqa: BLE001 (also Ctrl-C must leave a whole generation)
            if self.cause is None:
                self.cause = explained(error, self.head.name)
                self.observe(Event(What.FAILED, self._after, str(self.cause)))
            return Happening.FAILED
        return Happening.DONE

    def _act(self, action: Action) -> None:
        match action:
            case Action.PREPARE:
                self.operator.hand_over()
                self.head.prepare(self._wanted(), self.observe, known=self._is_known())
                self.observe(Event(What.PREPARED, self._after, self.intent.path))
            case Action.PERMIT:
                self.operator.permit(self.intent, self._wanted())
            case Action.INTEND:
                self._intend()
            case Action.SWITCH:
                self.head.profile.switch(self.intent.after)
                self.observe(Event(What.SWITCHED, self._after))
            case Action.RESTART:
                self._restart()
            case Action.CHECK:
                self.head.check(self._wanted(), None, self.observe, self.operator.present)
            case Action.AWAIT:
                self.operator.agree(self.intent, self._wanted(), self.changes)
            case Action.CONFIRM:
                self._confirm()
            case Action.REVERT:
                self._revert()

    def _is_known(self) -> bool:
        """Tell whether the head has had this generation before."""
        return self.intent.after in {each.number for each in self.head.profile.generations()}

    def _intend(self) -> None:
        self.head.journal.write(self.intent)
        if not self._is_known():
            self.head.profile.add(
                self.intent.after,
                Path(self.intent.path),
                self.intent.by,
                before=self.intent.before,
            )
        self.head.guard(self._wanted())

    def _restart(self) -> None:
        self.changes = self.head.restart(self._wanted(), reload=False, observe=self.observe)
        told = (
            (What.STOPPED, self.changes.stopped),
            (What.STARTED, self.changes.started),
            (What.RESTARTED, self.changes.restarted),
            (What.RELOADED, self.changes.reloaded),
        )
        for what, names in told:
            for name in names:
                self.observe(Event(what, name))

    def _confirm(self) -> None:
        profile = self.head.profile
        if profile.current() != self.intent.after:
            raise Error(f"generation {self.intent.after} is not current", where=self.head.name)
        profile.mark(self.intent.after, Status.GOOD)
        self.head.settle()
        self.head.journal.clear()
        self.observe(Event(What.CONFIRMED, self._after))

    def _revert(self) -> None:
        """Go back: the profile first, so that from here on every reader sees the old release.

        Where nothing ran before it goes last: what puts the head right is found through it.
        """
        before = self.intent.before
        self.returned = self.head.drop() or before != self.intent.after
        if self.live and not self.returned:
            self.head.journal.clear()
            raise self.cause or Error("there is nothing to go back to", where=self.head.name)
        if before is not None and self.head.profile.current() != before:
            self.head.profile.switch(before)
        with suppress(OSError):  # going back does not end at a full disk
            self._mark_failed()
        self._put_back(before)
        if before is None:
            self.head.profile.switch(None)
        self.head.journal.clear()
        self.observe(Event(What.REVERTED, f"generation {before or 'none'}"))
        if before is not None and self._runs():
            self.head.check(self._release(before), None, self.observe)

    def _put_back(self, before: int | None) -> None:
        if before is not None and self._runs():
            self.head.restart(self._release(before), reload=True, observe=self.observe)
        elif self.live or self.head.services.alive():
            self.head.services.shutdown()

    def _runs(self) -> bool:
        """Tell whether the services are to run after going back: as they did before."""
        return self.intent.running and (self.live or self.head.services.alive())

    def _mark_failed(self) -> None:
        """Note that the generation failed.

        One that ran before, or that only its operator did not want, is as good as it was.
        """
        if self.intent.before == self.intent.after:
            return
        profile = self.head.profile
        found = {each.number: each for each in profile.generations()}.get(self.intent.after)
        if found is None:
            return
        unwanted = isinstance(self.cause, OperatorGoneError | TakenBackError)
        if self.live and not unwanted:
            profile.mark(found.number, Status.FAILED)
        elif found.status is Status.PENDING:
            profile.mark(found.number, Status.CUT)

    def _wanted(self) -> Release:
        return self.head.load(Path(self.intent.path))

    def _release(self, number: int) -> Release:
        return self.head.load(self.head.profile.get(number).path)

    @property
    def _after(self) -> str:
        return f"generation {self.intent.after}"

    def _story(self, end: str) -> str:
        what = f"{self.intent.action} of generation {self.intent.after} failed"
        reason = getattr(self.cause, "reason", str(self.cause))
        if self.intent.before is None:
            return f"{what}: {reason}; nothing ran before, and everything is stopped"
        if not self.returned:
            return f"{what}: {reason}; it is the current one, there is nothing to go back to"
        return f"{what}: {reason}; went back to generation {self.intent.before}, {end}"


def explained(error: BaseException, where: str) -> BaseException:
    """Return an error that an operator can act on, if the system's own word says what to do."""
    if not isinstance(error, OSError):
        return error
    kind = DiskFullError if error.errno in FULL else SystemRefusedError
    made = kind(
        f"the head's system does not do it: {error.strerror or error}",
        where=str(error.filename or where),
        hint="make room on the head" if error.errno in FULL else None,
    )
    made.__cause__ = error
    return made


NEXT = "sealift status; the failed generation is kept: sealift history"
