"""Heads that talk without end, or never come to the point: none of them keeps an operator."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from deploy import dialogue
from deploy.dialogue import Session
from deploy.errors import HeadLostError
from deploy.orders import Order

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT = json.dumps({"say": "event", "what": "locked", "name": "x", "detail": ""}).encode()


class Talker:
    """A head that says one thing after another, `pause` seconds apart, whatever it hears."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.said = 0
        self.gone = threading.Event()

    def send(self, data: bytes) -> None:
        pass

    def lines(self, timeout: float) -> Iterator[bytes | None]:
        del timeout
        for self.said in itertools.count():
            if self.gone.wait(self.pause):
                return
            yield EVENT

    def end(self) -> None:
        pass

    def close(self) -> None:
        self.gone.set()

    def status(self, timeout: float = 5.0) -> int | None:
        del timeout
        return None


def session(talker: Talker) -> Session:
    return Session("head1", talker, lambda _: None)


ORDER = Order("rollback", by="me", deadline=60.0)


def test_a_head_that_floods_waits_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "FAREWELL", 0.2)
    talker = Talker()
    flooded = session(talker)
    time.sleep(0.5)
    assert talker.said <= dialogue.WAITING + 1
    flooded.close()


def test_a_head_that_floods_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "FAREWELL", 0.2)
    monkeypatch.setattr(dialogue, "RECORDS", 500)
    flooded = session(Talker())
    with pytest.raises(HeadLostError, match="head1: it says more than 500 things"):
        flooded.prepare(ORDER)
    flooded.close()


def test_a_head_that_talks_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "FAREWELL", 0.2)
    monkeypatch.setattr(dialogue, "STAGE_SECONDS", 0.3)
    monkeypatch.setattr(dialogue, "PREPARE_SECONDS", 0.2)
    slow = session(Talker(0.05))
    with pytest.raises(HeadLostError, match="does not say in time"):
        slow.prepare(ORDER)
    slow.close()


def test_a_head_that_is_to_go_back_has_an_end_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "FAREWELL", 0.2)
    monkeypatch.setattr(dialogue, "BACK_TOTAL", 0.3)
    slow = session(Talker(0.05))
    threading.Timer(0.2, slow.stop).start()
    with pytest.raises(HeadLostError, match="does not say in time"):
        slow.switch(60.0)
    slow.close()


@pytest.mark.parametrize("pause", [0.0, 0.05, 60.0])
def test_who_waits_is_released_when_the_session_is_closed(
    pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialogue, "FAREWELL", 0.2)
    monkeypatch.setattr(dialogue, "RECORDS", 10**9)
    talking = session(Talker(pause))
    threading.Timer(0.3, talking.close).start()
    began = time.monotonic()
    with pytest.raises(HeadLostError):
        talking.prepare(ORDER)
    assert time.monotonic() - began < 5
