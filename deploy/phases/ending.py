"""How work on phases ended: what each of them has reached on each head, and the next command. Pure.

An operator who reads nothing else learns from the last lines where things stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.node_sets import fold
from deploy.phases.course import Stage
from deploy.phases.errors import (
    PhasesPartialError,
    PhasesRefusedError,
    PhasesStoppedError,
)
from deploy.phases.selection import spelled
from deploy.survey import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.phases.phase import Finding
    from deploy.phases.wish import Wish
    from store.errors import Error

    Cells = Mapping[str, Mapping[str, str]]

TOUCHED = frozenset({Stage.VERIFIED, Stage.HALF, Stage.UNWELL})
"""What a phase has reached of which a head has changed."""


def refused(action: str, findings: Sequence[Finding]) -> PhasesRefusedError:
    """Return the error of phases that something speaks against; nothing was touched."""
    first = findings[0]
    about = f"{first.head}: {first.what}" if first.head else first.what
    lines = [f"{head}: {what}" if head else what for what, head in _folded(findings[1:])]
    slug = first.slug if len({each.slug for each in findings}) == 1 else ""
    return _of(PhasesRefusedError, slug)(
        f"phase {action} refused: {about}; nothing was touched",
        lines=lines,
        heads={},
        cause=None,
        hint=first.hint or "",
    )


def failed(
    action: str,
    phase: str,
    cause: Error,
    stages: Mapping[str, Stage],
    cells: Cells,
    *,
    next_: str,
) -> PhasesPartialError | PhasesRefusedError:
    """Return the error of a run that a phase ended by its failure."""
    touched = any(stage in TOUCHED for stage in stages.values())
    hint = f"{cause.hint}; then: {next_}" if cause.hint else next_
    family = PhasesPartialError if touched else PhasesRefusedError
    return family(
        f"phase {action} ended at {phase}: {cause.reason}",
        lines=[*getattr(cause, "lines", ()), *lines(cells)],
        heads=heads(cells),
        cause=cause,
        hint=hint,
    )


def stopped(
    action: str, stages: Mapping[str, Stage], cells: Cells, *, next_: str
) -> PhasesStoppedError:
    """Return the error of a run that the operator ended."""
    touched = any(stage in TOUCHED for stage in stages.values())
    told = "what was begun stays" if touched else "nothing was touched"
    return PhasesStoppedError(
        f"phase {action} stopped by the operator; {told}",
        lines=lines(cells),
        heads=heads(cells),
        cause=None,
        hint=f"to go on: {next_}",
    )


def unreached(action: str, failures: Mapping[str, BaseException], next_: str) -> PhasesRefusedError:
    """Return the error of heads that did not come together; nothing was touched."""
    head, cause = next(iter(failures.items()))
    reason = str(getattr(cause, "reason", cause))
    silent = all(isinstance(each, SILENT) for each in failures.values())
    told = getattr(cause, "hint", None)
    hint = f"{told or 'is it up?'}; to go on without: --allow-missing" if silent else told or next_
    return _of(PhasesRefusedError, _slug(failures.values()))(
        f"phase {action} refused: {reason if head in reason else f'{head}: {reason}'}; "
        "nothing was touched",
        lines=[f"{n}: {getattr(e, 'reason', e)}" for n, e in list(failures.items())[1:]],
        heads=dict.fromkeys(failures, "not reached"),
        cause=cause,
        hint=hint,
    )


def lines(cells: Cells) -> list[str]:
    """Say what each phase has reached; heads that agree share a line, and phases that do."""
    told: dict[str, list[str]] = {}
    for phase, found in cells.items():
        told.setdefault(_line(found), []).append(phase)
    return [f"{', '.join(phases)}: {text}" for text, phases in told.items()]


def heads(cells: Cells) -> dict[str, str]:
    """Say of each head what its phases have reached."""
    found: dict[str, list[str]] = {}
    for phase, of in cells.items():
        for head, text in of.items():
            found.setdefault(head, []).append(f"{phase} {text}")
    return {head: ", ".join(each) for head, each in found.items()}


def command(action: str, phases: Sequence[str], wish: Wish) -> str:
    """Return the command that does the same again."""
    known = {name: each.number for name, each in wish.release.phases.items()}
    return f"sealift phase {action} {spelled(phases, known)} --host {fold(wish.heads)}"


def _line(found: Mapping[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for head, text in found.items():
        groups.setdefault(text, []).append(head)
    return "; ".join(f"{fold(names)} {text}" for text, names in groups.items())


def _folded(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return what is said once, with the heads that it is said of."""
    groups: dict[str, list[str]] = {}
    for each in findings:
        groups.setdefault(each.what, []).append(each.head)
    return [
        (what, fold(filter(None, names)) if any(names) else "") for what, names in groups.items()
    ]


def _slug(failures: Iterable[BaseException]) -> str:
    """Return the slug that all failures share; none if they do not."""
    slugs = {str(getattr(each, "slug", "")) for each in failures}
    return slugs.pop() if len(slugs) == 1 else ""


def _of(family: type[PhasesRefusedError], slug: str) -> type[PhasesRefusedError]:
    """Return the kind of error with the slug of the reason, where all have the same."""
    if not slug:
        return family
    # A slug is a class's: one per family everywhere else.
    return type(family.__name__, (family,), {"slug": slug, "__doc__": family.__doc__})
