"""`python -m benchmarks GROUP`: measure a group, print its table, write results.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import build, complete, gap, heads, phases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.figure import Figure

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "build": build.figures,
    "complete": complete.figures,
    "heads": heads.figures,
    "gap": gap.figures,
    "phases": phases.figures,
}
WIDTH = 150
"""Columns of the table where no terminal says how wide it is."""
_MET = {True: "yes", False: "[red]no[/red]", None: ""}
RESULTS = Path(__file__).parent / "results.json"


def table(figures: list[Figure]) -> Table:
    """Draw the figures."""
    drawn = Table("what", "peer", "ours", "peer's", "ratio", "bar", "met", "runs")
    for figure in figures:
        drawn.add_row(
            figure.name + (f"\n[dim]{escape(figure.note)}[/dim]" if figure.note else ""),
            figure.peer,
            _value(figure.ours, figure.unit),
            _value(figure.peers, figure.unit),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if figure.bar is None else f"{figure.bar:g}",
            _MET[figure.met],
            str(figure.runs),
        )
    return drawn


def _value(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g} {unit}"


def _line(figure: Figure) -> str:
    """Tell of one figure as soon as it is there."""
    bar = "" if figure.bar is None else f" (bar {figure.bar:g})"
    return f"{figure.name}: {figure.note if figure.ratio is None else f'{figure.ratio:.2f}'}{bar}"


def main(group: str) -> int:
    """Measure one group; 0 if every bar is met."""
    if group not in GROUPS:
        sys.stderr.write(f"there is no group {group!r}; there are: {', '.join(GROUPS)}\n")
        return 2
    figures: list[Figure] = []
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for figure in GROUPS[group]():
        figures.append(figure)
        console.print(_line(figure), markup=False)
    console.print(table(figures))
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[group] = [figure.to_json() for figure in figures]
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "build"))
