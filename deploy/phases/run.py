"""Carry phases out, one after the other: what the table in `deploy.phases.course` says.

Everything that speaks against any of them is found before one is touched. The first failure ends
the run; a later one goes on from there. What each phase does is for its module, what a head does
for its `Member`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deploy.phases import ending, plan, upgrade
from deploy.phases.course import ACTIONS, FINAL, Action, Outcome, Stage, advance
from deploy.phases.errors import CrewError, PhaseError
from deploy.phases.plan import Doing
from deploy.phases.survey import survey
from deploy.team import StoppedError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.phase import Finding, Phase
    from deploy.phases.plan import Plan
    from deploy.phases.survey import Ground

    Show = Callable[[Plan], None]
    Agree = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did; by phase.

    `stages` are final, `tried` what was verified, `seconds` how long each took, `dpkg` the longest
    that a head's packages took of that.
    """

    plan: Plan
    stages: Mapping[str, Stage]
    tried: Mapping[str, tuple[str, ...]]
    seconds: Mapping[str, float]
    dpkg: Mapping[str, float]

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return Stage.VERIFIED in self.stages.values()


@dataclass(slots=True)
class Run:
    """One run under way; made for a single `go`.

    `show` gets the plan, refused or not; `agree` is asked when nothing speaks against it and there
    is something to change.
    """

    ground: Ground
    show: Show
    agree: Agree
    findings: Sequence[Finding] = ()
    _stages: dict[str, Stage] = field(default_factory=dict)
    _tried: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _dpkg: dict[str, float] = field(default_factory=dict)
    _crews: Mapping[str, Crew] = field(default_factory=dict)
    _failure: Error | None = None

    def go(self) -> Done:
        """Look at all phases, then carry out what there is to do.

        Raises:
            PhasesRefusedError: something speaks against it; nothing was touched.
            PhasesPartialError: a phase failed; says what each head has reached.
            PhasesStoppedError: the operator wanted no more of it.
        """
        found, crews = survey(self.ground, self.findings)
        self._crews = crews
        self.show(found)
        if found.refusals:
            raise ending.refused("run", found.refusals)
        if found.changes and not self._agreed():
            raise ending.stopped("run", {}, {}, next_=self._next(found))
        for each in found.phases:
            self._stages[each.name] = _FIRST[each.doing]
        for each in found.phases:
            with self._noting(found, crews[each.name]):
                self._phase(found, each.name, crews[each.name])
        return Done(found, self._stages, self._tried, self._seconds, self._dpkg)

    @contextmanager
    def _noting(self, found: Plan, crew: Crew) -> Iterator[None]:
        """Let a bug, too, tell what each head has reached."""
        try:
            yield
        except Error:
            raise
        except Exception as bug:
            lines = ending.lines(self._cells(found, crew.phase, crew))
            bug.add_note("\n".join([*lines, self._next(found)]))
            raise

    def _agreed(self) -> bool:
        try:
            with self.ground.stopping.prompting():
                return self.agree()
        except KeyboardInterrupt:
            return False

    def _phase(self, found: Plan, phase: str, crew: Crew) -> None:
        """Lead one phase to a final stage; raise where that is not the wanted one."""
        began = time.monotonic()
        while (stage := self._stages[phase]) not in FINAL:
            action = ACTIONS[stage]
            self._tell(phase, action.value)
            crew, outcome = self._attempt(found, action, crew)
            self._stages[phase] = advance(stage, outcome)
            if outcome is not Outcome.DONE:
                raise self._ended(found, phase, crew, outcome)
        self._seconds[phase] = time.monotonic() - began
        self._tell(phase, self._stages[phase].value)

    def _attempt(self, found: Plan, action: Action, crew: Crew) -> tuple[Crew, Outcome]:
        if crew.stopping.asked:
            return crew, Outcome.STOPPED
        try:
            return self._act(found, action, crew), Outcome.DONE
        except StoppedError:
            return crew, Outcome.CUT
        except Error as error:
            self._failure = error
            return crew, Outcome.FAILED

    def _act(self, found: Plan, action: Action, crew: Crew) -> Crew:
        """Carry one action out; return the heads as they are known from then on."""
        module = self.ground.module(crew.phase)
        match action:
            case Action.REQUIRE:
                return self._require(crew)
            case Action.LAY:
                self._lay(found, crew)
            case Action.APPLY:
                module.apply(crew)
            case Action.ENABLE:
                crew.each(lambda member: member.enable(crew.phase))
            case Action.VERIFY:
                self._tried[crew.phase] = tuple(module.verify(crew))
            case Action.AGAIN:
                self._again(module, crew)
            case Action.RECORD:
                crew.each(lambda member: member.verified(crew.phase))
        return crew

    def _again(self, module: Phase, crew: Crew) -> None:
        """Try a phase that did not change; one that does not work counts as laid alone.

        Else the next run would take it for verified.
        """
        try:
            self._tried[crew.phase] = tuple(module.verify(crew))
        except Error:
            with suppress(Error):
                crew.each(lambda member: member.lay(crew.phase))
            raise

    def _require(self, crew: Crew) -> Crew:
        """Look at the heads once more if a phase before has changed them.

        Raises:
            PhaseError: something speaks against it now.
        """
        if Stage.VERIFIED not in self._stages.values():
            return crew
        states = crew.each(lambda member: member.check([crew.phase]), crew.everybody)
        fresh = replace(crew, states={name: each[crew.phase] for name, each in states.items()})
        judged = plan.judge(fresh, (), verified={}, asked=self.ground.wish.phases)
        for refusal in judged.refusals:
            where = refusal.head or crew.phase
            raise PhaseError(f"{refusal.head}: {refusal.what}", where=where, hint=refusal.hint)
        return fresh

    def _lay(self, found: Plan, crew: Crew) -> None:
        later = [each.name for each in found.phases if self._stages[each.name] is Stage.WAITING]
        laid = upgrade.lay(
            crew,
            self.ground.module(crew.phase),
            lambda member: member.lay(crew.phase, self._ahead(later, member.name)),
        )
        self._dpkg[crew.phase] = max((each.seconds for each in laid.values()), default=0.0)

    def _ahead(self, later: Sequence[str], head: str) -> list[str]:
        """Return the phases whose packages come along; none if any of theirs would be replaced."""
        states = {each: self._crews[each].states.get(head) for each in later}
        here = {each: state for each, state in states.items() if state is not None}
        return [] if upgrade.behind(list(here.values())) else list(here)

    def _ended(self, found: Plan, phase: str, crew: Crew, outcome: Outcome) -> Error:
        cells = self._cells(found, phase, crew)
        for head, text in cells[phase].items():
            self.ground.tell(phase, head, text)
        if outcome in {Outcome.STOPPED, Outcome.CUT}:
            return ending.stopped("run", self._stages, cells, next_=self._next(found))
        if self._failure is None:
            return PhaseError(f"{phase} failed", where=phase)
        return ending.failed(
            "run", phase, self._failure, self._stages, cells, next_=self._next(found)
        )

    def _cells(self, found: Plan, phase: str, crew: Crew) -> dict[str, dict[str, str]]:
        """Return what each phase has reached on each head."""
        failed = _culprits(self._failure, crew)
        return {
            each.name: {
                head: "failed"
                if each.name == phase and head in failed
                else self._stages[each.name].value
                for head in each.members
            }
            for each in found.phases
        }

    def _next(self, found: Plan) -> str:
        """Return the command that goes on from here."""
        return ending.command("run", [each.name for each in found.phases], self.ground.wish)

    def _tell(self, phase: str, text: str) -> None:
        """Tell what is done about a phase, on all its heads."""
        self.ground.tell(phase, "", text)


_FIRST = {
    Doing.RUN: Stage.WAITING,
    Doing.AGAIN: Stage.KNOWN,
    Doing.NOTHING: Stage.UNCHANGED,
}
"""Where a phase begins, by what is going to be done about it."""


def _culprits(failure: Error | None, crew: Crew) -> frozenset[str]:
    """Return the heads on which it failed; all of them where it was the cluster."""
    if failure is None:
        return frozenset()
    if isinstance(failure, CrewError):
        return frozenset(failure.failures)
    names = frozenset(each.name for each in crew.members)
    return names & {failure.where} or names
