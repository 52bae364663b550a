"""Probes against real sockets that answer, misbehave, or say nothing."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.server import ServerConnection, serve

from deploy.probes import Request, ask
from deploy.release import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


@contextmanager
def answering(data: bytes | None) -> Iterator[int]:
    """Answer one connection with `data`; nothing at all where that is None."""
    listener = socket.create_server((HOST, 0))
    done = threading.Event()

    def run() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            if data is None:
                done.wait(5)
            else:
                peer.sendall(data)

    thread = threading.Thread(target=run)
    thread.start()
    yield listener.getsockname()[1]
    done.set()
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nboom", "500 Oops: boom"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "302 Found"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 Not Found"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP: BadStatusLine"),
        (b"", "no connection"),
        (None, "no answer within"),
    ],
)
def test_http(data: bytes | None, wrong: str | None) -> None:
    with answering(data) as port:
        said = ask(Request(Probe.HTTP, HOST, port, "/health"), 0.3)
    assert (said is None) == (wrong is None)
    assert said is None or said.startswith(str(wrong))


def test_the_body_is_compared_where_asked() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold"
    with answering(data) as port:
        said = ask(Request(Probe.HTTP, HOST, port, "/", "new"), 1)
    assert said == "another answer than 'new': 'old'"


@pytest.mark.parametrize("probe", Probe)
def test_nobody_listens(probe: Probe) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    assert ask(Request(probe, HOST, port), 1) == "no connection: Connection refused"


def test_tcp() -> None:
    with socket.create_server((HOST, 0)) as listener:
        assert ask(Request(Probe.TCP, HOST, listener.getsockname()[1]), 1) is None


def echo(peer: ServerConnection) -> None:
    for message in peer:
        peer.send(message)


def test_websocket_against_a_real_server() -> None:
    with serve(echo, HOST, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        said = ask(Request(Probe.WEBSOCKET, HOST, port, "/ws"), 2)
        server.shutdown()
        thread.join()
    assert said is None


def test_a_websocket_needs_the_right_answer() -> None:
    wrong = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"
    )
    with answering(wrong) as port:
        assert ask(Request(Probe.WEBSOCKET, HOST, port), 1) == "a wrong handshake"
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as port:
        assert ask(Request(Probe.WEBSOCKET, HOST, port), 1) == "200 OK instead of 101"


@pytest.mark.parametrize("probe", Probe)
def test_a_request_says_what_it_asks(probe: Probe) -> None:
    assert f"{HOST}:5010" in str(Request(probe, HOST, 5010, "/x"))
    asked = str(Request(probe, HOST, 5010, "/x", socket=Path("/run/a.sock")))
    assert asked.endswith("/x at /run/a.sock")
    assert "://" not in asked
