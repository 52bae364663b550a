"""Requests with a connection each: what hangs while it is made has failed, and all are counted."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from benchmarks.load import load
from benchmarks.openings import Openings
from deploy.key_pairs import web_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.outcome import Outcome

    Serve = Callable[[socket.socket, int], None]

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nfine"
PATIENCE = 0.3
"""Seconds that a request gets which is to fail."""
LONG = 20.0


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    file: Path = tmp_path_factory.mktemp("tls") / "pair.pem"
    file.write_bytes(b"".join(web_pair(["127.0.0.1"])))
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(file)
    return found


@contextmanager
def server(serve: Serve) -> Iterator[str]:
    """Serve one connection after the other; `serve` gets each with its number."""
    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                held.append(listening.accept()[0])
                with suppress(OSError):
                    serve(held[-1], len(held) - 1)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in (listening, *held):
            each.close()


def answering(context: ssl.SSLContext, answer: bytes) -> Serve:
    def serve(plain: socket.socket, _number: int) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(answer)

    return serve


def stalling(plain: socket.socket, _number: int) -> None:
    """Take the client's first words of TLS, and say nothing."""
    plain.recv(4096)


def tried(serve: Serve, timeout: float = PATIENCE) -> Outcome:
    with server(serve) as address:
        return asked(address, timeout)


def asked(address: str, timeout: float = PATIENCE) -> Outcome:
    """Ask at least six times, two at once."""
    openings = Openings([address], ["/a", "/b"], 2, timeout=timeout)
    openings.begin()
    wait(openings, 6)
    return openings.end()


def wait(openings: Openings, requests: int) -> None:
    end = time.monotonic() + LONG
    while openings.begun < requests and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("answer", [FINE, CHUNKED, ENDLESS])
def test_a_healthy_server_fails_nothing(context: ssl.SSLContext, answer: bytes) -> None:
    found = tried(answering(context, answer), LONG)
    assert found.failures == {}
    assert found.requests == sum(found.latencies.values()) >= 4


def test_a_server_that_stalls_in_the_handshake_has_failed() -> None:
    found = tried(stalling)
    assert found.failures == {"opening: TimeoutError": found.requests}
    assert found.requests >= 2
    assert found.latencies == {}


def test_every_request_is_counted_once(context: ssl.SSLContext) -> None:
    well = answering(context, FINE)
    found = tried(lambda plain, number: (stalling, well)[number % 2](plain, number), 2.0)
    assert set(found.failures) == {"opening: TimeoutError"}
    assert found.failed > 0 < sum(found.latencies.values())
    assert found.requests == found.failed + sum(found.latencies.values())


def test_a_connection_that_is_not_accepted_has_failed() -> None:
    """With the queue of the listener full, the kernel answers nobody."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for each in (one, two):
            each.setblocking(False)  # noqa: FBT003 (the standard library's)
            each.connect_ex(listening.getsockname())
        found = asked(f"https://127.0.0.1:{listening.getsockname()[1]}")
    assert found.failures == {"opening: TimeoutError": found.requests}


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found = asked(f"https://127.0.0.1:{port}", LONG)
    assert set(found.failures) == {"opening: ConnectionRefusedError"}
    assert found.failed == found.requests


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "status 502"),
        (FINE[:-1], "answer: IncompleteReadError"),
        (CHUNKED[:-5], "answer: IncompleteReadError"),
        (b"", "answer: IncompleteReadError"),
        (b"220 mail\r\n\r\n", "status 0"),
        (b"HTTP/1.1 fine\r\n\r\n", "answer: ValueError"),
    ],
)
def test_wrong_answers_have_failed(context: ssl.SSLContext, answer: bytes, kind: str) -> None:
    found = tried(answering(context, answer), LONG)
    assert found.failures == {kind: found.requests}


def test_a_client_that_breaks_does_not_look_like_one_that_found_no_failure() -> None:
    openings = Openings(["https://127.0.0.1"], [], 1)  # there is no path to ask for
    openings.begin()
    wait(openings, 1)
    with pytest.raises(RuntimeError, match="nobody asked any more"):
        openings.end()


def test_its_requests_count_beside_the_others(context: ssl.SSLContext) -> None:
    with (
        server(answering(context, FINE[:-1])) as address,
        load([address], ["/"], keep=0, fresh=0) as running,
    ):
        time.sleep(1.0)
    assert running.outcome.requests == 0
    assert running.all.failed == running.openings.failed == running.all.requests > 0
