"""A figure: what was measured, against whom, and whether the bar is met.

Timing is of whole processes, ours and the peer's in turn; medians are quoted.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. `ours` and `peers` are in seconds; `ratio` is ours / peer's.

    A figure without a peer has a bar in its own unit and `ratio` holds the value itself.
    """

    name: str
    peer: str
    ratio: float
    bar: float
    ours: float
    peers: float | None
    runs: int
    note: str = ""

    @property
    def met(self) -> bool:
        """Tell whether the ratio is within the bar."""
        return self.ratio <= self.bar

    def to_json(self) -> dict[str, Any]:
        """Give the record that `results.json` holds."""
        return asdict(self) | {"met": self.met}


def run(
    argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """Run a command to its end and return its wall time in seconds.

    Raises:
        RuntimeError: the command failed; its last output is in the message.
    """
    usual = dict(os.environ if env is None else env)
    usual.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=usual,
        capture_output=True,
        text=True,
        check=False,
    )
    spent = time.perf_counter() - start
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}:\n{said}")
    return spent


def side_by_side(
    name: str,
    *,
    bar: float,
    peer: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    runs: int,
    note: str = "",
) -> Figure:
    """Measure ours and the peer's in turn and return the figure of the medians."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    mine = median(pair[0] for pair in pairs)
    other = median(pair[1] for pair in pairs)
    return Figure(
        name=name,
        peer=peer,
        ratio=round(mine / other, 3),
        bar=bar,
        ours=round(mine, 4),
        peers=round(other, 4),
        runs=runs,
        note=note,
    )
