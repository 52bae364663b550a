"""What happens during a build, told as it happens.

Values only. `builders.realise` and `builders.fetch` emit them; the command line draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class EventKind(Enum):
    """What an event tells."""

    PLANNED = "planned"
    """How many steps there are: `total`."""
    WAITING = "waiting"
    """A step cannot start yet; `detail` names what it waits for."""
    STARTED = "started"
    """A build began; `log` is where its output goes."""
    FINISHED = "finished"
    """A build ended well; `path` is its store path."""
    CACHED = "cached"
    """A step needed nothing; `path` is its store path."""
    FETCHED = "fetched"
    """A download arrived and is what was pinned; `size` in bytes."""
    TAKEN = "taken"
    """Paths came from the shared cache `name`: `total` of them, `size` in bytes."""
    CACHE_FAULT = "cache-fault"
    """The shared cache `name` is of no use, or of less, because of `detail`; the build goes on."""
    CHECKED = "checked"
    """A second build gave the same bytes."""
    FAILED = "failed"
    """A step failed; `detail` is the reason in one line."""
    SKIPPED = "skipped"
    """A step was not tried because `detail` failed before it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one step (or to the whole build: empty key)."""

    kind: EventKind
    key: str = ""
    name: str = ""
    seconds: float = 0.0
    detail: str = ""
    size: int = 0
    total: int = 0
    log: str | None = None
    path: str | None = None
    title: str = ""
    """The key as people read it, where that differs."""
    time: float = field(default=0.0, compare=False)
    """Seconds since the epoch, for the reader's clock."""

    @property
    def shown(self) -> str:
        """What to call the step."""
        return self.title or self.key

    def to_json(self) -> dict[str, Any]:
        """Give the record of `--json`: facts that are not empty."""
        record = {slot: getattr(self, slot) for slot in self.__slots__ if slot != "kind"}
        return {"event": self.kind.value} | {name: fact for name, fact in record.items() if fact}


Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""
    del event
