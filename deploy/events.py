"""What a head tells while it works: one value per thing that happened.

Whoever calls hands in an observer; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class What(Enum):
    """The kind of an event."""

    REPAIRED = "repaired"
    GENERATED = "secret generated"
    SEEDED = "seeded"
    PREPARED = "prepared"
    SWITCHED = "switched"
    STARTED = "started"
    RESTARTED = "restarted"
    STOPPED = "stopped"
    RELOADED = "reloaded"
    HEALTHY = "healthy"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to `name` (a service, a secret, a generation); `detail` is prose."""

    what: What
    name: str
    detail: str = ""


Observe = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Observe nothing."""
