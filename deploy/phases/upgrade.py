"""Newer packages for a phase that runs: one head after the other, while all else is well.

dpkg replaces libraries below daemons that run, so a head gets its packages only when the cluster
can do without it. What then runs with what it had before, the phase's module restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.node_sets import fold
from deploy.phases.crew import WELL_SECONDS
from deploy.phases.errors import PhaseTimeoutError, QuorumError
from deploy.phases.phase import Finding, Kind, Rolling
from deploy.phases.plan import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Laid, Member
    from deploy.phases.phase import Phase
    from deploy.phases.state import State

AFTER_SECONDS = 600.0
"""How long a cluster may take to be well after a head got its packages: it heals what it missed."""


def upgrades(state: State) -> bool:
    """Tell whether packages of a phase that is laid would be replaced by others."""
    moved = any(not each.startswith(ABSENT) for each in state.packages.values())
    return moved and (state.laid or state.recorded is not None)


def serves(state: State) -> bool:
    """Tell whether anything of the phase runs on a head."""
    return any(each.running for each in state.units.values())


def against(crew: Crew) -> Iterator[Finding]:
    """Refuse newer packages while a head cannot be reached: none is taken down beside it."""
    if crew.missing:
        names = fold(crew.missing)
        for member in _due(crew):
            what = f"keeps its packages, as {names} cannot be reached"
            hint = f"let {names} be reached, or take the release from before"
            yield Finding(member.name, what, Kind.REFUSAL, slug=QuorumError.slug, hint=hint)


def lay(crew: Crew, module: Phase, one: Callable[[Member], Laid]) -> dict[str, Laid]:
    """Lay a phase with `one` on all heads at once; where its packages move, one after the other.

    A head that is out already gets them first.

    Raises:
        QuorumError: a head would be taken down while another one is out.
        PhaseTimeoutError: the cluster does not get well after a head.
        StoppedError: the operator wants no more of it; some heads may be done.
        Error: it fails on a head; the ones after it keep what they have.
    """
    due = _due(crew)
    at_once = [each for each in crew.members if each not in due]
    laid = crew.each(one, at_once)
    if not due:
        return laid
    if at_once or any(each.stale for m in due for each in crew.states[m.name].units.values()):
        # What is out, or runs with what it had before, may be why the cluster is not well.
        module.apply(crew)
    for member in due:
        laid[member.name] = _one(crew, module, one, member)
    return laid


def _due(crew: Crew) -> list[Member]:
    """Return the heads that serve, and whose packages move."""
    states = crew.states
    return [m for m in crew.members if upgrades(states[m.name]) and serves(states[m.name])]


def _one(crew: Crew, module: Phase, one: Callable[[Member], Laid], member: Member) -> Laid:
    crew.look()
    try:
        _await(crew, module, f"{crew.phase} is well", WELL_SECONDS)
    except PhaseTimeoutError as error:
        raise _kept(member, error.got or "") from error
    crew.tell(member.name, "upgrade, the others keep what they have until it is well")
    laid = one(member)
    module.apply(crew)
    _await(crew, module, f"{crew.phase} is well after {member.name}", AFTER_SECONDS)
    return laid


def _await(crew: Crew, module: Phase, what: str, seconds: float) -> None:
    if isinstance(module, Rolling):
        crew.wait(what, lambda: module.well(crew), seconds)


def _kept(member: Member, why: str) -> QuorumError:
    reason = f"{member.name} keeps its packages, as another head is out"
    hint = "put that one right first, then run the phase again"
    return QuorumError(reason, where=member.name, got=why, hint=hint)


def behind(states: Sequence[State]) -> bool:
    """Tell whether any of the phases of a head would have packages replaced."""
    return any(upgrades(each) for each in states)
