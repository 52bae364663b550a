"""How a rollout over several heads ended: what each of them runs, and the one next command. Pure.

An operator who reads nothing else learns from the last lines whether heads differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from deploy.errors import (
    FleetError,
    FleetPartialError,
    FleetRefusedError,
    FleetRevertedError,
    HeadError,
)
from deploy.fleet import Stage
from deploy.node_sets import fold
from deploy.ssh_errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Kind(Enum):
    """What became of one head."""

    UNTOUCHED = "untouched"
    KEPT = "kept"
    BACK = "back"
    STRANDED = "stranded"
    UNKNOWN = "unknown"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class End:
    """What one head runs in the end; `generation` is None where nothing runs or none is known."""

    kind: Kind
    generation: int | None = None
    error: BaseException | None = None

    def __str__(self) -> str:
        match self.kind:
            case Kind.UNTOUCHED:
                return f"not touched, {self._runs}"
            case Kind.KEPT:
                return f"{self._runs}, which is the new one"
            case Kind.BACK:
                return f"went back, {self._runs}"
            case Kind.STRANDED:
                return f"went back, but {self._runs} not well"
            case Kind.UNKNOWN:
                return "cannot be asked; it goes back by itself"
            case Kind.ABSENT:
                return "was not reached"

    @property
    def _runs(self) -> str:
        return "runs nothing" if self.generation is None else f"runs generation {self.generation}"


FAMILIES: Mapping[Stage, type[FleetError]] = {
    Stage.REFUSED: FleetRefusedError,
    Stage.REVERTED: FleetRevertedError,
    Stage.PARTIAL: FleetPartialError,
}
TITLES = {
    Stage.REFUSED: "nothing was touched",
    Stage.REVERTED: "every head went back",
    Stage.PARTIAL: "heads differ now",
}


def error(
    stage: Stage, action: str, failures: Mapping[str, BaseException], ends: Mapping[str, End]
) -> FleetError:
    """Return the error for a rollout that ended in `stage`, with its first failure as the cause."""
    culprit, cause = next(iter(failures.items()), ("", None))
    return _family(stage, failures)(
        f"{action} failed{_reason(culprit, cause)}; {TITLES[stage]}",
        lines=[*_others(failures), *lines(ends)],
        heads={head: str(end) for head, end in ends.items()},
        cause=cause,
        hint=_next(stage, action, failures, ends),
    )


def _family(stage: Stage, failures: Mapping[str, BaseException]) -> type[FleetError]:
    """Return the kind of error; where all refuse for one reason, with the slug of that reason."""
    family = FAMILIES[stage]
    slugs = {getattr(each, "slug", None) for each in failures.values()}
    slug = next(iter(slugs)) if stage is Stage.REFUSED and len(slugs) == 1 else None
    if slug in (None, HeadError.slug):
        return family
    # A slug is a class's: one per family everywhere else.
    return type(family.__name__, (family,), {"slug": slug, "__doc__": family.__doc__})


def lines(ends: Mapping[str, End]) -> list[str]:
    """Say what each head runs; those that agree share a line."""
    return [f"{fold(heads)}: {text}" for text, heads in groups(ends).items()]


def groups(ends: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the heads by what is said of them, in the order of the heads."""
    found: dict[str, list[str]] = {}
    for head, end in ends.items():
        found.setdefault(str(end), []).append(head)
    return found


def _reason(culprit: str, cause: BaseException | None) -> str:
    if cause is None:
        return ""
    reason = str(getattr(cause, "reason", cause))
    return f": {reason}" if not culprit or culprit in reason else f" on {culprit}: {reason}"


def _others(failures: Mapping[str, BaseException]) -> list[str]:
    """Say what was wrong on the other heads; the first one's fault is the error itself."""
    rest = {head: each for head, each in list(failures.items())[1:] if head}
    texts = {head: str(getattr(each, "reason", each)) for head, each in rest.items()}
    return [f"{fold(heads)}: {text}" for text, heads in groups(texts).items()]


def _next(
    stage: Stage,
    action: str,
    failures: Mapping[str, BaseException],
    ends: Mapping[str, End],
) -> str:
    """Name the one next command."""
    everyone = fold(ends) if ends else ""
    ill = _of(ends, Kind.STRANDED)
    if stage is Stage.PARTIAL and ill:
        return f"sealift status --host {fold(ill)}"
    if stage is Stage.PARTIAL:
        behind = _of(ends, Kind.BACK, Kind.UNTOUCHED, Kind.UNKNOWN)
        if _of(ends, Kind.KEPT):
            return f"sealift {action} --host {fold(behind or ends)}"
        # Heads that could not be asked go back by themselves; the same again makes all agree.
        # To go back once more may be one too many where a head kept it after all.
        return f"sealift {action if action == 'deploy' else 'status'} --host {everyone}"
    if stage is Stage.REVERTED:
        return _look(failures, everyone)
    said = next((h for each in failures.values() if (h := getattr(each, "hint", None))), None)
    if failures and all(isinstance(each, UnreachableError) for each in failures.values()):
        return f"{said or 'are they up?'}; to go on without: --allow-missing"
    return said or f"sealift {action} --host {everyone}"


def _look(failures: Mapping[str, BaseException], everyone: str) -> str:
    for head, each in failures.items():
        service = getattr(each, "service", None)
        if service:
            return f"sealift logs {service} --host {head}"
    return f"sealift status --host {everyone}"


def _of(ends: Mapping[str, End], *kinds: Kind) -> Sequence[str]:
    return [head for head, end in ends.items() if end.kind in kinds]


def skewed(releases: Iterable[str | None]) -> bool:
    """Tell whether heads run different releases."""
    return len(set(releases)) > 1
