"""The base score of a CVSS 3 vector, by the formulas of its specification (section 7)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES = {
    "U": {"N": 0.85, "L": 0.62, "H": 0.27},
    "C": {"N": 0.85, "L": 0.68, "H": 0.5},
}
"""By whether the scope changes."""
_RATINGS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"), (0.0, "none"))


def base_score(vector: str) -> float | None:
    """Give the base score of a CVSS 3.0 or 3.1 vector, from 0 to 10; None if it is not one."""
    head, *rows = vector.split("/")
    if head not in ("CVSS:3.0", "CVSS:3.1"):
        return None
    said = {key: value for key, _, value in (row.partition(":") for row in rows)}
    try:
        weight = {metric: values[said[metric]] for metric, values in _WEIGHTS.items()}
        changed = said["S"] == "C"
        privileges = _PRIVILEGES[said["S"]][said["PR"]]
    except KeyError:
        return None
    lost = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    return _round_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10.0))


def rating(score: float) -> str:
    """Give the word for a score."""
    return next(word for floor, word in _RATINGS if score >= floor)


def _round_up(score: float) -> float:
    """Round up to one decimal, free of the errors of binary fractions (appendix A)."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (math.floor(whole / 10_000) + 1) / 10
