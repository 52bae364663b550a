"""The line between a head and its operator: JSON records, one a line, in both directions.

A thread hears and a thread speaks, so that neither a cut nor a stuck link keeps the head from
going back in time. What the words mean is for `deploy.session`.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from deploy.errors import BadMessageError, OperatorGoneError, TakenBackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store.errors import Error

LONGEST = 16 * 1024 * 1024
"""Bytes of a line; the first one brings sealed secrets."""
CHUNK = 64 * 1024
TICK = 0.25
"""Seconds between two looks at whatever a waiting head has to look at."""
FAREWELL = 5.0
"""Seconds that the last words get to be heard."""
ALIVE, BACK = "alive", "back"


def nothing() -> None:
    """Look at nothing."""


class Line:
    """One operator at the other end, who must not be silent for `deadline` seconds."""

    def __init__(self, reader: int, writer: int) -> None:
        """Take two descriptors: a thread that is stuck in a buffered file cannot be left alone."""
        self.deadline = 60.0
        self._reader, self._writer = reader, writer
        self._rest = b""
        self._state = threading.Condition()
        self._asked: set[str] = set()
        self._orders: deque[dict[str, Any]] = deque()
        self._end: Error | None = None
        self._heard = time.monotonic()
        self._words: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._mouth = threading.Thread(target=self._speak, name="mouth", daemon=True)
        self._mouth.start()

    def first(self) -> dict[str, Any]:
        """Return the first record; from then on the line is listened to.

        Raises:
            OperatorGoneError: there is none.
            BadMessageError: it is none.
        """
        record = self._hear()
        if record is None:
            raise OperatorGoneError("nobody asked for anything")
        threading.Thread(target=self._listen, name="ears", daemon=True).start()
        return record

    def wait(self, word: str, look: Callable[[], None] = nothing) -> None:
        """Return when the operator says `word`; `look` is called all the time.

        Raises:
            TakenBackError: the operator said to go back instead.
            OperatorGoneError: the operator is gone, or was silent for too long.
            Error: what `look` raises.
        """
        while not self._said(word):
            self.present()
            look()

    def order(self) -> dict[str, Any]:
        """Return the next record that says more than that somebody is there.

        Raises:
            TakenBackError: the operator said to go back instead.
            OperatorGoneError: the operator is gone, or was silent for too long; what was ordered
                and not begun is not given out any more.
        """
        while True:
            self.present()
            with self._state:
                self._state.wait_for(lambda: self._orders or self._end, TICK)
                if self._orders and self._end is None:
                    return self._orders.popleft()

    def present(self) -> None:
        """Return if the operator is there and has not said to go back.

        Raises:
            TakenBackError: the operator has.
            OperatorGoneError: the operator is not there.
        """
        with self._state:
            if self._end is not None:
                raise self._end
            silent = time.monotonic() - self._heard
        if silent > self.deadline:
            raise OperatorGoneError(
                f"the operator was silent for {self.deadline:g} s",
                hint="look at the link to the head, and run the command again",
            )

    def say(self, word: str, /, **facts: Any) -> None:  # noqa: ANN401 (any JSON value)
        """Tell the operator; whether anybody hears it is no matter here."""
        self._words.put({"say": word, **facts})

    def close(self) -> None:
        """Let the last words out, as far as somebody takes them."""
        self._words.put(None)
        self._mouth.join(FAREWELL)

    def _said(self, word: str) -> bool:
        with self._state:
            return self._state.wait_for(lambda: word in self._asked or self._end, TICK) is True

    def _listen(self) -> None:
        try:
            while (record := self._hear()) is not None:
                self._take(record)
            end: Error = OperatorGoneError("the link to the operator was cut")
        except BadMessageError as error:
            end = error
        with self._state:
            self._end = self._end or end
            self._state.notify_all()

    def _take(self, record: dict[str, Any]) -> None:
        word = record.get("do")
        with self._state:
            self._heard = time.monotonic()
            if word == BACK:
                self._end = self._end or TakenBackError("the operator takes the change back")
            elif isinstance(word, str) and word != ALIVE:
                self._asked.add(word)
                self._orders.append(record)
            self._state.notify_all()

    def _hear(self) -> dict[str, Any] | None:
        """Return the next record; None if the other end is gone."""
        line = self._read_line()
        if line is None:
            return None
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BadMessageError("the operator's side does not speak JSON") from error
        if not isinstance(record, dict):
            raise BadMessageError("an object is wanted here", got=repr(record)[:80])
        return record

    def _read_line(self) -> bytes | None:
        chunks, length = [self._rest], len(self._rest)
        while b"\n" not in chunks[-1]:
            try:
                chunk = os.read(self._reader, CHUNK)
            except OSError:
                return None
            chunks.append(chunk)
            length += len(chunk)
            if not chunk:
                return None
            if length > LONGEST:
                raise BadMessageError("a line is too long", expected=f"at most {LONGEST} bytes")
        line, _, self._rest = b"".join(chunks).partition(b"\n")
        return line

    def _speak(self) -> None:
        while (record := self._words.get()) is not None:
            data = json.dumps(record).encode() + b"\n"
            try:
                while data:
                    data = data[os.write(self._writer, data) :]
            except OSError:
                return
