"""Take phases back, the last one first: as far as that can be done, and what cannot, if named.

What a phase's module undoes is the cluster; then each head takes back what was laid. What is
irreversible (data, above all) stays where it is unless the operator has named it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from deploy.phases import ending
from deploy.phases.course import Stage
from deploy.phases.errors import CrewError, DestroysNothingError, NeededError
from deploy.phases.parting import leaving, stands
from deploy.phases.phase import Finding, Kind, Parting
from deploy.phases.plan import Doing, PhasePlan, Plan
from deploy.phases.survey import told_by
from deploy.team import StoppedError
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.parting import Leaving
    from deploy.phases.state import State
    from deploy.phases.survey import Ground

    Show = Callable[[Plan], None]
    Agree = Callable[[], bool]

UNDONE = "undone"
KEPT = "what lay there before comes back"
BEGUN = "remove what came while laying it was begun, and cut off"


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back; `phases` in the order in which it was done."""

    plan: Plan
    phases: tuple[str, ...]


@dataclass(slots=True)
class Undo:
    """One undoing under way; made for a single `go`. `destroy` names what is to be lost."""

    ground: Ground
    destroy: Collection[str]
    show: Show
    agree: Agree
    findings: Sequence[Finding] = ()
    _cells: dict[str, dict[str, str]] = field(default_factory=dict)
    _leaving: dict[str, Leaving] = field(default_factory=dict)

    def go(self) -> Undone:
        """Look, show, ask, then take back one phase after the other.

        Raises:
            InputError: nothing of this name is to be destroyed.
            PhasesRefusedError: something speaks against it; nothing was touched.
            PhasesPartialError: it failed; says what each head has reached.
            PhasesStoppedError: the operator wanted no more of it.
        """
        found = self.look()
        self.show(found)
        if found.refusals:
            raise ending.refused("undo", found.refusals)
        if found.changes and not self._agreed():
            raise ending.stopped("undo", {}, {}, next_=self._next())
        done = []
        for each in found.phases:
            if each.doing is Doing.RUN:
                self._one(self._leaving[each.name])
                done.append(each.name)
        return Undone(found, tuple(done))

    def look(self) -> Plan:
        """Return what would be taken back; changes nothing.

        Raises:
            InputError: nothing of this name is to be destroyed.
            CrewError: a head does not tell of its phases.
        """
        states = self.ground.states()
        for phase in self.ground.wish.phases:
            self._leaving[phase] = leaving(self.ground, phase, states)
        self._check_names()
        return self._plan(states)

    def _agreed(self) -> bool:
        try:
            with self.ground.stopping.prompting():
                return self.agree()
        except KeyboardInterrupt:
            return False

    def _check_names(self) -> None:
        """Refuse to destroy what nobody knows.

        Raises:
            InputError: it is nothing that these phases could lose.
        """
        laid = {name for each in self._leaving.values() for name in each.irreversible}
        known = sorted({*laid, *self._declared()})
        for name in self.destroy:
            if name not in known:
                near = get_close_matches(name, known, 1)
                raise InputError(
                    f"nothing that is called {name!r} could be destroyed here",
                    got=f"there is: {', '.join(known) or 'nothing'}",
                    hint=f"did you mean --yes-destroy {near[0]}?" if near else None,
                )

    def _declared(self) -> dict[str, str]:
        """Return what the release's phases could lose, with the phase."""
        wanted = self.ground.wish.configurations
        return {
            name: phase
            for phase in self.ground.wish.phases
            for each in wanted[phase].values()
            for name in each.irreversible
        }

    def _nothing(self) -> Iterator[Finding]:
        """Refuse to destroy what is not laid: it is not known any more where it would be."""
        laid = {name for each in self._leaving.values() for name in each.irreversible}
        for name, phase in self._declared().items():
            if name in self.destroy and name not in laid:
                what = f"--yes-destroy {name} would destroy nothing: {phase} is not laid with it"
                again = ending.command("run", (phase,), self.ground.wish)
                hint = f"first {again}, then undo it with --yes-destroy {name}"
                slug = DestroysNothingError.slug
                yield Finding("", what, Kind.REFUSAL, slug=slug, hint=hint)

    def _plan(self, states: Mapping[str, Mapping[str, State]]) -> Plan:
        """Return what is going to be taken back, the last phase first."""
        phases = [self._one_plan(each, states) for each in reversed(self._leaving.values())]
        return Plan(
            action="undo",
            release=str(self.ground.wish.release.path),
            heads=tuple(h for h in self.ground.members if h in self.ground.wish.heads),
            missing=self.ground.missing,
            phases=tuple(phases),
            findings=(*self.findings, *self._nothing()),
        )

    def _one_plan(self, one: Leaving, states: Mapping[str, Mapping[str, State]]) -> PhasePlan:
        crew = one.crew
        wanted = next(iter(self.ground.wish.configurations[crew.phase].values()))
        laid, begun = ([each.name for each in heads] for heads in (crew.members, one.begun))
        findings = [*one.refusals]
        if not findings:
            findings += [each for head in laid for each in _taken(crew, head)]
            findings += [Finding(head, BEGUN, Kind.CHANGE) for head in begun]
            findings += [self._lost(name) for name in one.irreversible]
            findings += self._needed(crew.phase, [*laid, *begun], states)
            findings += self._before(crew) if laid else ()
        return PhasePlan(
            crew.phase,
            wanted.number,
            wanted.after,
            (*laid, *begun),
            tuple(each.name for each in crew.witnesses),
            crew.missing,
            tuple(findings),
            Doing.RUN if laid or begun else Doing.NOTHING,
        )

    def _before(self, crew: Crew) -> tuple[Finding, ...]:
        """Return what the phase's module says of it; where it cannot tell, that is a refusal."""
        module = self.ground.module(crew.phase)
        if not isinstance(module, Parting):
            return ()
        return told_by(crew, lambda: module.before_undo(crew, self.destroy))

    def _lost(self, name: str) -> Finding:
        if name in self.destroy:
            return Finding("", f"destroy {name}", Kind.IRREVERSIBLE, "it cannot be brought back")
        return Finding("", f"keep {name}", Kind.NOTE, f"--yes-destroy {name} would destroy it")

    def _needed(
        self, phase: str, laid: Collection[str], states: Mapping[str, Mapping[str, State]]
    ) -> Iterator[Finding]:
        """Refuse to take back what others stand on that stay."""
        wish = self.ground.wish
        for other, hosts in wish.configurations.items():
            if other in wish.phases or all(phase not in each.after for each in hosts.values()):
                continue
            for head in laid:
                if other in states[head] and stands(states[head][other]):
                    yield Finding(
                        head,
                        f"{other} stands on {phase}, and is still there",
                        Kind.REFUSAL,
                        slug=NeededError.slug,
                        hint=ending.command("undo", [*wish.phases, other], wish),
                    )

    def _one(self, one: Leaving) -> None:
        """Take one phase back; its module has nothing to do where it was laid nowhere."""
        crew, heads = one.crew, (*one.crew.members, *one.begun)
        self._cells[crew.phase] = dict.fromkeys((each.name for each in heads), Stage.HALF.value)
        self.ground.tell(crew.phase, "", "undo")
        try:
            crew.look()
            if crew.members:
                self.ground.module(crew.phase).undo(crew, self.destroy)
            crew.each(lambda member: member.unlay(crew.phase), heads)
        except StoppedError:
            stages = {crew.phase: Stage.HALF}
            raise ending.stopped("undo", stages, self._cells, next_=self._next()) from None
        except Error as error:
            raise self._failed(crew, error) from error
        self._cells[crew.phase] = dict.fromkeys(self._cells[crew.phase], UNDONE)
        self.ground.tell(crew.phase, "", UNDONE)

    def _failed(self, crew: Crew, error: Error) -> Error:
        if isinstance(error, CrewError):
            self._cells[crew.phase] |= dict.fromkeys(error.failures, "failed")
        stages = {crew.phase: Stage.HALF}
        next_ = self._next()
        return ending.failed("undo", crew.phase, error, stages, self._cells, next_=next_)

    def _next(self) -> str:
        """Return the command that goes on from here: what is undone is not asked for again."""
        left = [
            phase
            for phase in self.ground.wish.phases
            if UNDONE not in self._cells.get(phase, {}).values()
        ]
        names = {
            n for each in left if each in self._leaving for n in self._leaving[each].irreversible
        }
        destroy = "".join(f" --yes-destroy {name}" for name in self.destroy if name in names)
        return ending.command("undo", left, self.ground.wish) + destroy


def _taken(crew: Crew, head: str) -> Iterator[Finding]:
    """Yield what a head takes back of a phase."""
    state, wanted = crew.states[head], crew.configuration(head)
    units = [each.name for each in wanted.units if each.enabled]
    if units:
        yield Finding(head, f"stop {', '.join(units)}", Kind.CHANGE)
    if wanted.files:
        yield Finding(head, f"remove {len(wanted.files)} files of ours", Kind.CHANGE, KEPT)
    installed = state.recorded.installed if state.recorded is not None else ()
    if installed:
        yield Finding(head, f"remove {len(installed)} packages that came with it", Kind.CHANGE)
