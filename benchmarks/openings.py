"""Requests of which each opens a connection of its own and must be answered by a deadline.

A closed loop: a worker asks, waits for the last byte or the deadline, and asks again. The deadline
counts from before the connection is opened; so one that hangs while it is made, or in the TLS
handshake, is a request that failed. wrk counts neither.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.outcome import MICRO, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TIMEOUT = 10.0
"""Seconds after which a request has failed."""
THOUGHT = 0.05
"""Seconds from an answer to a worker's next request; Python would take the heads' time else."""
_OK = 200
_END = b"\r\n"


class BadAnswerError(Exception):
    """An answer that is not HTTP, or has another status than it should."""


def trusting() -> ssl.SSLContext:
    """Return what believes every certificate: those of a lab are signed by their own keys."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(slots=True)
class Openings:
    """Workers for each address, in one thread; they ask for the paths in turn."""

    addresses: Sequence[str]
    paths: Sequence[str]
    workers: int
    timeout: float = TIMEOUT
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _count: int = 0
    _failures: Counter[str] = field(default_factory=Counter)
    _latencies: Counter[int] = field(default_factory=Counter)
    _began: float = 0.0
    _fault: BaseException | None = None

    @property
    def begun(self) -> int:
        """How many requests were begun so far."""
        return self._count

    def begin(self) -> None:
        """Begin in a thread of its own."""
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="openings")
        self._thread.start()

    def end(self) -> Outcome:
        """Wait for the last ones, which have until their deadline; tell what became of all.

        Raises:
            RuntimeError: asking came to an end of its own, which is a bug of this client.
        """
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        if self._fault is not None:
            raise RuntimeError("nobody asked any more") from self._fault
        spent = time.monotonic() - self._began
        return Outcome(self._count, self._failures, self._latencies, spent)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as fault:  # noqa: BLE001 (raised where its outcome is asked for)
            self._fault = fault

    async def _all(self) -> None:
        paths, context = itertools.cycle(self.paths), trusting()
        loops = [self._work(each, paths, context) for each in [*self.addresses] * self.workers]
        await asyncio.gather(*loops)

    async def _work(self, address: str, paths: Iterator[str], context: ssl.SSLContext) -> None:
        while not self._done.is_set():
            began = time.monotonic()
            self._count += 1
            asked = _Asked(address, next(paths), context)
            try:
                async with asyncio.timeout(self.timeout):
                    await asked.run()
            except BadAnswerError as fault:
                self._failures[str(fault)] += 1
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as fault:
                self._failures[f"{asked.doing}: {type(fault).__name__}"] += 1
            else:
                self._latencies[int((time.monotonic() - began) * MICRO)] += 1
            await asyncio.sleep(THOUGHT)


@dataclass(slots=True)
class _Asked:
    """One request; `doing` is what it came to."""

    address: str
    path: str
    context: ssl.SSLContext
    doing: str = "opening"

    async def run(self) -> None:
        """Open a connection, ask, and read to the last byte.

        Raises:
            BadAnswerError: there is an answer, and not the right one.
            OSError: the connection broke, or TLS did not come about.
            EOFError: the answer ends too early.
            ValueError, LimitOverrunError: it is no HTTP.
        """
        place = urlsplit(self.address)
        tls = self.context if place.scheme == "https" else None
        port = place.port or (80 if tls is None else 443)
        reader, writer = await asyncio.open_connection(place.hostname, port, ssl=tls)
        self.doing = "answer"
        try:
            head = f"GET {self.path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            await _answer(reader)
        finally:
            # A close that waits for the other end would be one more thing that can hang.
            writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> None:
    words = (await _line(reader)).split(b" ", 2)
    headers: dict[bytes, bytes] = {}
    while line := await _line(reader):
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    if headers.get(b"transfer-encoding") == b"chunked":
        await _chunks(reader)
    elif b"content-length" in headers:
        await reader.readexactly(int(headers[b"content-length"]))
    else:
        await reader.read()
    status = int(words[1]) if words[0].startswith(b"HTTP/") and len(words) > 1 else 0
    if status != _OK:
        raise BadAnswerError(f"status {status}")


async def _chunks(reader: asyncio.StreamReader) -> None:
    while size := int((await _line(reader)).partition(b";")[0], 16):
        await reader.readexactly(size + len(_END))
    while await _line(reader):
        pass


async def _line(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(_END))[: -len(_END)]
