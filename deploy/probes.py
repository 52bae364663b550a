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

from deploy.release import Probe

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OK, REDIRECT, SWITCHING = 200, 300, 101
EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and of whom; `body`, where set, must be the answer's whole text."""

    probe: Probe
    host: str
    port: int
    path: str = "/"
    body: str | None = None

    def __str__(self) -> str:
        place = f"{self.host}:{self.port}"
        match self.probe:
            case Probe.HTTP:
                return f"GET http://{place}{self.path}"
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
                socket.create_connection((request.host, request.port), timeout).close()
                return None
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return f"no connection: {error.strerror or error}"
    except http.client.HTTPException as error:
        return f"no HTTP: {type(error).__name__} {error}".strip()


def _http(request: Request, timeout: float) -> str | None:
    connection = http.client.HTTPConnection(request.host, request.port, timeout=timeout)
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
    connection = http.client.HTTPConnection(request.host, request.port, timeout=timeout)
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
