"""A figure: what was measured, against whom, and whether the bar is met.

Timing is of whole processes, ours and the peer's in turn; medians are quoted. A figure without a
bar is there to be read beside another; one that could not be measured says why.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. `ours` and `peers` are in `unit`; `ratio` is ours / peer's.

    A figure without a peer has a bar in its own unit and `ratio` holds the value itself. Without
    a ratio it could not be measured, and `note` says why.
    """

    name: str
    peer: str
    ratio: float | None
    bar: float | None
    ours: float | None
    peers: float | None
    runs: int
    note: str = ""
    unit: str = "s"

    @property
    def met(self) -> bool | None:
        """Tell whether the ratio is within the bar; None if there is no bar."""
        if self.bar is None:
            return None
        return self.ratio is not None and self.ratio <= self.bar

    def to_json(self) -> dict[str, Any]:
        """Give the record that `results.json` holds."""
        return asdict(self) | {"met": self.met}


def compared(
    name: str,
    *,
    bar: float | None,
    peer: str,
    ours: float,
    peers: float,
    runs: int,
    note: str = "",
    unit: str = "s",
) -> Figure:
    """Make the figure of two measured values."""
    return Figure(
        name=name,
        peer=peer,
        ratio=round(ours / peers, 3),
        bar=bar,
        ours=round(ours, 4),
        peers=round(peers, 4),
        runs=runs,
        note=note,
        unit=unit,
    )


def attempted(
    name: str, bar: float | None, measure: Callable[[], Iterable[Figure]]
) -> Iterator[Figure]:
    """Give the figures of one measurement, or one that says why there are none."""
    try:
        yield from measure()
    except (OSError, RuntimeError) as fault:
        yield Figure(name, "", None, bar, None, None, 0, f"cannot be measured: {fault}")


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
    return compared(
        name,
        bar=bar,
        peer=peer,
        ours=median(pair[0] for pair in pairs),
        peers=median(pair[1] for pair in pairs),
        runs=runs,
        note=note,
    )
