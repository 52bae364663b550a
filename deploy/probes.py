"""One question to a running service, and whether the answer is a healthy one.

HTTP, bare TCP, and the WebSocket handshake of RFC 6455 section 4. Each asks once.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from deploy.release import Probe

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OK, REDIRECT, SWITCHING = 200, 300, 101
EXCERPT = 200
_ASKED = {Probe.HTTP: "GET ", Probe.WEBSOCKET: "WebSocket handshake ", Probe.TCP: "connection to "}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and of whom; `body`, where set, must be the answer's whole text.

    With `socket` a Unix socket is asked in place of the port. `tls` encrypts; whose certificate it
    is does not matter to who asks the machine that he is on.
    """

    probe: Probe
    host: str
    port: int
    path: str = "/"
    body: str | None = None
    tls: bool = False
    socket: Path | None = None

    def __str__(self) -> str:
        if self.socket is not None:
            return f"{_ASKED[self.probe]}{self.path} at {self.socket}"
        place = f"{self.host}:{self.port}"
        match self.probe:
            case Probe.HTTP:
                return f"GET http{'s' if self.tls else ''}://{place}{self.path}"
            case Probe.WEBSOCKET:
                return f"WebSocket handshake ws://{place}{self.path}"
            case Probe.TCP:
                return f"TCP connection to {place}"


def ask(request: Request, timeout: float) -> str | None:
    """Ask once; return what is wrong, or nothing. `timeout` is in seconds."""
    try:
        match request.probe:
            case Probe.HTTP:
                return _http(request, timeout)
            case Probe.WEBSOCKET:
                return _websocket(request, timeout)
            case Probe.TCP:
                _connect(request, timeout).close()
                return None
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return f"no connection: {error.strerror or error}"
    except http.client.HTTPException as error:
        return f"no HTTP: {type(error).__name__} {error}".strip()


class _Connection(http.client.HTTPConnection):
    """HTTP to wherever a request goes."""

    def __init__(self, request: Request, timeout: float) -> None:
        super().__init__(request.host, request.port, timeout=timeout)
        self._request = request

    def connect(self) -> None:
        """Connect, and encrypt if that is asked for."""
        self.sock = _connect(self._request, float(self.timeout or 0.0))
        if self._request.tls:
            self.sock = _believing().wrap_socket(self.sock)


@cache
def _believing() -> ssl.SSLContext:
    """Return what encrypts to whoever answers, without reading whom the machine trusts."""
    # Loaded here because it takes as long as all else, and most are asked without.
    import ssl  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connect(request: Request, timeout: float) -> socket.socket:
    if request.socket is None:
        return socket.create_connection((request.host, request.port), timeout)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(str(request.socket))
    except BaseException:
        made.close()
        raise
    return made


def _http(request: Request, timeout: float) -> str | None:
    connection = _Connection(request, timeout)
    try:
        connection.request("GET", request.path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(EXCERPT).decode("utf-8", "replace")
    finally:
        connection.close()
    if not OK <= answer.status < REDIRECT:
        return f"{answer.status} {answer.reason}: {' '.join(body.split())}".rstrip(": ")
    if request.body is not None and body != request.body:
        return f"another answer than {request.body!r}: {body!r}"
    return None


def _websocket(request: Request, timeout: float) -> str | None:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }
    connection = _Connection(request, timeout)
    try:
        connection.request("GET", request.path, headers=headers)
        answer = connection.getresponse()
        accept = answer.getheader("Sec-WebSocket-Accept")
    finally:
        connection.close()
    if answer.status != SWITCHING:
        return f"{answer.status} {answer.reason} instead of 101"
    wanted = hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()
    return None if accept == base64.b64encode(wanted).decode() else "a wrong handshake"
