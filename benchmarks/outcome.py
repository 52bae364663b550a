"""What became of requests: numbers of several clients, or one after the other, can be joined."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MICRO = 1_000_000
"""Microseconds of a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of requests: how many, failures by kind, how often each latency was seen.

    Latencies are in microseconds; `seconds` is how long it took.
    """

    requests: int
    failures: Mapping[str, int]
    latencies: Mapping[int, int]
    seconds: float

    @property
    def failed(self) -> int:
        """How many have failed, of whatever kind."""
        return sum(self.failures.values())

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    def percentile(self, part: float) -> float:
        """Return the latency in seconds that the part of the answers (0 to 100) do not exceed."""
        left = sum(self.latencies.values()) * part / 100
        for micros in sorted(self.latencies):
            left -= self.latencies[micros]
            if left <= 0:
                return micros / MICRO
        return 0.0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.requests + other.requests,
            Counter(self.failures) + Counter(other.failures),
            Counter(self.latencies) + Counter(other.latencies),
            max(self.seconds, other.seconds),
        )

    def then(self, later: Outcome) -> Outcome:
        """Join with what came after."""
        both = self + later
        seconds = self.seconds + later.seconds
        return Outcome(both.requests, both.failures, both.latencies, seconds)


NOTHING = Outcome(0, {}, {}, 0.0)
