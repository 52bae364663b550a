"""How a plan looks: what the heads are, what is done to them and why, what speaks against it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sealift.fold import fold, line
from store.amounts import megabytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.planning import HeadPlan, Load, Plan

WIDTH = 11


def lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as an operator reads it."""
    from deploy.node_sets import fold as spell

    names = [each.head for each in plan.heads]
    yield f"{plan.action} on {spell(names) if names else 'no head'}: {_release(plan)}"
    yield from _rows(plan)
    for absent in plan.absent:
        yield _row("missing", f"{absent.head}: {absent.reason}")
    if plan.release is not None:
        yield _row("push", line({each.head: _load(each.load) for each in plan.heads}))
    yield from _steps(plan)
    if plan.skewed:
        yield _row("skew", "the heads run different releases now")
    yield _row("order", _order(plan))
    for each in plan.refused:
        for refusal in each.refusals:
            yield _row("refused", f"{each.head}: {refusal.reason}")
            yield _row("", f"→ {refusal.hint}")


def record(plan: Plan) -> dict[str, Any]:
    """Give the plan as one JSON record."""
    return {
        "event": "plan",
        "action": plan.action,
        "release": plan.release,
        "canary": plan.canary,
        "batches": plan.batches,
        "deadline": plan.deadline,
        "heads": [_record(each) for each in plan.heads],
        "missing": [asdict(each) for each in plan.absent],
    }


def _record(each: HeadPlan) -> dict[str, Any]:
    return {
        "head": each.head,
        "generation": each.generation,
        "running": each.running,
        "target": None
        if each.target is None
        else {"generation": each.target.number, "release": str(each.target.path)},
        "push": asdict(each.load),
        "steps": [asdict(step) for step in each.steps],
        "checks": {row.question: row.answer for row in each.rows},
        "refusals": [asdict(refusal) for refusal in each.refusals],
    }


def _release(plan: Plan) -> str:
    from deploy.preflight import short

    if plan.release is not None:
        return short(plan.release)
    return line({e.head: short(str(e.target.path)) for e in plan.heads if e.target}) or "nothing"


def _rows(plan: Plan) -> Iterator[str]:
    """Yield what was asked of the heads; what all answer stands once."""
    questions = [row.question for row in plan.heads[0].rows] if plan.heads else []
    for number, question in enumerate(questions):
        yield _row(question, line({each.head: each.rows[number].answer for each in plan.heads}))


def _load(load: Load) -> str:
    if not load.paths:
        return "nothing"
    first = ", the agent first" if load.bootstrap else ""
    size = f"{megabytes(load.size)} unpacked"
    return f"{load.paths} paths, at most {size}: less the files that it has, and packed{first}"


def _steps(plan: Plan) -> Iterator[str]:
    found = fold({each.head: each.steps for each in plan.heads})
    for heads, steps in found:
        where = "" if len(found) == 1 else f"  ({heads})"
        for step in steps:
            yield _row(step.action, f"{step.service}: {step.why}{where}")
        if not steps:
            yield _row("restart", f"{_nothing(plan)} on {heads}")


def _nothing(plan: Plan) -> str:
    """Say what is meant where a plan has no steps; of a rollback they may not be known here."""
    same = all(each.target is None or str(each.target.path) == each.running for each in plan.heads)
    return "nothing" if same else "nothing, or what this machine cannot tell,"


def _order(plan: Plan) -> str:
    from deploy.node_sets import fold as spell

    stages = " → ".join(spell(batch) for batch in plan.batches)
    return f"{stages}; back by itself after {plan.deadline:g} s without a word"


def _row(label: str, text: str) -> str:
    return f"  {label:<{WIDTH}} {text}".rstrip()
