"""Load on web servers from beginning to end of a `with`, and what became of each request.

wrk makes the requests: on a machine that runs the heads as well, a client in Python would take
the time that is to be measured (about 0.4 ms of a core for each request, wrk's 0.03). For each
address there are two of it: one keeps its connections, one opens a new one, with TLS, for each
request. A connection that hangs in the making is no request to wrk, and it tells nothing of it:
those are for `benchmarks.openings`. WebSockets are for `Handshakes`, as wrk has none.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from benchmarks.openings import TIMEOUT, Openings, trusting
from benchmarks.outcome import MICRO, NOTHING, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPT = Path(__file__).with_suffix(".lua")
ENDLESS = "86400s"
"""Longer than any measurement; wrk ends and tells when it is interrupted."""
PAUSE = 0.25
"""Seconds between two handshakes with one head."""
_BROKEN = ("connect", "read", "write", "timeout")


def parse(text: str) -> Outcome:
    """Read what `load.lua` says at the end of a run.

    Raises:
        RuntimeError: it says nothing, so wrk did not come to its end.
    """
    lines = [line for line in text.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise RuntimeError(f"wrk did not tell what became of its requests:\n{text[-1000:]}")
    said: dict[str, Any] = json.loads(lines[-1])
    failures = Counter({kind: said[kind] for kind in _BROKEN if said[kind]})
    for counts in said["statuses"]:
        failures.update({f"status {status}": count for status, count in counts.items()})
    latencies = {int(micros): int(count) for micros, count in said["latencies"]}
    return Outcome(said["requests"], failures, latencies, said["micros"] / MICRO)


@dataclass(slots=True)
class Load:
    """Requests under way; what became of them is there when they have ended.

    `outcome` is wrk's, `openings` those of a connection each with a deadline from its beginning
    on, `handshakes` the WebSockets.
    """

    outcome: Outcome = NOTHING
    openings: Outcome = NOTHING
    handshakes: Outcome = NOTHING

    @property
    def all(self) -> Outcome:
        """What became of every request, whoever made it."""
        return self.outcome + self.openings + self.handshakes


@contextmanager
def load(
    addresses: Sequence[str],
    paths: Sequence[str],
    *,
    keep: int = 4,
    fresh: int = 2,
    workers: int = 1,
    websocket: str | None = None,
) -> Iterator[Load]:
    """Ask for the paths in turn at all addresses (`https://…`) as long as the context lasts.

    `keep` connections per address are kept, `fresh` times at once a new one is made; besides,
    `workers` per address make one after the other, and hold each to a deadline.

    Raises:
        RuntimeError: wrk could not run.
    """
    running = Load()
    begun = [_begin(each, paths, "keep", keep) for each in addresses if keep]
    begun += [_begin(each, paths, "close", fresh) for each in addresses if fresh]
    openers = Openings(addresses, paths, workers)
    shakers = [Handshakes(f"wss{each[5:]}{websocket}") for each in addresses if websocket]
    try:
        openers.begin()
        for each in shakers:
            each.begin()
        yield running
    finally:
        for process in begun:
            process.send_signal(signal.SIGINT)
        said = [process.communicate(timeout=60)[0] for process in begun]
        opened = openers.end()
        ends = [each.end() for each in shakers]
    running.outcome = sum((parse(text) for text in said), NOTHING)
    running.openings = opened
    running.handshakes = sum(ends, NOTHING)


def _begin(
    address: str, paths: Sequence[str], mode: str, connections: int
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *("wrk", "-t", "1", "-c", str(connections), "-d", ENDLESS),
            *("--timeout", f"{TIMEOUT:.0f}s", "-s", str(SCRIPT), address, "--", mode, *paths),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@dataclass(slots=True)
class Handshakes:
    """One WebSocket after the other, each opened anew and held until its first message."""

    url: str
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _count: int = 0
    _failures: Counter[str] = field(default_factory=Counter)
    _latencies: Counter[int] = field(default_factory=Counter)
    _began: float = 0.0

    def begin(self) -> None:
        """Begin in a thread of its own."""
        self._began = time.monotonic()
        self._thread = threading.Thread(target=asyncio.run, args=(self._all(),), name=self.url)
        self._thread.start()

    def end(self) -> Outcome:
        """Wait for the last one; tell what became of all."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        spent = time.monotonic() - self._began
        return Outcome(self._count, self._failures, self._latencies, spent)

    async def _all(self) -> None:
        # Not `websockets.sync`: it reads in one thread and writes in another, which one TLS
        # connection does not bear in Python before 3.13; now and then a request never leaves.
        context = trusting()
        while not self._done.is_set():
            began = time.monotonic()
            self._count += 1
            doing = "opening"
            try:
                async with connect(
                    self.url, ssl=context, open_timeout=TIMEOUT, proxy=None
                ) as socket:
                    doing = "first message"
                    async with asyncio.timeout(TIMEOUT):
                        await socket.recv()
            except (OSError, WebSocketException) as fault:
                self._failures[f"websocket {doing}: {type(fault).__name__}"] += 1
            else:
                self._latencies[int((time.monotonic() - began) * MICRO)] += 1
            await asyncio.sleep(PAUSE)
