"""What a run of phases is going to do, as values: to be shown, and to be agreed to. Pure.

What is generic is worked out here, from the states of the heads and what is wanted of them; what a
phase alone knows, its module's `check` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from deploy.errors import PortTakenError
from deploy.node_sets import fold
from deploy.phases.errors import NotVerifiedError
from deploy.phases.phase import Finding, Kind
from deploy.phases.state import NONE, RESTART, VERIFIED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from deploy.phases.configuration import Configuration, File
    from deploy.phases.crew import Crew
    from deploy.phases.state import FileState, State

ABSENT = "absent"
"""What a difference of a package begins with that is not installed."""
NAMED = 4
"""How many packages a line names; of more it gives the number."""
FILES = {
    "missing": "write {}",
    "changed": "change {}",
    "foreign": "replace {}, which is not ours",
    "gone": "remove {}",
}


class Doing(Enum):
    """What is going to be done about a phase."""

    RUN = "run"
    AGAIN = "try again"
    NOTHING = "unchanged"


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """What one phase has ahead of it; heads by name."""

    name: str
    number: int
    after: tuple[str, ...]
    members: tuple[str, ...]
    witnesses: tuple[str, ...]
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]
    doing: Doing = Doing.RUN
    files: Mapping[str, tuple[FileState, ...]] = field(default_factory=lambda: NONE)
    """By head, those that differ."""

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What speaks against it."""
        return tuple(each for each in self.findings if each.kind is Kind.REFUSAL)

    @property
    def changes(self) -> tuple[Finding, ...]:
        """What it is going to change."""
        return tuple(each for each in self.findings if each.kind is Kind.CHANGE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all phases have ahead of them; `findings` are about heads, whatever the phase."""

    action: str
    release: str
    heads: tuple[str, ...]
    missing: tuple[str, ...]
    phases: tuple[PhasePlan, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """All that speaks against it."""
        own = tuple(each for each in self.findings if each.kind is Kind.REFUSAL)
        return (*own, *(each for phase in self.phases for each in phase.refusals))

    @property
    def changes(self) -> bool:
        """Whether anything is going to be changed."""
        return any(each.doing is Doing.RUN for each in self.phases)


def judge(
    crew: Crew,
    found: Sequence[Finding],
    *,
    verified: Mapping[str, Mapping[str, bool]],
    asked: Collection[str],
) -> PhasePlan:
    """Return the plan of one phase; `found` is what its module says.

    `verified` tells by phase and head what was verified, `asked` which phases are in this run.
    """
    wanted = crew.shared
    generic = [each for member in crew.members for each in _differences(crew, member.name)]
    generic += [each for member in crew.witnesses for each in _witness(crew, member.name)]
    generic += _required(crew, verified, asked)
    findings = (*generic, *found)
    changed = any(each.kind is Kind.CHANGE for each in findings)
    return PhasePlan(
        crew.phase,
        wanted.number,
        wanted.after,
        tuple(each.name for each in crew.members),
        tuple(each.name for each in crew.witnesses),
        crew.missing,
        findings,
        Doing.RUN if changed else Doing.NOTHING,
        {each.name: crew.states[each.name].files for each in crew.members},
    )


def settle(plans: Sequence[PhasePlan]) -> tuple[PhasePlan, ...]:
    """Let be tried again what does not change and builds on what does."""
    changing = {each.name for each in plans if each.doing is Doing.RUN}
    return tuple(
        replace(each, doing=Doing.AGAIN)
        if each.doing is Doing.NOTHING and changing & set(each.after)
        else each
        for each in plans
    )


def _differences(crew: Crew, head: str) -> Iterator[Finding]:
    """Yield how a head differs from what is wanted of it."""
    state, wanted = crew.states[head], crew.configuration(head)
    for each in state.refusals:
        yield Finding(head, each.reason, Kind.REFUSAL, slug=each.slug, hint=each.hint)
    yield from _ports(head, state, wanted)
    changes = [
        *_packages(crew, head, state),
        *(_change(head, each) for each in state.users),
        *(_change(head, f"folder {each}") for each in state.directories),
        *_files(head, state, wanted),
        *_units(head, state, wanted),
    ]
    yield from changes or _recorded(head, state, wanted)


def _change(head: str, what: str, consequence: str = "") -> Finding:
    return Finding(head, what, Kind.CHANGE, consequence)


def _recorded(head: str, state: State, wanted: Configuration) -> Iterator[Finding]:
    """Yield what there is to do where nothing differs but what is written down."""
    if state.recorded is None:
        yield _change(head, "lay it: all that it wants is there already")
    elif state.recorded.path != str(wanted.path):
        yield _change(head, "take the new configuration, whose files are the same")
    elif state.recorded.state != VERIFIED:
        yield _change(head, "finish it: it was laid, and not verified")


def _packages(crew: Crew, head: str, state: State) -> Iterator[Finding]:
    fresh = sorted(name for name, each in state.packages.items() if each.startswith(ABSENT))
    if fresh:
        names = ", ".join(fresh) if len(fresh) <= NAMED else f"{len(fresh)} packages"
        yield _change(head, f"install {names}")
    running = [name for name, each in state.units.items() if each.running]
    consequence = ""
    if running:
        order = ", ".join(each.name for each in crew.members)
        consequence = f"restarts {', '.join(running)}, one head after the other: {order}"
    for name, moved in sorted(state.packages.items()):
        if name not in fresh:
            yield _change(head, f"upgrade {name} {moved}", consequence)


def _files(head: str, state: State, wanted: Configuration) -> Iterator[Finding]:
    known = {str(each.path): each for each in wanted.files}
    for each in state.files:
        kept = f"what is there is kept as {each.aside}" if each.aside else ""
        told = [part for part in (kept, _stirs(each, known.get(each.path), state)) if part]
        what = FILES.get(each.what, f"{each.what} {{}}").format(each.path)
        yield _change(head, what, "; ".join(told))


def _stirs(_changed: FileState, file: File | None, state: State) -> str:
    """Say which units a change of a file restarts or reloads: those that run."""
    units = () if file is None else file.units
    running = [each for each in units if each in state.units and state.units[each].running]
    if file is None or not running:
        return ""
    return f"{'reloads' if file.reload else 'restarts'} {', '.join(running)}"


def _units(head: str, state: State, wanted: Configuration) -> Iterator[Finding]:
    """Yield what is wrong with units; before the phase was laid there is nothing to say."""
    if not state.laid:
        return
    for wish in wanted.units:
        unit = state.units.get(wish.name)
        if unit is None:
            continue
        if not wish.enabled:
            if unit.enabled:
                yield _change(head, f"keep {wish.name} from starting at boot")
            continue
        if not unit.running:
            yield _change(head, f"start {wish.name}, which is {unit.active}")
        elif unit.stale:
            word = "restart" if unit.stale == RESTART else "reload"
            yield _change(head, f"{word} {wish.name}, which runs with what it had before")
        if not unit.enabled:
            yield _change(head, f"let {wish.name} start at boot")


def _ports(head: str, state: State, wanted: Configuration) -> Iterator[Finding]:
    """Refuse a port that somebody has whom the head cannot name; its units it refuses itself."""
    if state.laid or any(each.slug == PortTakenError.slug for each in state.refusals):
        return
    for port in wanted.ports:
        unit = state.units.get(port.unit or "")
        running = unit is not None and unit.running
        for number in port.numbers if not running else ():
            if number in state.listening:
                yield Finding(
                    head,
                    f"port {number} is taken by {state.listening[number]}",
                    Kind.REFUSAL,
                    slug=PortTakenError.slug,
                    hint="stop that, or let it listen on another port",
                )


def _witness(crew: Crew, head: str) -> Iterator[Finding]:
    """Tell of a head that is looked at alone, and is behind."""
    if any(each.kind is Kind.CHANGE for each in _differences(crew, head)):
        yield Finding(head, "is behind, and not among --host: it stays as it is", Kind.NOTE)


def _required(
    crew: Crew, verified: Mapping[str, Mapping[str, bool]], asked: Collection[str]
) -> Iterator[Finding]:
    """Refuse a phase before the phases that it comes after were verified on its heads."""
    wanted = crew.shared
    for other in wanted.after:
        if other in asked:
            continue
        known = verified.get(other, {})
        lacking = [each.name for each in crew.members if known.get(each.name) is False]
        for name in lacking:
            yield Finding(
                name,
                f"{other} comes before {crew.phase}, and was not verified",
                Kind.REFUSAL,
                slug=NotVerifiedError.slug,
                hint=f"sealift phase run {other},{crew.phase} --host {fold(lacking)}",
            )
