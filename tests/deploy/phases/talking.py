"""The other end of a session of phases: an agent that answers by a function."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any] | bytes | None]


class Agent:
    """A channel whose other end answers by a function; None ends it."""

    def __init__(self, answer: Answer) -> None:
        self.heard: list[dict[str, Any]] = []
        self._answer = answer
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._over = threading.Event()

    def send(self, data: bytes) -> None:
        if self._over.is_set():
            raise OSError("broken pipe")
        record = json.loads(data)
        self.heard.append(record)
        if "id" not in record:
            return
        said = self._answer(record)
        if said is None:
            self.end()
        else:
            self.say(said)

    def say(self, said: Mapping[str, Any] | bytes) -> None:
        self._lines.put(said if isinstance(said, bytes) else json.dumps(said).encode())

    def lines(self, timeout: float) -> Iterator[bytes | None]:
        del timeout
        while (line := self._lines.get()) is not None:
            yield line

    def end(self) -> None:
        self._over.set()
        self._lines.put(None)

    def close(self) -> None:
        self.end()

    def status(self, timeout: float = 5.0) -> int | None:
        del timeout
        return 6 if self._over.is_set() else None
