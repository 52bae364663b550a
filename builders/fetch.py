"""Bytes from the network, pinned by their hash; the only door to it.

One `Fetcher` holds one pool of connections. `fetch` puts a pinned download into a file: it
resumes what an earlier attempt left, hashes while it reads, and tries the mirrors in order.
`get` reads an index for a locker, which has nothing to pin it by yet. Threads, locks and the
store are for `builders.downloads`; what went wrong at one address is `builders.attempt`'s.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from builders.attempt import (
    AttemptError,
    Connections,
    GoneError,
    OtherBytesError,
    Patience,
    RangeError,
    UnreachableError,
    bare,
)
from store.errors import Error, IntegrityError
from store.hashes import Digest, parse_sri, sri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from hashlib import _Hash
    from pathlib import Path

    from builders.step import Download

THREADS = 16
"""Fetches at once. Small files wait for round trips, not for bytes; npm itself opens 15."""
_CHUNK = 1 << 18
_HINT = "is the registry up, and is `mirrors:` in sealift.yaml right?"


class FetchError(Error):
    """Something that could not be fetched from anywhere it was said to be."""

    slug = "fetch-failed"
    exit_code = 1


class MismatchError(IntegrityError):
    """Bytes that came and are not what the lock pins."""


@dataclass(slots=True)
class _Part:
    """A file that grows by what arrives, with the hash of all it holds."""

    file: BinaryIO
    algorithm: str
    hasher: _Hash
    size: int = 0

    def load(self) -> None:
        """Hash what an earlier attempt left."""
        self.file.seek(0)
        while chunk := self.file.read(_CHUNK):
            self.hasher.update(chunk)
            self.size += len(chunk)

    def clear(self) -> None:
        if self.size:
            self.file.truncate(0)
            self.hasher, self.size = hashlib.new(self.algorithm), 0

    def go_on_at(self, start: int) -> None:
        """Make ready for bytes that begin at `start`."""
        if start not in {0, self.size}:
            raise RangeError("sent another part of the file than was asked for")
        if start == 0:
            self.clear()

    def add(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.hasher.update(chunk)
        self.size += len(chunk)


class Fetcher:
    """A pool of connections, and the patience with which it is used. Safe in many threads."""

    def __init__(
        self,
        *,
        threads: int = THREADS,
        patience: Patience | None = None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        """Open nothing yet.

        `pause` waits between rounds, and is called with 0 at every chunk; it may raise to stop.
        """
        self.threads = threads
        self._patience = patience or Patience()
        self._pause = pause or _sleep
        self._connections = Connections(threads=threads, patience=self._patience)

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def fetch(
        self, download: Download, part: Path, *, name: str, hint: str = "", gone: str = ""
    ) -> int:
        """Put the pinned bytes into the file `part`, going on from what it holds.

        Gives the number of bytes. `name` is what errors call it; `hint` is for a wrong hash, and
        `gone` for a file that no mirror has.

        Raises:
            MismatchError: if what came is not what is pinned, from any mirror.
            FetchError: if no mirror could send it.
        """
        pin = parse_sri(download.integrity)
        faults: dict[str, AttemptError] = {}
        for url in self._turns(download.urls, faults):
            try:
                return self._attempt(url, pin, part, download.size, name)
            except AttemptError as fault:
                faults[url] = fault
        if gone and faults and all(isinstance(each, GoneError) for each in faults.values()):
            raise _gone(name, faults, gone)
        raise _failure(name, pin, faults, hint)

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, limit: int = 256 << 20
    ) -> bytes:
        """Read a whole document that nothing pins, such as a registry's index.

        Raises:
            FetchError: if the server cannot be reached, refuses, or sends more than `limit`.
        """
        faults: dict[str, AttemptError] = {}
        for address in self._turns([url], faults):
            try:
                with self._connections.open(address, headers or {}) as answer:
                    return b"".join(answer.chunks(limit))
            except AttemptError as fault:
                faults[address] = fault
        raise FetchError(
            f"{bare(url)} cannot be read",
            where=bare(url),
            got=str(faults[url]),
            hint=_HINT,
        )

    def _turns(self, urls: Sequence[str], faults: Mapping[str, AttemptError]) -> Iterator[str]:
        """Give the addresses in order, again and again, as long as there is hope; wait between."""
        for turn in range(self._patience.rounds):
            hopeful = [url for url in urls if url not in faults or faults[url].passing]
            if hopeful:
                self._pause(self._patience.delay(turn))
            yield from hopeful

    def _attempt(self, url: str, pin: Digest, path: Path, size: int | None, name: str) -> int:
        with path.open("ab+") as file:
            part = _Part(file, pin.algorithm, hashlib.new(pin.algorithm))
            part.load()
            resumed = part.size > 0
            whole = resumed and part.hasher.digest() == pin.value
            if not whole and (size is None or part.size < size):
                self._receive(url, part, self._patience.limit if size is None else size)
            if part.hasher.digest() == pin.value:
                return part.size
            found = Digest(pin.algorithm, part.hasher.digest())
            got = f"{_spelled(found, name)} ({part.size} bytes)"
            part.clear()
        raise OtherBytesError(got, passing=resumed)

    def _receive(self, url: str, part: _Part, limit: int) -> None:
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        try:
            with self._connections.open(url, headers) as answer:
                part.go_on_at(answer.start)
                for chunk in answer.chunks(limit - part.size):
                    self._pause(0)
                    part.add(chunk)
        except RangeError:
            part.clear()
            raise


def _sleep(seconds: float) -> None:
    """Sleep, or go on at once: sleeping for 0 s costs more than a chunk."""
    if seconds:
        time.sleep(seconds)


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _spelled(digest: Digest, name: str) -> str:
    """Spell a hash as the lock does that pins the file: of Python packages in base 16."""
    if name.endswith(".whl") and digest.algorithm == "sha256":
        return digest.value.hex()
    return sri(digest)


def _gone(name: str, faults: Mapping[str, AttemptError], hint: str) -> FetchError:
    return FetchError(
        f"{name!r} is nowhere any more",
        where=bare(next(iter(faults))),
        got="; ".join(f"{_host(url)}: {fault}" for url, fault in faults.items()),
        hint=hint,
    )


def _failure(name: str, pin: Digest, faults: Mapping[str, AttemptError], hint: str) -> Error:
    for url, fault in faults.items():
        if isinstance(fault, OtherBytesError):
            return MismatchError(
                f"{name!r} is not what the lock pins",
                where=bare(url),
                expected=_spelled(pin, name),
                got=fault.got,
                hint=hint or None,
            )
    told = "; ".join(f"{_host(url)}: {fault}" for url, fault in faults.items())
    if faults and all(isinstance(fault, UnreachableError) for fault in faults.values()):
        hosts = " and ".join(dict.fromkeys(_host(url) for url in faults))
        return FetchError(f"{hosts} cannot be reached", got=told, hint=_HINT)
    return FetchError(
        f"{name!r} cannot be fetched",
        where=bare(next(iter(faults))) if faults else None,
        got=told or "no address is known",
        hint=_HINT,
    )
