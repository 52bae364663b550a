"""The operator's end of the session in which one head does the work of phases.

One JSON object per line each way; `deploy.install` is the head's end. Each question has a number,
and one is asked at a time. If nothing is heard from us any more the head ends what it does, begins
nothing new, and lets go of its lock; so closing a session is always safe.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from deploy.errors import HeadLostError
from deploy.report import of_head
from deploy.ssh_errors import TransportError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deploy.dialogue import Channel

    Hear = Callable[[Mapping[str, Any]], None]

TICK = 1.0
"""Seconds after which a reader that hears nothing looks whether anybody still listens."""
FAREWELL = 10.0
"""Seconds that a head gets to let go."""
MOST = 16 << 20
"""Bytes in one line that a head may say; the states of phases come with the text of files."""
WAITING = 1024
"""Records that wait for whoever asks; a head that says more has to wait."""


class Session:
    """One head's session. Threads may share it: their questions are asked one after the other."""

    def __init__(self, head: str, channel: Channel, hear: Hear) -> None:
        """Take a channel to the head's agent; `hear` gets what it tells besides answers."""
        self.head = head
        self._channel = channel
        self._hear = hear
        self._number = 0
        self._asking = threading.Lock()
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._said: queue.Queue[Mapping[str, Any] | None] = queue.Queue(WAITING)
        self._listener = threading.Thread(target=self._listen, name=f"listen-{head}", daemon=True)
        self._listener.start()

    def ask(self, word: str, patience: float, **facts: Any) -> Any:  # noqa: ANN401 - JSON
        """Let the head do something; return what came of it.

        `patience` is how many seconds it may take to the answer.

        Raises:
            Error: the head refuses, or could not do it, and says why.
            HeadLostError: it does not answer any more.
        """
        with self._asking:
            self._number += 1
            self._send({"do": word, "id": self._number, **facts})
            return self._answer(self._number, word, time.monotonic() + patience)

    def alive(self) -> None:
        """Tell the head that somebody is there; its deadline begins anew."""
        with suppress(Error):
            self._send({"do": "alive"})

    def close(self) -> None:
        """Let go of the head, and wait until it has let go of its lock."""
        self._channel.end()
        self._listener.join(FAREWELL)
        self._closed.set()
        self._channel.close()

    def _answer(self, number: int, word: str, until: float) -> Any:  # noqa: ANN401 - JSON
        while True:
            record = self._next(word, until)
            if record is None:
                # Whoever asks again gets the same answer.
                self._keep(None)
                raise self._lost("the connection broke")
            if record.get("id") != number:
                continue
            if record.get("say") == "answer":
                return record.get("result")
            if record.get("say") == "failed":
                said = record.get("error")
                raise of_head(self.head, said if isinstance(said, dict) else {})

    def _next(self, word: str, until: float) -> Mapping[str, Any] | None:
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise self._lost(f"it does not say in time what came of {word!r}")
            with suppress(queue.Empty):
                return self._said.get(timeout=min(TICK, left))
            if self._closed.is_set():
                raise self._lost("the session was closed")

    def _send(self, record: Mapping[str, Any]) -> None:
        try:
            with self._sending:
                self._channel.send(json.dumps(record).encode() + b"\n")
        except (OSError, TransportError) as error:
            raise self._lost(f"the connection broke: {error}") from error

    def _lost(self, reason: str) -> HeadLostError:
        status = self._channel.status()
        got = None if status is None else f"its agent ended with status {status}"
        hint = f"look what {self.head} does, then run the same again: it goes on from there"
        return HeadLostError(f"{self.head}: {reason}", where=self.head, got=got, hint=hint)

    def _listen(self) -> None:
        """Put answers in the queue, pass events on, and put None at the end, which stays."""
        try:
            for line in self._channel.lines(TICK):
                if self._closed.is_set():
                    break
                self._take(None if line is None else _record(line))
        except (OSError, TransportError):
            pass
        finally:
            self._keep(None)

    def _take(self, record: Mapping[str, Any] | None) -> None:
        if record is None:
            return
        if record.get("say") == "event":
            self._hear(record)
        else:
            self._keep(record)

    def _keep(self, record: Mapping[str, Any] | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._said.put(record, timeout=TICK)
                return


def _record(line: bytes) -> Mapping[str, Any] | None:
    """Read one line; what is no record of ours (a banner of the login shell) is passed over."""
    if len(line) > MOST:
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
