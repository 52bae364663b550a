"""Put a release on several heads, or take them back: what the table in `deploy.fleet` says.

Everything that can fail is done on all heads before anything is touched on one. Then the canary
switches, then the others in batches; if one head fails, all go back. Each head's own agent holds
its lock meanwhile, and goes back by itself should it hear nothing more from here.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy import aftermath, amounts, ending
from deploy.dialogue import TOUCHED, Phase
from deploy.ending import End, Kind
from deploy.errors import DisagreeError, FleetError, HeadError
from deploy.events import Event, What
from deploy.fleet import ACTIONS, FINAL, Action, Happening, Stage, advance
from deploy.heartbeat import beating
from deploy.node_sets import fold
from deploy.orders import HeadSettings, Order
from deploy.place import agent_of
from deploy.preflight import short
from deploy.remote import RemoteHead
from deploy.report import error_from_json
from deploy.stopping import Stopping, listening
from deploy.survey import survey, url
from deploy.team import HaltedError, StoppedError, Team, TeamError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.dialogue import Healthy, Session
    from deploy.planning import Plan
    from deploy.preflight import Refusal
    from deploy.survey import Wish
    from store.send import Progress

    Tell = Callable[[str, Event], None]

LOOK = 0.2
"""Seconds between looks at whether the operator wants to stop."""
PATIENCE = 120.0
"""Seconds of silence beyond the slowest health check that a switching head gets."""
SLOWEST = 300.0
"""Seconds that take the place of that check where the release is not known here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rollout came to that came to its end."""

    plan: Plan
    healthy: Mapping[str, Healthy]
    seconds: float


def nothing() -> None:
    """Do nothing."""


@dataclass(slots=True)
class Rolling:
    """One rollout under way; made for a single `run`.

    `show` gets the plan, refused or not; `agree` is asked when nothing speaks against it; `tell`
    hears what happens, from any thread, with the head's name.
    """

    heads: Sequence[RemoteHead]
    wish: Wish
    show: Callable[[Plan], None]
    agree: Callable[[], bool]
    tell: Tell
    between: Callable[[], None] = nothing
    """Called when everything is pushed and no service was touched; a `FleetError` of it stands."""
    plan: Plan | None = None
    _active: tuple[RemoteHead, ...] = ()
    _healthy: dict[str, Healthy] = field(default_factory=dict)
    _settled: dict[str, End] = field(default_factory=dict)
    _failures: dict[str, BaseException] = field(default_factory=dict)
    _stopping: Stopping = field(default_factory=Stopping)

    def run(self) -> Outcome:
        """Carry the rollout out.

        Raises:
            FleetRefusedError: nothing was touched.
            FleetRevertedError: all heads run again what they ran.
            FleetPartialError: they do not.
        """
        began = time.monotonic()
        try:
            with listening() as self._stopping, beating(self.heads, self.wish.deadline):
                end = self._roll()
        finally:
            self._part()
        if end is Stage.CONFIRMED and self.plan is not None:
            return Outcome(self.plan, self._healthy, time.monotonic() - began)
        error = ending.error(end, self.wish.action, self._failures, self._ends())
        for failure in self._failures.values():
            if not isinstance(failure, Error):
                failure.add_note("\n".join([error.reason, *error.lines]))
                raise failure
        raise error

    def _part(self) -> None:
        """Let go of all heads at once: each takes a moment to end its agent."""
        with ThreadPoolExecutor(max(1, self.wish.parallel), thread_name_prefix="part") as pool:
            list(pool.map(RemoteHead.close, self.heads))

    def _roll(self) -> Stage:
        stage = Stage.ASKED
        while stage not in FINAL:
            stage = advance(stage, self._attempt(ACTIONS[stage]))
        return stage

    def _attempt(self, action: Action) -> Happening:
        try:
            self._act(action)
        except (StoppedError, KeyboardInterrupt):
            self._failures.setdefault("", StoppedError())
            self._stopping.forget()
            return Happening.STOPPED
        except FleetError:
            raise
        except TeamError as error:
            self._note(error.failures)
            return Happening.FAILED
        except Error as error:
            if not self._failures:
                self._failures[""] = error
            return Happening.FAILED
        return Happening.DONE

    def _note(self, failures: Mapping[str, BaseException]) -> None:
        """Keep what went wrong first; what is only a consequence does not count."""
        for head, error in failures.items():
            if not isinstance(error, HaltedError):
                self._failures.setdefault(head, error)
                self.tell(head, Event(What.FAILED, head, str(error)))

    def _act(self, action: Action) -> None:
        acts: Mapping[Action, Callable[[], None]] = {
            Action.CHECK: self._check,
            Action.AGREE: self._agree,
            Action.PUSH: self._push,
            Action.PREPARE: self._prepare,
            Action.TRY: lambda: self._switch(self._batches()[:1]),
            Action.SPREAD: lambda: self._switch(self._batches()[1:]),
            Action.COUNT: lambda: self._each(self._active, lambda head: head.answers()),
            Action.CONFIRM: self._confirm,
            Action.DROP: self._let_go,
            Action.REVERT: self._go_back,
            Action.SETTLE: self._settle,
        }
        acts[action]()

    def _check(self) -> None:
        team = Team(self.wish.parallel, self._stopping)
        self.plan = survey(self.heads, self.wish, team, self._begin)
        present = {each.head for each in self.plan.heads}
        self._active = tuple(head for head in self.heads if head.name in present)
        self.show(self.plan)
        refused = {
            each.head: _refusal(each.head, refusal)
            for each in self.plan.heads
            for refusal in each.refusals[:1]
        }
        if refused:
            raise TeamError(refused, {})
        targets = {each.head: each.target for each in self.plan.heads}
        _agree_on({head: str(each.path) for head, each in targets.items() if each is not None})

    def _begin(self, head: RemoteHead) -> None:
        """Let begin on a head, while it is looked at, what takes its time and changes nothing.

        The agent that goes back starts, and waits for its order. Which agent it is that a new
        release wants is known only after the look; so for that just the way is opened.
        """
        if self.wish.release is None:
            head.open(self._agent(head), self._observer(head))
        else:
            head.expect_push()

    def _agree(self) -> None:
        with self._stopping.prompting():
            if not self.agree():
                raise StoppedError

    def _push(self) -> None:
        release = self.wish.release
        if release is None:
            return

        def push(head: RemoteHead) -> None:
            if head.facts is not None and head.facts.agent:
                # It starts while the push is under way, and waits for its order.
                head.open(self._agent(head), self._observer(head))
            sent = head.push(self.wish.store, release, self._watching(head))
            self.tell(head.name, Event(What.PUSHED, head.name, amounts.moved(sent)))

        self._each(self._active, push, together=True)
        self.between()

    def _watching(self, head: RemoteHead) -> Callable[[Progress], None]:
        return amounts.watching(
            lambda amount: self.tell(head.name, Event(What.SENDING, head.name, amount))
        )

    def _prepare(self) -> None:
        """Prepare everywhere; the first head by name is locked before the others.

        Of two operators who begin at once one gets that lock, and no head is left to the other:
        without an order each could hold what the other needs.
        """
        first, *others = sorted(self._active, key=lambda head: head.name)
        opened = threading.Event()

        def prepare(head: RemoteHead) -> None:
            try:
                session = head.open(self._agent(head), self._observer(head))
                if head is first:
                    session.when_locked(opened.set)
                else:
                    self._follow(first, opened)
                session.prepare(self._order(head))
            finally:
                if head is first:
                    opened.set()

        self._each([first, *others], prepare)
        self._check_targets()

    def _follow(self, first: RemoteHead, opened: threading.Event) -> None:
        """Wait until the first head is locked.

        Raises:
            HaltedError: it is not.
        """
        while not opened.wait(LOOK) and not self._stopping.asked:
            pass
        if first.session is None or not first.session.holds:
            raise HaltedError

    def _order(self, head: RemoteHead) -> Order:
        wish = self.wish
        if wish.release is None:
            return Order("rollback", wish.by, wish.deadline, to=wish.to)
        head.url = url(wish.release, head.host.address)
        settings = HeadSettings(head.name, head.host.services, head.url, wish.keep, wish.state_dir)
        return Order(
            "deploy",
            wish.by,
            wish.deadline,
            release=wish.release.path,
            head=settings,
            secrets=wish.secrets.get(head.name, {}),
        )

    def _agent(self, head: RemoteHead) -> str:
        release = self.wish.release
        return head.place.agent if release is None else agent_of(release)

    def _observer(self, head: RemoteHead) -> Callable[[Event], None]:
        return lambda event: self.tell(head.name, event)

    def _check_targets(self) -> None:
        """Refuse to go back to releases that differ from head to head.

        Raises:
            DisagreeError: they do; says which.
        """
        _agree_on({head.name: aftermath.target(head, self.wish.release) for head in self._active})

    def _batches(self) -> Sequence[Sequence[RemoteHead]]:
        named = {head.name: head for head in self._active}
        return [[named[n] for n in batch] for batch in (self.plan.batches if self.plan else ())]

    def _switch(self, batches: Sequence[Sequence[RemoteHead]]) -> None:
        patience = PATIENCE + _slowest(self.wish)

        def switch(head: RemoteHead) -> None:
            self._healthy[head.name] = _session(head).switch(patience)

        for batch in batches:
            self._each(batch, switch, together=True)

    def _confirm(self) -> None:
        left = [head for head in self._active if _session(head).phase is not Phase.CONFIRMED]
        self._each(left, lambda head: _session(head).confirm(), through=True)

    def _let_go(self) -> None:
        """Let the heads go that were not touched."""
        waiting = [head for head in self._active if head.session and head.session.untouched]
        self._each(waiting, lambda head: _session(head).drop(), through=True)

    def _go_back(self) -> None:
        """Let every head that was touched go back, and the others go."""
        touched = self._touched()
        if touched:
            self.tell("", Event(What.REVERTING, fold(head.name for head in touched)))
        self._let_go()
        self._each(touched, self._one_back, through=True)
        bad = (Kind.STRANDED, Kind.UNKNOWN, Kind.KEPT)
        if any(end.kind in bad for end in self._ends().values()):
            raise HeadError("not every head went back")

    def _one_back(self, head: RemoteHead) -> None:
        session = _session(head)
        try:
            session.back()
        except Error:
            if session.phase is not Phase.LOST and not session.untouched:
                raise
        if session.phase is Phase.LOST:
            self._ask(head, same=Kind.BACK)

    def _settle(self) -> None:
        """See what those heads run that did not say that they keep it."""
        self._each(self._touched(), lambda head: self._ask(head, same=Kind.KEPT), through=True)
        if any(end.kind is not Kind.KEPT for end in self._ends().values()):
            raise HeadError("not every head was confirmed")

    def _ask(self, head: RemoteHead, *, same: Kind) -> None:
        """Ask a head that was lost what it runs, when it has made up its mind.

        `same` is what it means if the release that was to come ran before, too.
        """
        self.tell(head.name, Event(What.LOST, head.name, "asking what it runs"))
        wish = self.wish
        self._settled[head.name] = aftermath.asked(
            head, wish.release, deadline=wish.deadline, same=same
        )

    def _touched(self) -> list[RemoteHead]:
        phases = {*TOUCHED, Phase.LOST}
        return [head for head in self._active if head.session and head.session.phase in phases]

    def _ends(self) -> dict[str, End]:
        """Say what became of each head."""
        found = {
            head.name: self._settled.get(head.name) or aftermath.told(head) for head in self.heads
        }
        if self.plan is not None:
            found |= {each.head: End(Kind.ABSENT) for each in self.plan.absent}
        return found

    def _each(
        self,
        heads: Sequence[RemoteHead],
        do: Callable[[RemoteHead], None],
        *,
        together: bool = False,
        through: bool = False,
    ) -> None:
        """Do it on all; `through` what the operator cannot stop any more."""
        if heads:
            stopping = Stopping() if through else self._stopping
            Team(self.wish.parallel, stopping).each(heads, do, together=together)


def _refusal(head: str, found: Refusal) -> Error:
    """Return the error that the head itself would raise."""
    facts = {"slug": found.slug, "exit_code": HeadError.exit_code, "where": head}
    return error_from_json({**facts, "reason": found.reason, "hint": found.hint})


def _agree_on(targets: Mapping[str, str | None]) -> None:
    """Refuse heads that would not all run the same release; `targets` are those, by head.

    Raises:
        DisagreeError: they would not.
    """
    if ending.skewed(targets.values()):
        told = [f"{fold(heads)}: {short(t)}" for t, heads in ending.groups(targets).items()]
        raise DisagreeError(
            "the heads would go back to different releases",
            got="; ".join(told),
            hint="sealift rollback --host HEAD, one after the other",
        )


def _session(head: RemoteHead) -> Session:
    if head.session is None:
        raise HeadError("no session", where=head.name)
    return head.session


def _slowest(wish: Wish) -> float:
    if wish.release is None:
        return SLOWEST
    return max((each.health.timeout for each in wish.release.services.values()), default=0.0)
