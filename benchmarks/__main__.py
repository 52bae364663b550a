"""`python -m benchmarks GROUP`: measure a group, print its table, write results.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.figure import Figure

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {"build": build.figures}
WIDTH = 150
"""Columns of the table where no terminal says how wide it is."""
RESULTS = Path(__file__).parent / "results.json"


def table(figures: list[Figure]) -> Table:
    """Draw the figures."""
    drawn = Table("what", "peer", "ours", "peer's", "ratio", "bar", "met", "runs")
    for figure in figures:
        drawn.add_row(
            figure.name + (f"\n[dim]{figure.note}[/dim]" if figure.note else ""),
            figure.peer,
            f"{figure.ours:.4g} s",
            "" if figure.peers is None else f"{figure.peers:.4g} s",
            f"{figure.ratio:.2f}",
            f"{figure.bar:g}",
            "yes" if figure.met else "[red]no[/red]",
            str(figure.runs),
        )
    return drawn


def main(group: str) -> int:
    """Measure one group; 0 if every bar is met."""
    if group not in GROUPS:
        sys.stderr.write(f"there is no group {group!r}; there are: {', '.join(GROUPS)}\n")
        return 2
    figures: list[Figure] = []
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for figure in GROUPS[group]():
        figures.append(figure)
        console.print(f"{figure.name}: {figure.ratio:.2f} (bar {figure.bar:g})")
    console.print(table(figures))
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[group] = [figure.to_json() for figure in figures]
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "build"))
