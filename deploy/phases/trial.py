"""Try whether phases work, as each run does in its end, and leave nothing but traces of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.phases import ending
from deploy.phases.errors import NotVerifiedError, PhasesUnwellError
from deploy.team import StoppedError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.phases.crew import Crew
    from deploy.phases.survey import Ground

WELL, UNWELL, UNTRIED = "well", "not well", "not tried"


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried by phase and works."""

    tried: Mapping[str, tuple[str, ...]]


def trial(ground: Ground) -> Tried:
    """Try all phases that were asked for, whatever becomes of one.

    Raises:
        PhasesUnwellError: one does not work, or was never laid; says what of which.
        StoppedError: the operator wanted no more of it.
    """
    crews = ground.crews(ground.states())
    failures: dict[str, Error] = {}
    tried: dict[str, tuple[str, ...]] = {}
    for phase, crew in crews.items():
        try:
            tried[phase] = _one(ground, crew)
        except StoppedError:
            raise
        except Error as error:
            failures[phase] = error
            ground.tell(phase, "", f"{UNWELL}: {error.reason}")
    if failures:
        raise _unwell(ground, crews, failures)
    return Tried(tried)


def _one(ground: Ground, crew: Crew) -> tuple[str, ...]:
    """Try one phase.

    Raises:
        NotVerifiedError: it was not laid on one of the heads.
    """
    ground.tell(crew.phase, "", "verify")
    for member in crew.members:
        if not crew.states[member.name].laid:
            raise NotVerifiedError(
                f"{crew.phase} was not laid on {member.name}",
                where=member.name,
                hint=ending.command("run", [crew.phase], ground.wish),
            )
    found = tuple(ground.module(crew.phase).verify(crew))
    ground.tell(crew.phase, "", WELL)
    return found


def _unwell(
    ground: Ground, crews: Mapping[str, Crew], failures: Mapping[str, Error]
) -> PhasesUnwellError:
    phase, cause = next(iter(failures.items()))
    cells = {
        name: {each.name: UNWELL if name in failures else WELL for each in crew.members}
        for name, crew in crews.items()
    }
    others = [f"{name}: {each.reason}" for name, each in list(failures.items())[1:]]
    return PhasesUnwellError(
        f"{phase} does not work: {cause.reason}",
        lines=[*getattr(cause, "lines", ()), *others, *ending.lines(cells)],
        heads=ending.heads(cells),
        cause=cause,
        hint=cause.hint or ending.command("run", list(failures), ground.wish),
    )
