"""What a change of the head is about to do, on disk before it is done.

A journal that is there when nobody holds the lock belongs to a change that was cut off:
`deploy.activate.repair` finishes it or takes it back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from deploy import durable
from deploy.rollout import Stage

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Intent:
    """One change: from generation `before` (None: nothing ran) to `after`, and how far it got.

    `running` says whether the services ran before; going back leaves them as they were.
    """

    action: str
    before: int | None
    after: int
    path: str
    stage: Stage
    by: str
    since: float
    running: bool

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps({**asdict(self), "stage": self.stage.value}, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Intent:
        """Make an intent of what `to_json` wrote."""
        document = json.loads(text)
        return cls(**{**document, "stage": Stage(document["stage"])})


class Journal:
    """The one file that holds the intent of the change under way, if there is one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> Intent | None:
        """Return the intent that was written last and not cleared."""
        try:
            return Intent.from_json(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return None

    def write(self, intent: Intent) -> None:
        """Make `intent` durable."""
        durable.write(self._file, intent.to_json().encode())

    def reach(self, stage: Stage) -> None:
        """Note that the change under way has reached `stage`."""
        intent = self.read()
        if intent is not None:
            self.write(replace(intent, stage=stage))

    def clear(self) -> None:
        """Forget the intent: the change is complete."""
        durable.remove(self._file)
