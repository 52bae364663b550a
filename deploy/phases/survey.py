"""The look at all phases before anything is done: the state of every head, and the plan.

Each head is asked once for all phases; then each phase's module looks at its cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from deploy.phases import ending, phases, plan, upgrade
from deploy.phases.behind import behind
from deploy.phases.crew import Clock, Crew
from deploy.phases.errors import PhaseTimeoutError, UnwellError
from deploy.phases.phase import Finding, Kind, Rolling
from deploy.phases.state import VERIFIED
from deploy.phases.together import together
from deploy.stopping import Stopping
from deploy.team import StoppedError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.phases.member import Member
    from deploy.phases.phase import Phase
    from deploy.phases.plan import PhasePlan, Plan
    from deploy.phases.state import State
    from deploy.phases.wish import Wish

    Tell = Callable[[str, str, str], None]
    States = Mapping[str, Mapping[str, State]]
    Verified = Mapping[str, Mapping[str, bool]]

SYNC_SECONDS = 30.0
"""How long a phase that another one stands on may take until it is well: it heals, or syncs."""


def silent(_phase: str, _head: str, _text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What work on phases stands on: the heads that are there, what is wanted, the modules."""

    members: Mapping[str, Member]
    missing: tuple[str, ...]
    wish: Wish
    module: Callable[[str], Phase] = phases.module
    tell: Tell = silent
    stopping: Stopping = field(default_factory=Stopping)
    clock: Clock = field(default_factory=Clock)

    def states(self) -> dict[str, Mapping[str, State]]:
        """Ask every head for all its phases at once; the states by head and phase.

        Raises:
            CrewError: a head does not tell.
        """
        wish = self.wish
        heads = tuple(self.members.values())
        return together(heads, lambda each: each.check(list(wish.of(each.name))), wish.parallel)

    def crew(self, phase: str, states: States) -> Crew:
        """Return the heads of one phase, in the phase's order."""
        wanted = self.wish.configurations[phase]
        here = [self.members[name] for name in wanted if name in self.members]
        return Crew(
            phase=phase,
            members=tuple(each for each in here if each.name in self.wish.heads),
            witnesses=tuple(each for each in here if each.name not in self.wish.heads),
            missing=tuple(name for name in wanted if name not in self.members),
            configurations=wanted,
            states={each.name: states[each.name][phase] for each in here},
            observe=lambda head, text: self.tell(phase, head, text),
            stopping=self.stopping,
            clock=self.clock,
            parallel=self.wish.parallel,
        )

    def crews(self, states: States) -> dict[str, Crew]:
        """Return the heads of each phase that was asked for, and that has members."""
        found = {phase: self.crew(phase, states) for phase in self.wish.phases}
        return {phase: crew for phase, crew in found.items() if crew.members}


def survey(ground: Ground, findings: Sequence[Finding] = ()) -> tuple[Plan, dict[str, Crew]]:
    """Look at all phases; return what a run would do, and the heads of each phase.

    `findings` are about heads, whatever the phase.

    Raises:
        CrewError: a head does not tell of its phases.
        StoppedError: the operator does not want to wait.
    """
    wish = ground.wish
    states = ground.states()
    crews = ground.crews(states)
    verified = _verified(wish, states)
    plans = [
        plan.judge(
            crew,
            (*behind(wish, crew, states), *upgrade.against(crew), *_asked(ground, crew)),
            verified=verified,
            asked=wish.phases,
        )
        for crew in crews.values()
    ]
    plans = [
        replace(each, findings=(*_unwell(ground, each, states, verified), *each.findings))
        for each in plans
    ]
    members = tuple(head for head in ground.members if head in wish.heads)
    found = plan.Plan(
        action="run",
        release=str(wish.release.path),
        heads=members,
        missing=ground.missing,
        phases=plan.settle(plans),
        findings=tuple(findings),
    )
    return found, crews


def told_by(crew: Crew, check: Callable[[], Sequence[Finding]]) -> tuple[Finding, ...]:
    """Return what a phase's module says; where it cannot tell, that is a refusal."""
    try:
        return tuple(check())
    except StoppedError:
        raise
    except Error as error:
        names = [each.name for each in crew.everybody]
        head = error.where if error.where in names else ""
        got = f": {error.got}" if error.got else ""
        reason = f"{error.reason}{got}"
        return (Finding(head or "", reason, Kind.REFUSAL, slug=error.slug, hint=error.hint),)


def _asked(ground: Ground, crew: Crew) -> tuple[Finding, ...]:
    return told_by(crew, lambda: ground.module(crew.phase).check(crew))


def _unwell(
    ground: Ground, one: PhasePlan, states: States, verified: Verified
) -> tuple[Finding, ...]:
    """Refuse to work on a phase while one that it comes after was verified and is not well.

    What this run does as well, it puts right. Where a head is missing nobody asks: that is known.
    """
    wish = ground.wish
    found: list[Finding] = []
    for other in one.after if one.changes or one.refusals else ():
        if other in wish.phases or other not in wish.configurations:
            continue
        crew = ground.crew(other, states)
        laid = all(each.laid for each in crew.states.values())
        tried = all(verified[other].get(each, True) for each in one.members)
        if laid and tried and not crew.missing:
            found += told_by(crew, partial(_not_well, ground, crew, one.name))
    return tuple(found)


def _not_well(ground: Ground, crew: Crew, above: str) -> Sequence[Finding]:
    """Say why a phase, as it is laid, is not well; `above` is the one that stands on it."""
    module = ground.module(crew.phase)
    if not isinstance(module, Rolling):
        return ()
    told = crew.each(lambda member: member.laid(crew.phase), crew.everybody)
    laid = {name: each for name, each in told.items() if each is not None}
    laid = {**crew.configurations, **laid}
    as_laid = replace(crew, configurations=laid, observe=partial(ground.tell, above))
    try:
        as_laid.wait(f"{crew.phase} is well", lambda: module.well(as_laid), SYNC_SECONDS, 1.0)
    except PhaseTimeoutError as error:
        what = f"{crew.phase}, on which {above} stands, is not well: {error.got or error.reason}"
        names = [*ground.wish.heads, *(each.name for each in crew.everybody)]
        wish = replace(ground.wish, heads=tuple(dict.fromkeys(names)))
        hint = ending.command("run", (crew.phase, above), wish)
        return (Finding("", what, Kind.REFUSAL, slug=UnwellError.slug, hint=hint),)
    return ()


def _verified(wish: Wish, states: States) -> dict[str, dict[str, bool]]:
    """Tell by phase and head what was verified, whatever the configuration."""
    return {
        phase: {
            head: recorded is not None and recorded.state == VERIFIED
            for head, of in states.items()
            if phase in of
            for recorded in (of[phase].recorded,)
        }
        for phase in wish.configurations
    }
