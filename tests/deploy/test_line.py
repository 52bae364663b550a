"""The line to the operator: what is heard, and that nothing at the other end holds the head up."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from deploy import line as line_module
from deploy.errors import BadMessageError, OperatorGoneError, TakenBackError
from deploy.line import Line

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ends:
    """A line, and the operator's ends of it."""

    def __init__(self) -> None:
        reader, self.out = os.pipe()
        self.back, writer = os.pipe()
        self.line = Line(reader, writer)
        self._own = (reader, writer)

    def send(self, **record: Any) -> None:
        os.write(self.out, json.dumps(record).encode() + b"\n")

    def heard(self) -> list[dict[str, Any]]:
        self.line.close()
        os.close(self._own[1])
        with os.fdopen(self.back, "rb") as stream:
            return [json.loads(each) for each in stream]

    def hang_up(self) -> None:
        os.close(self.out)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    made.send(do="prepare")
    assert made.line.first() == {"do": "prepare"}
    yield made
    made.line.close()


def test_a_word_is_waited_for(ends: Ends) -> None:
    threading.Timer(0.1, lambda: ends.send(do="switch")).start()
    ends.line.wait("switch")
    ends.send(do="confirm")
    ends.line.wait("confirm")


def test_words_in_two_pieces_and_two_in_one(ends: Ends) -> None:
    os.write(ends.out, b'{"do": "sw')
    time.sleep(0.05)
    os.write(ends.out, b'itch"}\n{"do": "confirm"}\n')
    ends.line.wait("switch")
    ends.line.wait("confirm")


def test_who_takes_it_back_is_heard_whatever_is_waited_for(ends: Ends) -> None:
    ends.send(do="back")
    with pytest.raises(TakenBackError):
        ends.line.wait("switch")
    with pytest.raises(TakenBackError):
        ends.line.present()


def test_a_cut_line_is_an_operator_gone(ends: Ends) -> None:
    ends.line.present()
    ends.hang_up()
    with pytest.raises(OperatorGoneError) as caught:
        ends.line.wait("switch")
    assert "cut" in caught.value.reason


def test_what_was_said_before_the_cut_counts(ends: Ends) -> None:
    """An operator that agrees and leaves has agreed."""
    ends.send(do="confirm")
    ends.hang_up()
    time.sleep(0.1)
    ends.line.wait("confirm")


def test_half_a_word_is_none(ends: Ends) -> None:
    os.write(ends.out, b'{"do": "confirm"}')
    ends.hang_up()
    with pytest.raises(OperatorGoneError):
        ends.line.wait("confirm")


def test_silence_is_an_operator_gone_and_a_sign_of_life_is_not_silence(ends: Ends) -> None:
    ends.line.deadline = 0.6
    for _ in range(4):
        time.sleep(0.25)
        ends.send(do="alive")
        time.sleep(0.02)
        ends.line.present()
    with pytest.raises(OperatorGoneError) as caught:
        ends.line.wait("confirm")
    assert "silent" in caught.value.reason


@pytest.mark.parametrize("said", [b"confirm\n", b'"confirm"\n', b"\xff\n", b"[]\n"])
def test_nonsense_ends_the_change(ends: Ends, said: bytes) -> None:
    os.write(ends.out, said)
    with pytest.raises(BadMessageError):
        ends.line.wait("confirm")


def test_a_line_without_end_is_refused(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "LONGEST", 1000)
    os.write(ends.out, b"x" * 2000)
    with pytest.raises(BadMessageError):
        ends.line.wait("confirm")


def test_what_is_looked_at_while_waiting_can_end_it(ends: Ends) -> None:
    def look() -> None:
        raise BadMessageError("it is not well any more")

    with pytest.raises(BadMessageError):
        ends.line.wait("confirm", look)


def test_what_is_said_arrives_in_order(ends: Ends) -> None:
    ends.line.say("event", what="locked")
    ends.line.say("confirmed", generation=2)
    assert ends.heard() == [
        {"say": "event", "what": "locked"},
        {"say": "confirmed", "generation": 2},
    ]


def test_an_operator_who_does_not_listen_holds_nobody_up(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "FAREWELL", 0.2)
    began = time.monotonic()
    for _ in range(100):
        ends.line.say("event", detail="x" * 10_000)
    ends.line.close()
    assert time.monotonic() - began < 2


def test_an_operator_who_is_gone_is_told_in_vain(ends: Ends) -> None:
    os.close(ends.back)
    ends.line.say("event")
    ends.line.close()


def test_nobody_at_all() -> None:
    ends = Ends()
    ends.hang_up()
    with pytest.raises(OperatorGoneError):
        ends.line.first()
