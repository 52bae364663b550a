"""How work on phases looks: the plan, a table of phase by host while it runs, and the end of it."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from builders.logs import plain, quote
from sealift.fold import fold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    from rich.console import RenderableType

    from deploy.phases.phase import Finding
    from deploy.phases.plan import PhasePlan, Plan
    from deploy.phases.run import Done
    from deploy.phases.state import FileState

WIDTH = 16
ENDS = {"verified": "green", "unchanged": "dim", "well": "green", "undone": "green"}
BAD = {"failed": "red", "begun": "yellow", "not well": "red", "not touched": "yellow"}


def lines(plan: Plan, *, diff: bool = False) -> Iterator[str]:
    """Yield a plan as an operator reads it; with `diff` the text of files that differ."""
    from deploy.node_sets import fold as spell
    from deploy.preflight import short

    heads = spell(plan.heads) if plan.heads else "no head"
    yield f"phase {plan.action} on {heads}: {short(plan.release)}"
    for each in plan.findings:
        yield from _finding(each.head, each)
    for phase in plan.phases:
        yield f"  {phase.number} {phase.name:<{WIDTH}} {_head(phase)}".rstrip()
        yield from _findings(phase)
        if diff:
            yield from _files(phase)


def record(plan: Plan, *, diff: bool = False) -> dict[str, Any]:
    """Give a plan as one JSON record."""
    return {
        "event": "plan",
        "action": plan.action,
        "release": plan.release,
        "heads": list(plan.heads),
        "missing": list(plan.missing),
        "changes": plan.changes,
        "refused": bool(plan.refusals),
        "findings": [finding(each) for each in plan.findings],
        "phases": [_phase(each, diff=diff) for each in plan.phases],
    }


def finding(each: Finding) -> dict[str, Any]:
    """Give one finding as JSON."""
    facts = {
        "head": each.head or None,
        "kind": each.kind.value,
        "what": each.what,
        "consequence": each.consequence,
        "slug": each.slug,
        "hint": each.hint,
    }
    return {name: fact for name, fact in facts.items() if fact or name == "head"}


def ended(done: Done, seconds: float) -> Iterator[str]:
    """Yield what a run did: how long each phase took, and what was tried of it."""
    from deploy.phases.course import Stage

    for phase in done.plan.phases:
        stage = done.stages[phase.name]
        took = f" in {done.seconds.get(phase.name, 0.0):.1f} s"
        dpkg = done.dpkg.get(phase.name, 0.0)
        packages = f", {dpkg:.1f} s of it packages" if dpkg >= NOTABLE else ""
        told = "" if stage is Stage.UNCHANGED else f"{took}{packages}"
        yield f"{phase.number} {phase.name:<{WIDTH}} {stage.value}{told}"
        yield from (f"    {each}" for each in done.tried.get(phase.name, ()))
    if not done.changed:
        yield f"nothing was changed: {_as_it_is(done.plan)}, which took {seconds:.1f} s to see"
    else:
        yield f"done in {seconds:.1f} s"


def _as_it_is(found: Plan) -> str:
    from deploy.node_sets import fold as spell

    if not found.missing:
        return "all is as it should be"
    return f"{spell(found.heads)} as it should be, {spell(found.missing)} missing"


def ended_record(done: Done, seconds: float) -> dict[str, Any]:
    """Give what a run did as one JSON record."""
    return {
        "event": "done",
        "changed": done.changed,
        "missing": list(done.plan.missing),
        "seconds": round(seconds, 3),
        "phases": {
            phase.name: {
                "number": phase.number,
                "state": done.stages[phase.name].value,
                "seconds": round(done.seconds.get(phase.name, 0.0), 3),
                "dpkg": round(done.dpkg.get(phase.name, 0.0), 3),
                "tried": list(done.tried.get(phase.name, ())),
            }
            for phase in done.plan.phases
        },
    }


class Drawing(Protocol):
    """Something that draws what happens while its context is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def tell(self, phase: str, head: str, text: str) -> None:
        """Draw what happens on a head, or on all of the phase where none is named."""
        ...

    def pause(self) -> None:
        """Leave the terminal to something else; what happens next draws again."""
        ...


def drawing(phases: Sequence[str], heads: Collection[str], *, as_json: bool) -> Drawing:
    """Choose how to draw: JSON if asked for, a table on a terminal, else lines."""
    if as_json:
        return JsonLines(sys.stdout)
    if sys.stderr.isatty():
        return Table(phases, heads)
    return Lines(sys.stderr)


class JsonLines:
    """Everything that happens as one JSON record on a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def tell(self, phase: str, head: str, text: str) -> None:
        """Write one record."""
        facts = {"event": "phase", "phase": phase or None, "head": head or None, "text": text}
        self._out.write(f"{json.dumps(facts)}\n")
        self._out.flush()

    def pause(self) -> None:
        """Do nothing: lines are in nobody's way."""


class Lines:
    """One plain line for each thing that happens; amounts that change are left out."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def tell(self, phase: str, head: str, text: str) -> None:
        """Write one line."""
        if not text.startswith(SENDING):
            self._out.write(f"{_line(phase, head, text)}\n")
            self._out.flush()

    def pause(self) -> None:
        """Do nothing: lines are in nobody's way."""


class Table:
    """A table that changes in place: what each phase does on each head."""

    def __init__(self, phases: Sequence[str], heads: Collection[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._phases = tuple(phases)
        self._heads = tuple(heads)
        self._cells: dict[tuple[str, str], str] = {}
        self._began = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=6,
            transient=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live.is_started:
            self._live.__exit__(kind, error, trace)

    def tell(self, phase: str, head: str, text: str) -> None:
        """Put it in its cell; the end of a phase leaves a line behind."""
        for each in [head] if head else self._heads:
            self._cells[phase, each] = text
        if not self._live.is_started:
            self._live.start()
        if phase and (text in ENDS or text in BAD):
            style = {**ENDS, **BAD}[text]
            self._console.print(_line(phase, head, text), style=style, markup=False)

    def pause(self) -> None:
        """Take the table away until something happens again."""
        if self._live.is_started:
            self._live.stop()

    def _draw(self) -> RenderableType:
        from rich.table import Table as Grid

        took = f"{time.monotonic() - self._began:.0f} s"
        table = Grid(box=None, padding=(0, 2))
        for title in (took, *self._heads):
            table.add_column(title, overflow="ellipsis", no_wrap=True, max_width=32)
        rows = [("", "stores")] if any(not phase for phase, _ in self._cells) else []
        for phase, label in [*rows, *((name, name) for name in self._phases)]:
            cells = [self._cells.get((phase, head), "") for head in self._heads]
            table.add_row(label, *(_cell(text) for text in cells))
        return table


NOTABLE = 0.05
"""Seconds that are told; less is nought, rounded."""
SENDING = "sending "
"""What begins a line that only says how far something is."""


def _cell(text: str) -> RenderableType:
    from rich.text import Text

    style = {**ENDS, **BAD}.get(text, "cyan")
    return Text(quote(text), style=style)


def _line(phase: str, head: str, text: str) -> str:
    return f"{phase or '-':<{WIDTH}} {head or 'all':<10} {plain(text)}".rstrip()


def _head(phase: PhasePlan) -> str:
    from deploy.phases.plan import Doing

    if phase.refusals:
        return "refused"
    told = {
        Doing.RUN: "",
        Doing.AGAIN: "unchanged; tried again, as it stands on what changes",
        Doing.NOTHING: "unchanged",
    }
    return told[phase.doing]


def _findings(phase: PhasePlan) -> Iterator[str]:
    """Yield what was found; what is so on several heads stands once."""
    groups: dict[Finding, list[str]] = {}
    for each in phase.findings:
        groups.setdefault(_anywhere(each), []).append(each.head)
    for each, heads in groups.items():
        yield from _finding(_spell(heads), each)


def _anywhere(each: Finding) -> Finding:
    from dataclasses import replace

    return replace(each, head="")


def _spell(heads: Sequence[str]) -> str:
    from deploy.node_sets import fold as spell

    named = [head for head in heads if head]
    return spell(named) if named else ""


def _finding(heads: str, each: Finding) -> Iterator[str]:
    from deploy.phases.phase import Kind

    marks = {Kind.REFUSAL: "refused: ", Kind.NOTE: "note: ", Kind.IRREVERSIBLE: "FOR GOOD: "}
    where = f"  ({heads})" if heads else ""
    slug = f" [{each.slug}]" if each.slug and each.kind is Kind.REFUSAL else ""
    yield plain(f"      {marks.get(each.kind, '')}{each.what}{where}{slug}").rstrip()
    for more in (each.consequence, each.hint):
        if more:
            yield plain(f"        → {more}")


def _files(phase: PhasePlan) -> Iterator[str]:
    """Yield the text of files that differ; those that differ alike on several heads once."""
    found = {head: _texts(files) for head, files in phase.files.items() if files}
    for heads, texts in fold(found):
        yield f"      {heads}:"
        for text in texts:
            yield from (f"        {plain(line)}" for line in text.splitlines())


def _texts(files: Sequence[FileState]) -> tuple[str, ...]:
    return tuple(each.diff or f"{each.path}: {each.what}" for each in files)


def _phase(each: PhasePlan, *, diff: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "phase": each.name,
        "number": each.number,
        "doing": each.doing.value,
        "heads": list(each.members),
        "witnesses": list(each.witnesses),
        "missing": list(each.missing),
        "findings": [finding(one) for one in each.findings],
    }
    return facts | ({"files": _file_records(each.files)} if diff else {})


def _file_records(files: Mapping[str, Sequence[FileState]]) -> dict[str, list[dict[str, str]]]:
    return {
        head: [{"path": f.path, "what": f.what, "aside": f.aside, "diff": f.diff} for f in found]
        for head, found in files.items()
    }
