"""The heads of a phase that is undone: those on which it is laid, as it is laid there.

What a release wants of them now plays no part: settings may have changed since. Heads on which
nothing was laid take no part, and nothing is destroyed there. Those on which that was only begun
give back what came of it, and no more: nothing of the phase ever ran there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploy.node_sets import fold
from deploy.phases import ending
from deploy.phases.errors import UndoNeedsAllError, UndoUnequalError
from deploy.phases.phase import Finding, Kind
from deploy.phases.together import together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.state import State
    from deploy.phases.survey import Ground

RUN_FIRST = "make it whole first"


@dataclass(frozen=True, slots=True)
class Leaving:
    """One phase that is undone: who takes part, what it would lose, what speaks against it.

    `crew` goes by the configurations that are laid; it has no members where none is. On the heads
    in `begun` none was laid to the end.
    """

    crew: Crew
    begun: tuple[Member, ...]
    irreversible: tuple[str, ...]
    refusals: tuple[Finding, ...]


def leaving(ground: Ground, phase: str, states: Mapping[str, Mapping[str, State]]) -> Leaving:
    """Look which heads a phase would be undone on.

    Raises:
        CrewError: a head does not tell what is laid there.
    """
    every = ground.crew(phase, states)
    here = [each for each in every.everybody if stands(every.states[each.name])]
    begun = [each for each in every.members if _begun(every.states[each.name])]
    told = together(here, lambda each: each.laid(phase), ground.wish.parallel)
    laid = {name: each for name, each in told.items() if each is not None}
    hosts = next((each.hosts for each in laid.values()), ())
    order = {peer.name: number for number, peer in enumerate(hosts)}
    here.sort(key=lambda each: order.get(each.name, len(order)))
    crew = replace(
        every,
        members=tuple(each for each in here if each.name in ground.wish.heads),
        witnesses=tuple(each for each in here if each.name not in ground.wish.heads),
        configurations={each.name: laid[each.name] for each in here if each.name in laid},
        states={each.name: every.states[each.name] for each in here},
    )
    names = (name for each in laid.values() for name in each.irreversible)
    refusals = (*_needs_all(ground, crew, hosts_of(laid)), *_unequal(ground, crew))
    return Leaving(crew, tuple(begun), tuple(dict.fromkeys(names)), refusals)


def stands(state: State) -> bool:
    """Tell whether a phase was laid on a head."""
    return state.laid or state.recorded is not None


def _begun(state: State) -> bool:
    return state.begun and not stands(state)


def hosts_of(laid: Mapping[str, Configuration]) -> tuple[str, ...]:
    """Return all hosts that configurations name, each once."""
    return tuple(dict.fromkeys(peer.name for each in laid.values() for peer in each.hosts))


def _needs_all(ground: Ground, crew: Crew, hosts: Sequence[str]) -> Iterator[Finding]:
    """Refuse to undo a phase on some heads alone: the rest would stand there without them."""
    wish = ground.wish
    if crew.witnesses:
        others = fold(each.name for each in crew.witnesses)
        heads = tuple(each.name for each in crew.everybody)
        hint = ending.command("undo", wish.phases, replace(wish, heads=heads))
        yield _against(f"{crew.phase} is laid on {others} as well; it is undone on all", hint)
    if crew.missing:
        names = fold(crew.missing)
        what = f"{names} cannot be reached, and may have {crew.phase}; it is undone on all"
        yield _against(what, f"let {names} be reached, then undo it")
    known = wish.configurations[crew.phase]
    strange = [name for name in hosts if name not in known]
    if strange:
        names = fold(strange)
        what = f"{crew.phase} was laid for {names} as well, which the settings do not name any more"
        again = ending.command("run", (crew.phase,), wish)
        yield _against(what, f"name {names} in cluster.hosts again, or first {again}")


def _against(what: str, hint: str) -> Finding:
    return Finding("", what, Kind.REFUSAL, slug=UndoNeedsAllError.slug, hint=hint)


def _unequal(ground: Ground, crew: Crew) -> Iterator[Finding]:
    """Refuse to undo what is not the same everywhere: nobody could say what would go."""
    hint = f"{RUN_FIRST}: {ending.command('run', (crew.phase,), ground.wish)}"

    def against(head: str, what: str) -> Finding:
        return Finding(head, what, Kind.REFUSAL, slug=UndoUnequalError.slug, hint=hint)

    first = next(iter(crew.configurations.values()), None)
    for member in crew.everybody:
        own = crew.configurations.get(member.name)
        if own is None or first is None:
            yield against(member.name, f"nothing tells how {crew.phase} was laid here")
        elif own.parameters != first.parameters or own.irreversible != first.irreversible:
            what = f"{crew.phase} is laid here with other settings than on {first.host}"
            yield against(member.name, what)
        elif own.peer.address != member.address:
            what = f"{crew.phase} was laid for {own.peer.address}; the settings say"
            yield against(member.name, f"{what} {member.address}")
