"""The operator's end of the session in which one head prepares, switches, and waits for a word.

One JSON object per line each way; `deploy.session` is the head's end. From the first order on the
head holds its lock. If nothing is heard from us any more it lets go, or goes back if it had
switched; so closing a session is always safe.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from deploy.errors import HeadLostError
from deploy.report import changes_from_json, event_from_json, of_head
from deploy.ssh_errors import TransportError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from deploy.events import Observe
    from deploy.orders import Order
    from deploy.services import Changes

LOOK = 0.1
"""Seconds after which a full queue is looked at again."""
TICK = 1.0
"""Seconds after which a reader that hears nothing looks whether anybody still listens."""
PREPARE_SECONDS = 300.0
BACK_SECONDS = 300.0
"""How long a head may take to prepare, and to go back; both start and check services."""
BACK_TOTAL = 600.0
"""How long a head may take to go back, however much it says meanwhile."""
VOUCH_SECONDS = 30.0
CONFIRM_SECONDS = 30.0
FAREWELL = 10.0
"""Seconds that a head gets to let go."""
MOST = 1_000_000
"""Bytes in one line that a head may say."""
WAITING = 64
"""Records that wait for whoever asks; a head that says more has to wait."""
RECORDS = 10_000
"""What a head may say until the answer comes."""
STAGE_SECONDS = 1800.0
"""How long it may take to the answer, however much it says meanwhile."""


class Phase(Enum):
    """Where a head stands in a session, as far as we were told."""

    OPEN = "open"
    PREPARING = "preparing"
    PREPARED = "prepared"
    SWITCHING = "switching"
    HEALTHY = "healthy"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    STRANDED = "stranded"
    REFUSED = "refused"
    LOST = "lost"


ENDS = {
    "confirmed": Phase.CONFIRMED,
    "reverted": Phase.REVERTED,
    "stranded": Phase.STRANDED,
    "refused": Phase.REFUSED,
}
UNTOUCHED = frozenset({Phase.OPEN, Phase.PREPARING, Phase.PREPARED, Phase.REFUSED})
TOUCHED = frozenset({Phase.SWITCHING, Phase.HEALTHY, Phase.CONFIRMING})
"""Where the connection's loss leaves open what the head runs."""


class Channel(Protocol):
    """Lines to and from a program on a head: `deploy.transport`'s, and a fake's."""

    def send(self, data: bytes) -> None:
        """Write to the program."""
        ...

    def lines(self, timeout: float) -> Iterator[bytes | None]:
        """Give its lines, and None after `timeout` seconds without one, until it has ended."""
        ...

    def end(self) -> None:
        """End the program's input; what it still says can be read."""
        ...

    def close(self) -> None:
        """End the program's input, and let go of it."""
        ...

    def status(self, timeout: float = 5.0) -> int | None:
        """Return its exit status, which may come some seconds after its last line."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a head is about to do; `before` is None where nothing ran."""

    generation: int
    before: int | None
    start: tuple[str, ...]
    restart: tuple[str, ...]
    stop: tuple[str, ...]
    reload: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Healthy:
    """What a head did, in how many seconds."""

    generation: int
    changes: Changes
    seconds: float


class Session:
    """One head's session. Its methods wait for the answer; `stop` may be called meanwhile."""

    def __init__(self, head: str, channel: Channel, observe: Observe) -> None:
        self.head = head
        self.phase = Phase.OPEN
        self.prepared: Prepared | None = None
        self.error: Error | None = None
        self.holds = False
        """Whether the head has said anything that is no refusal: then it holds its lock."""
        self._first: Callable[[], None] | None = None
        self._channel = channel
        self._observe = observe
        self._said: queue.Queue[Mapping[str, Any] | None] = queue.Queue(WAITING)
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._parting = False
        self._until = math.inf
        """When a head that was asked to go back must have answered."""
        self._listener = threading.Thread(target=self._listen, name=f"listen-{head}", daemon=True)
        self._listener.start()

    @property
    def untouched(self) -> bool:
        """Whether the head was not told to change anything."""
        return self.phase in UNTOUCHED

    def when_locked(self, call: Callable[[], None]) -> None:
        """Call at the head's first word, or when there will be none; asked before `prepare`."""
        self._first = call

    def prepare(self, order: Order) -> Prepared:
        """Let the head do all that can fail; it holds its lock from here on.

        Raises:
            Error: the head refuses, and says why; nothing was touched.
            HeadLostError: it does not answer any more.
        """
        self.phase = Phase.PREPARING
        self._send(order.to_json())
        said = self._await("prepared", PREPARE_SECONDS)
        self.prepared = _prepared(said)
        self.phase = Phase.PREPARED
        return self.prepared

    def switch(self, patience: float) -> Healthy:
        """Let the head switch, restart and check; it may be silent for `patience` seconds.

        Raises:
            Error: it went back, or is stranded; `phase` tells which.
            HeadLostError: it does not answer any more, and goes back by itself.
        """
        self.phase = Phase.SWITCHING
        self._send({"do": "switch"})
        said = self._await("healthy", patience)
        self.phase = Phase.HEALTHY
        return _healthy(said)

    def alive(self) -> None:
        """Tell the head that somebody is there; its deadline begins anew."""
        if self.phase in TOUCHED or self.phase in (Phase.PREPARING, Phase.PREPARED):
            with suppress(Error):
                self._send({"do": "alive"})

    def vouch(self) -> None:
        """Let a head that is healthy look once more; from then on it does not go back by itself.

        Unless it hears nothing, that is.

        Raises:
            Error: it went back, and says why.
            HeadLostError: it does not answer any more.
        """
        self._send({"do": "vouch"})
        self._await("vouched", VOUCH_SECONDS)

    def confirm(self) -> None:
        """Let the head keep what it runs.

        Raises:
            Error: it did not; `phase` tells what it did.
            HeadLostError: it does not answer any more; it may have kept it or not.
        """
        self.phase = Phase.CONFIRMING
        self._send({"do": "confirm"})
        self._await("confirmed", CONFIRM_SECONDS)

    def back(self) -> None:
        """Let a head that has switched go back, and wait until it has.

        Raises:
            Error: it is stranded.
            HeadLostError: it does not answer any more, and goes back by itself.
        """
        if self.phase in TOUCHED:
            self.stop()
            self._await("reverted", BACK_SECONDS)

    def stop(self) -> None:
        """Ask the head to go back, without waiting; whoever waits for it is told."""
        self._until = min(self._until, time.monotonic() + BACK_TOTAL)
        with suppress(Error):
            self._send({"do": "back"})

    def drop(self) -> None:
        """Tell a head that was not touched that nothing comes of it, and let go of it."""
        if self.phase in (Phase.PREPARING, Phase.PREPARED):
            # Its log would say else that the link was cut.
            self.stop()
        self.close()

    def close(self) -> None:
        """Let go of the head: before the switch it lets go too, after it it goes back."""
        self._parting = True
        self._channel.end()
        # Until it has let go of its lock, the next command would be refused.
        self._listener.join(FAREWELL)
        self._closed.set()
        self._channel.close()

    def _send(self, record: Mapping[str, Any]) -> None:
        try:
            with self._sending:
                self._channel.send(json.dumps(record).encode() + b"\n")
        except (OSError, TransportError) as error:
            raise self._lost(f"the connection broke: {error}") from error

    def _await(self, wanted: str, patience: float) -> Mapping[str, Any]:
        """Return the record that says `wanted`, with no more than `patience` seconds of silence.

        Nor does a head that talks on and on keep us for ever.
        """
        began = time.monotonic()
        for _ in range(RECORDS):
            until = min(began + max(STAGE_SECONDS, patience), self._until)
            record = self._next(patience, until)
            if self._took(record, wanted):
                return record or {}
        raise self._lost(f"it says more than {RECORDS} things, and not how it went")

    def _next(self, patience: float, until: float) -> Mapping[str, Any] | None:
        """Return what the head says next; a session that another thread closes ends the wait."""
        began = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= min(until, self._until):
                raise self._lost("it speaks, but does not say in time how it went")
            left = began + patience - now
            if left <= 0:
                raise self._lost(f"nothing was heard for {patience:.0f} s")
            with suppress(queue.Empty):
                return self._said.get(timeout=min(TICK, left, max(until - now, 0.0)))
            if self._closed.is_set():
                raise self._lost("the session was closed")

    def _took(self, record: Mapping[str, Any] | None, wanted: str) -> bool:
        """Take one record; tell whether it is the wanted one. Any other end is an error."""
        if record is None:
            # Whoever asks again gets the same answer.
            with suppress(queue.Full):
                self._said.put_nowait(None)
            raise self._lost("the connection broke")
        said = record.get("say")
        if said == "event":
            self._tell(record)
        elif said == wanted:
            self.phase = ENDS.get(wanted, self.phase)
            return True
        elif said in ENDS:
            raise self._ended(record)
        return False

    def _ended(self, record: Mapping[str, Any]) -> Error:
        self.phase = ENDS[record["say"]]
        self.error = of_head(self.head, record.get("error") or {})
        return self.error

    def _lost(self, reason: str) -> HeadLostError:
        # What was not touched, or has come to an end that we were told of, stays as it is.
        if self.phase in TOUCHED:
            self.phase = Phase.LOST
        self.error = HeadLostError(f"{self.head}: {reason}", where=self.head, got=self._last())
        return self.error

    def _last(self) -> str | None:
        status = self._channel.status()
        return None if status is None else f"its agent ended with status {status}"

    def _tell(self, record: Mapping[str, Any]) -> None:
        event = event_from_json(record)
        if event is not None:
            self._observe(event)

    def _called(self) -> None:
        if self._first is not None:
            self._first()

    def _listen(self) -> None:
        """Put what the head says in the queue, and None at the end."""
        try:
            for line in self._channel.lines(TICK):
                if self._closed.is_set():
                    break
                record = None if line is None else _record(line)
                if record is not None:
                    self.holds = self.holds or record.get("say") not in ENDS
                    self._called()
                    self._keep(record)
        except (OSError, TransportError):
            pass
        finally:
            self._called()
            self._keep(None)

    def _keep(self, record: Mapping[str, Any] | None) -> None:
        """Put a record in the queue; whoever parts wants the end alone."""
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._said.put(record, timeout=LOOK)
                return
            if self._parting and record is not None:
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


def _prepared(said: Mapping[str, Any]) -> Prepared:
    before = said.get("before")
    return Prepared(
        int(said["generation"]),
        None if before is None else int(before),
        *(_names(said.get(word)) for word in ("start", "restart", "stop", "reload")),
    )


def _healthy(said: Mapping[str, Any]) -> Healthy:
    changes = changes_from_json(said.get("changes") or {})
    return Healthy(int(said["generation"]), changes, float(said.get("seconds") or 0.0))


def _names(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever a head says
    return tuple(str(each) for each in value or ())
