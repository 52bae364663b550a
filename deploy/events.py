"""What a head tells while it works: one value per thing that happened.

Whoever calls hands in an observer; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class What(Enum):
    """The kind of an event."""

    LOCKED = "locked"
    REPAIRED = "repaired"
    GENERATED = "secret generated"
    EXPIRES = "certificate expires"
    EXPIRED = "certificate expired"
    SEEDED = "seeded"
    KEPT = "kept"
    PREPARED = "prepared"
    SWITCHED = "switched"
    STARTED = "started"
    RESTARTED = "restarted"
    STOPPED = "stopped"
    RELOADED = "reloaded"
    HEALTHY = "healthy"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    SENDING = "sending"
    PUSHED = "pushed"
    REVERTING = "reverting"
    LOST = "lost"
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


def forgiving(observe: Observe) -> Observe:
    """Return an observer that passes events on until `observe` raises, and is silent from then on.

    Who looks on may go away (`| head -1`); the change goes on. Ctrl-C is no matter of observers.
    """
    broken = False

    def tell(event: Event) -> None:
        nonlocal broken
        if broken:
            return
        try:
            observe(event)
        except Exception:  # noqa: BLE001 (whatever it is, it is not about the head)
            broken = True

    return tell
