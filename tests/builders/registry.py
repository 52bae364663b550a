"""A registry that misbehaves as it is told, over real HTTP on this machine."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from builders.step import Download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def integrity(content: bytes, algorithm: str = "sha256") -> str:
    """Pin some bytes."""
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}-{base64.b64encode(digest).decode()}"


@dataclass
class Registry:
    """Files by path, and how each path misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Callable[[Handler, bytes], None]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""
    busiest: int = 0
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, path: str, content: bytes) -> str:
        """Serve a file; give its address."""
        self.files[path] = content
        return self.url + path

    def pin(self, path: str, content: bytes, *more: str, size: bool = True) -> Download:
        """Serve a file and pin it."""
        urls = (self.put(path, content), *more)
        return Download(urls, integrity(content), len(content) if size else None)


class Handler(BaseHTTPRequestHandler):
    """Answers GET with ranges, unless the path has a fault."""

    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        registry = self.registry
        registry.asked.append((self.path, self.headers.get("Range")))
        with registry.lock:
            registry.busy += 1
            registry.busiest = max(registry.busiest, registry.busy)
        try:
            content = registry.files.get(self.path, b"")
            with suppress(BrokenPipeError, ConnectionResetError):
                registry.faults.get(self.path, Handler.serve)(self, content)
        finally:
            with registry.lock:
                registry.busy -= 1

    def serve(self, content: bytes) -> None:
        """Answer as a good server does."""
        if self.path not in self.registry.files:
            self.refuse(404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted and start >= len(content):
            self.refuse(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def refuse(self, status: int) -> None:
        """Answer with an error."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing."""
        del format, args


def once(fault: Callable[[Handler, bytes], None]) -> Callable[[Handler, bytes], None]:
    """Misbehave the first time only."""
    left = [1]

    def handle(handler: Handler, content: bytes) -> None:
        if left:
            left.pop()
            fault(handler, content)
        else:
            handler.serve(content)

    return handle


def truncate(handler: Handler, content: bytes) -> None:
    """Announce all and send the first half."""
    start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
    handler.send_response(206 if start else 200)
    if start:
        size = len(content)
        handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start : start + (len(content) - start) // 2])
    handler.close_connection = True


def stall(handler: Handler, content: bytes) -> None:
    """Send a little and then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:10])
    handler.wfile.flush()
    time.sleep(1.5)
    handler.close_connection = True


def drip(handler: Handler, content: bytes) -> None:
    """Send a byte now and then, so that no single read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for byte in content[:100]:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)
    handler.close_connection = True


def status(code: int) -> Callable[[Handler, bytes], None]:
    """Answer with a status."""

    def handle(handler: Handler, content: bytes) -> None:
        del content
        handler.refuse(code)

    return handle


def other(content: bytes) -> Callable[[Handler, bytes], None]:
    """Send other bytes, ranges and all."""

    def handle(handler: Handler, _: bytes) -> None:
        handler.serve(content)

    return handle


class Server(ThreadingHTTPServer):
    """A server whose clients may be killed, and may come all at once."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that break."""


@contextmanager
def serving(*, certificate: Path | None = None, key: Path | None = None) -> Iterator[Registry]:
    """Serve until the block ends; over TLS if there is a certificate."""
    registry = Registry()
    handler = type("Bound", (Handler,), {"registry": registry})
    server = Server(("127.0.0.1", 0), handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    scheme = "http" if certificate is None else "https"
    registry.url = f"{scheme}://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
