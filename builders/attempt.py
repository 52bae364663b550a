"""One attempt at one address: connections, answers, and why they failed, in plain words.

What is tried again, and where, is for `builders.fetch`.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.util import Retry, Timeout, make_headers
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHUNK = 1 << 18
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be better a moment later."""
_OK, _PARTIAL, _RANGE = 200, 206, 416
_GONE = frozenset({404, 410})
_REDIRECTS = Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for whom; seconds and bytes.

    A server that sends less than `floor` bytes a second over `window` seconds counts as
    stalled, even if it never lets a single read time out.
    """

    connect: float = 10.0
    read: float = 30.0
    window: float = 30.0
    floor: int = 1024
    rounds: int = 4
    """How often all mirrors are gone through."""
    backoff: float = 0.5
    """Before the second round; doubled each time."""
    limit: int = 16 << 30
    """The largest download without a stated size."""

    def delay(self, turn: int) -> float:
        """Give the seconds to wait before round `turn`, which counts from 0."""
        return self.backoff * 2.0 ** (turn - 1) if turn else 0.0


class AttemptError(Exception):
    """One attempt at one address that failed: why, and whether another may do better."""

    def __init__(self, reason: str, *, passing: bool = True) -> None:
        super().__init__(reason)
        self.passing = passing


class UnreachableError(AttemptError):
    """No connection came about: the fault is not this file's."""


class GoneError(AttemptError):
    """The server works, and has no such file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, passing=False)


class OtherBytesError(AttemptError):
    """A whole file came, and it is another one."""

    def __init__(self, got: str, *, passing: bool) -> None:
        super().__init__(f"sent other bytes: {got}", passing=passing)
        self.got = got


class RangeError(AttemptError):
    """The server has no such part of the file: what an earlier attempt left cannot be right."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends; `start` is the offset of its first byte in the file."""

    start: int
    _response: urllib3.BaseHTTPResponse
    _patience: Patience

    def chunks(self, limit: int) -> Iterator[bytes]:
        """Read the body to its end.

        Raises:
            AttemptError: if it ends early, stalls, or is longer than `limit` bytes.
        """
        left, got, since = limit, 0, time.monotonic()
        while chunk := self._response.read1(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise AttemptError("sent more bytes than the lock says", passing=False)
            yield chunk
            got += len(chunk)
            elapsed = time.monotonic() - since
            if elapsed > self._patience.window:
                if got < self._patience.floor * elapsed:
                    raise AttemptError(f"sent only {got} bytes in {elapsed:.0f} s")
                got, since = 0, time.monotonic()


class Connections:
    """Pools of connections to servers, direct or through the proxy that the environment names."""

    def __init__(self, *, threads: int, patience: Patience) -> None:
        """Open nothing yet; keep up to `threads` connections to a server."""
        self._threads = threads
        self._patience = patience
        self._proxies = urllib.request.getproxies()
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Ask for a document; all that goes wrong inside the block is an `AttemptError`."""
        try:
            response = self._pool(url).request(
                "GET",
                url,
                headers={**_headers(url), **headers},
                preload_content=False,
                decode_content=False,
                retries=_REDIRECTS,
                timeout=Timeout(connect=self._patience.connect, read=self._patience.read),
            )
        except exceptions.HTTPError as fault:
            raise _translate(fault, self._patience) from fault
        try:
            yield Answer(_start(response, resumed="Range" in headers), response, self._patience)
            response.release_conn()
        except exceptions.HTTPError as fault:
            raise _translate(fault, self._patience) from fault
        finally:
            # After a whole body the connection is back in the pool and this closes nothing.
            response.close()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme, "")
        if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        with self._lock:
            key = (proxy, parts.scheme)
            if key not in self._pools:
                self._pools[key] = self._make(proxy, parts.scheme)
            return self._pools[key]

    def _make(self, proxy: str, scheme: str) -> urllib3.PoolManager:
        context = trust() if scheme == "https" else None
        if proxy:
            return urllib3.ProxyManager(
                proxy, num_pools=16, maxsize=self._threads, ssl_context=context
            )
        return urllib3.PoolManager(num_pools=16, maxsize=self._threads, ssl_context=context)


def trust() -> ssl.SSLContext:
    """Read the machine's certificates, once for all connections: it takes 20 ms."""
    context = create_urllib3_context()
    context.load_default_certs()
    for bundle in _beside():
        context.load_verify_locations(bundle)
    return context


def authorities() -> str | None:
    """Name the file of the machine's certificates, for who takes no more than a name."""
    return next(iter((*_beside(), *filter(None, [ssl.get_default_verify_paths().cafile]))), None)


def _beside() -> tuple[str, ...]:
    """Name files of certificates that an interpreter made for another distribution overlooks."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        return tuple(filter(os.path.isfile, _BUNDLES))
    return ()


def bare(url: str) -> str:
    """Spell an address without the user and password that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _headers(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    basic = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    agent = make_headers(user_agent="sealift", basic_auth=basic)
    return {**agent, "Accept-Encoding": "identity"}


def _start(response: urllib3.BaseHTTPResponse, *, resumed: bool) -> int:
    if response.status == _OK:
        return 0
    if response.status == _PARTIAL and resumed:
        found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if found:
            return int(found[1])
    if response.status == _RANGE:
        raise RangeError("has no such part of the file")
    status = f"{response.status} {response.reason or ''}".strip()
    if response.status in _GONE:
        raise GoneError(f"answered {status}")
    raise AttemptError(f"answered {status}", passing=response.status in _PASSING)


def _translate(fault: exceptions.HTTPError, patience: Patience) -> AttemptError:
    if isinstance(fault, exceptions.MaxRetryError) and fault.reason is not None:
        cause: Exception = fault.reason
    else:
        cause = fault
    passing, kind = True, AttemptError
    # The order matters: a refused connection is a kind of connect timeout to urllib3.
    match cause:
        case exceptions.NameResolutionError():
            reason, kind = "no such host", UnreachableError
        case exceptions.NewConnectionError():
            reason, kind = f"no connection ({_root(cause)})", UnreachableError
        case exceptions.ConnectTimeoutError():
            reason, kind = f"no connection within {patience.connect:g} s", UnreachableError
        case exceptions.TimeoutError():
            reason = f"sent nothing for {patience.read:g} s"
        case exceptions.SSLError():
            reason, passing, kind = (
                f"its certificate does not hold ({_root(cause)})",
                False,
                UnreachableError,
            )
        case exceptions.ProtocolError() if isinstance(root := _origin(cause), IncompleteRead):
            reason = f"ended early: {root.expected} bytes were still to come"
        case exceptions.ProtocolError() | exceptions.ProxyError():
            reason = f"broke off ({_root(cause)})"
        case _:
            reason, passing = f"cannot be asked ({_root(cause)})", False
    return kind(reason, passing=passing)


def _origin(fault: BaseException) -> BaseException:
    while fault.__cause__ is not None or fault.__context__ is not None:
        fault = fault.__cause__ or fault.__context__ or fault
    return fault


def _root(fault: BaseException) -> str:
    origin = _origin(fault)
    return getattr(origin, "strerror", None) or str(origin) or type(origin).__name__
