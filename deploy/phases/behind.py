"""Phases below and above one that is run: are they behind, or would they be from then on?

Below, above all the firewall: it opens the ports of all phases, and a phase whose ports have
changed would serve nobody until the infrastructure is run, too. Above, what has its files in a
place that the phase leaves, as Slurm on the volume: it is out until it is run, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploy.phases import ending
from deploy.phases.configuration import To
from deploy.phases.errors import BehindError
from deploy.phases.firewall import WANTED
from deploy.phases.phase import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deploy.phases.configuration import Configuration
    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.state import State
    from deploy.phases.wish import Wish

_OPENED = re.compile(r"\bdport (\d+)(?:-(\d+))? accept\b")


def behind(
    wish: Wish, crew: Crew, states: Mapping[str, Mapping[str, State]]
) -> tuple[Finding, ...]:
    """Return what there is to say of the phases below this one and above it, head by head.

    Raises:
        Error: a head does not tell what is laid there.
    """
    after = crew.shared.after
    below = tuple(
        found
        for other in after
        if other not in wish.phases
        for member in crew.members
        if other in states[member.name]
        for found in _one(wish, crew, member.name, other, states[member.name][other])
    )
    moving = [m for m in crew.members if _has_another(states[m.name][crew.phase], crew, m)]
    return (*below, *(found for member in moving for found in _above(wish, crew, member)))


def _has_another(state: State, crew: Crew, member: Member) -> bool:
    """Tell whether another configuration is laid than is wanted."""
    path = str(crew.configuration(member.name).path)
    return state.laid and state.recorded is not None and state.recorded.path != path


def _above(wish: Wish, crew: Crew, member: Member) -> Iterator[Finding]:
    """Say which phases stand on a place that this one leaves, and have to follow it."""
    left = _left(member.laid(crew.phase), crew.configuration(member.name))
    for other, of in wish.release.phases.items() if left else ():
        there = member.laid(other) if member.name in of.hosts else None
        if there is None or crew.phase not in there.after or there.path == of.hosts[member.name]:
            continue
        what = f"leave {left}, on which {other} stands"
        if other in wish.phases:
            costs = f"{other} is out until its own turn"
            yield Finding(member.name, what, Kind.CHANGE, costs)
        else:
            what += f": {other} would be out until it is run, too"
            hint = ending.command("run", (crew.phase, other), wish)
            yield Finding(member.name, what, Kind.REFUSAL, slug=BehindError.slug, hint=hint)


def _left(laid: Configuration | None, wanted: Configuration) -> str:
    """Return the paths among the parameters of what is laid that are others now."""
    known = {} if laid is None else laid.parameters
    return ", ".join(
        each
        for name, each in known.items()
        if isinstance(each, str) and each.startswith("/") and wanted.parameters.get(name) != each
    )


def _one(wish: Wish, crew: Crew, head: str, other: str, state: State) -> Iterator[Finding]:
    if not state.laid or not state.differs:
        return
    hint = ending.command("run", (other, crew.phase), wish)
    shut = sorted(_ports(crew, head) & _closed(state))
    if shut:
        ports = ", ".join(map(str, shut[:3]))
        what = f"{other} is behind: the firewall does not open port {ports} to {crew.phase} yet"
        yield Finding(head, what, Kind.REFUSAL, slug=BehindError.slug, hint=hint)
    else:
        what = f"{other}, which {crew.phase} stands on, is behind"
        yield Finding(head, what, Kind.NOTE, hint=hint)


def _ports(crew: Crew, head: str) -> set[int]:
    """Return the ports of a phase that other machines speak to."""
    ports = crew.configuration(head).ports
    return {number for each in ports if each.to is not To.OWN for number in each.numbers}


def _closed(state: State) -> set[int]:
    """Return the ports that the firewall is to open and does not, by how its rules differ."""
    diff = "".join(f"{each.diff}\n" for each in state.files if each.path == WANTED)
    return _opened(diff, "+") - _opened(diff, "-") - _opened(diff, " ")


def _opened(diff: str, sign: str) -> set[int]:
    lines = "\n".join(each for each in diff.splitlines() if each.startswith(sign))
    spans = [(int(first), int(last or first)) for first, last in _OPENED.findall(lines)]
    return {port for first, last in spans for port in range(first, min(last, 65_535) + 1)}
