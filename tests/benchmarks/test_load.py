"""The load: what wrk tells is read right, and failures of each kind are seen and counted."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from benchmarks.load import load, parse
from benchmarks.outcome import NOTHING, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

ENOUGH = 50
"""Answers to each path, however long they take."""
PATIENCE = 60.0
SAID = """\
Running 1d test @ https://10.0.0.1
{"requests": 100, "micros": 2000000, "connect": 0, "read": 3, "write": 0, "timeout": 1, \
"statuses": [{"502": 2}, {}], "latencies": [[1000, 90], [2000, 9], [50000, 1]]}
"""


def test_percentiles_and_failures_are_read() -> None:
    found = parse(SAID)
    assert found.failures == {"read": 3, "timeout": 1, "status 502": 2}
    assert found.failed == 6
    assert [found.percentile(part) for part in (50, 99, 100)] == [0.001, 0.002, 0.05]
    assert found.rate == 50
    assert NOTHING.percentile(99) == 0


def test_outcomes_side_by_side_and_one_after_the_other() -> None:
    one = Outcome(10, {"read": 1}, {100: 10}, 2.0)
    other = Outcome(20, {"read": 2}, {100: 5, 200: 15}, 3.0)
    assert one + other == Outcome(30, {"read": 3}, {100: 15, 200: 15}, 3.0)
    assert one.then(other).seconds == 5.0


def test_a_wrk_that_does_not_tell_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


class Answers(BaseHTTPRequestHandler):
    """Answers as the path says; `/cut` sends half of what it promised."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = 502 if self.path == "/ill" else 200
        self.send_response(status)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"ok" if self.path == "/cut" else b"fine")
        self.server.answered.append(self.path)  # type: ignore[attr-defined] # see `server`
        self.close_connection = self.path == "/cut"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def server() -> Iterator[tuple[str, list[str]]]:
    """Give its address, and the paths that were asked for until now."""
    answering = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    answered: list[str] = []
    answering.answered = answered  # type: ignore[attr-defined] # for the handlers
    thread = threading.Thread(target=answering.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{answering.server_port}", answered
    finally:
        answering.shutdown()
        thread.join()
        answering.server_close()


def tried(*paths: str, keep: int = 1, fresh: int = 1) -> Outcome:
    if shutil.which("wrk") is None:
        if os.environ.get("CI"):
            pytest.fail("wrk is missing: apt-get install wrk")
        pytest.skip("wrk is missing: apt-get install wrk")
    with (
        server() as (address, answered),
        load([address], paths, keep=keep, fresh=fresh) as running,
    ):
        end = time.monotonic() + PATIENCE
        while min(answered.count(path) for path in paths) < ENOUGH:
            assert time.monotonic() < end
            time.sleep(0.05)
    return running.outcome


def test_healthy_servers_fail_nothing() -> None:
    found = tried("/a", "/b")
    assert found.requests > 20
    assert found.failures == {}
    assert 0 < found.percentile(50) <= found.percentile(99) <= found.percentile(100)


@pytest.mark.parametrize(("keep", "fresh"), [(1, 0), (0, 1)])
@pytest.mark.parametrize(("path", "kind"), [("/ill", "status 502"), ("/cut", "read")])
def test_each_failure_is_counted(path: str, kind: str, keep: int, fresh: int) -> None:
    """The control of every measurement that finds no failure."""
    found = tried("/a", path, keep=keep, fresh=fresh)
    assert set(found.failures) == {kind}
    assert found.failed > 5
