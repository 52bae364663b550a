"""The clocks of heads: how far apart they are, and what chrony says of its sources. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from deploy.phases.errors import PhaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SKEW = 30.0
"""Seconds; of heads further apart than that, tickets and leases are void before they are used."""
SYS_TIME = 25
"""The number of CAP_SYS_TIME in linux/capability.h."""
_COLUMNS = 14
"""Of `chronyc -c tracking`."""
_SOURCE = 6
"""The least columns of a row of `chronyc -c sources`."""
_OCTAL = re.compile(r"[0-7]{1,3}")
LOCAL = "7F7F0101"
"""The reference of a head that goes by its own clock."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a head's clock said while ours went from `began` to `ended`: seconds since the epoch."""

    there: float
    began: float
    ended: float

    @property
    def ahead(self) -> float:
        """How far it is ahead of ours, as well as one question can tell."""
        return self.there - (self.began + self.ended) / 2


@dataclass(frozen=True, slots=True)
class Source:
    """One that chrony asks: `reached` if it answered one of the last eight times."""

    address: str
    reached: bool


def apart(readings: Mapping[str, Reading]) -> dict[str, float]:
    """Return by how much each head that is too far from the middle of all is ahead of it.

    Ours does not count: the operator's machine may be the one that is wrong.
    """
    if not readings:
        return {}
    ahead = {name: each.ahead for name, each in readings.items()}
    middle = median(sorted(ahead.values()))
    found = {name: value - middle for name, value in ahead.items()}
    # Of two heads neither is the middle, and both are half as far from it as from one another.
    limit = SKEW / 2 if len(found) == 2 else SKEW  # noqa: PLR2004
    return {name: value for name, value in found.items() if abs(value) > limit}


def may_set(capabilities: str) -> bool:
    """Tell by a bounding set, in base 16, whether programs of a head may set its clock."""
    return bool(int(capabilities, 16) >> SYS_TIME & 1)


def follows(text: str) -> str | None:
    """Read of `chronyc -c tracking` whom a head's chrony follows; None where nobody.

    Raises:
        PhaseError: it is something else.
    """
    words = text.strip().split(",")
    if len(words) != _COLUMNS:
        raise PhaseError("chronyc does not tell whom it follows", got=text[:200])
    if words[0] == LOCAL:
        return "its own clock"
    return None if words[-1] == "Not synchronised" else words[1] or words[0]


def sources(text: str) -> tuple[Source, ...]:
    """Read `chronyc -n -c sources`; a row that is something else tells of no source."""
    rows = [line.split(",") for line in text.splitlines()]
    return tuple(
        Source(address=row[2], reached=row[5].strip("0") != "")
        for row in rows
        if len(row) > _SOURCE and row[0] in ("^", "=") and _OCTAL.fullmatch(row[5])
    )


def silent(found: Iterable[Source], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return those of the addresses that have not answered, sorted."""
    reached = {each.address for each in found if each.reached}
    return tuple(sorted(set(wanted) - reached))
