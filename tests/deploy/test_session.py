"""A session from the head's side: every word and every cut, at each moment, with real services."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import UnhealthyError
from deploy.line import Line
from deploy.local_head import LocalHead
from deploy.profile import Status
from deploy.services import Changes
from deploy.session import Vigil, serve
from deploy.status import status
from store.local import LocalStore
from tests.deploy.synthetic import QUICK, Site, Tiny, free_ports, version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.orders import Order
    from deploy.release import Release
    from store.errors import Error


class FarHead(LocalHead):
    """The embedded head, changed over a line: what systemd would tell is told by the test."""

    ailing: Callable[[], Error | None] = staticmethod(lambda: None)
    orders: list[Order]

    def take(self, order: Order) -> None:
        self.orders = [order]

    def forecast(self, wanted: Release) -> Changes:
        return Changes(restarted=tuple(wanted.services))

    def vigil(self, wanted: Release) -> Vigil:
        del wanted

        def look(*, last: bool = False) -> None:
            del last
            error = self.ailing()
            if error is not None:
                raise error

        return look


@dataclass
class Operator:
    """The other end: answers what it is told to answer, and keeps all it hears."""

    site: Site
    answers: dict[str, str]
    deadline: float = 20.0
    heard: list[dict[str, Any]] = field(default_factory=list)
    head: FarHead | None = None

    def order(self, action: str, **more: Any) -> int:
        """Give an order; return the head's exit code."""
        reader, self._out = os.pipe()
        self._back, writer = os.pipe()
        listener = threading.Thread(target=self._listen)
        listener.start()
        self._send(do="prepare", action=action, by="anna@far", deadline=self.deadline, **more)
        line = Line(reader, writer)
        try:
            with LocalStore.open(self.site.store.store_dir) as store:
                made = self.head = FarHead(store, self.site.state_dir, QUICK)
                return serve(line, lambda: made)
        finally:
            line.close()
            os.close(writer)
            listener.join(10)

    def _send(self, **record: Any) -> None:
        os.write(self._out, json.dumps(record).encode() + b"\n")

    def _listen(self) -> None:
        with os.fdopen(self._back, "rb") as stream:
            for line in stream:
                record = json.loads(line)
                self.heard.append(record)
                key = f"event {record['what']}" if record["say"] == "event" else record["say"]
                self._answer(self.answers.get(str(key)))

    def _answer(self, word: str | None) -> None:
        if word == "hang up":
            os.close(self._out)
        elif word is not None and word != "silence":
            self._send(do=word)

    @property
    def end(self) -> dict[str, Any]:
        return self.heard[-1]

    def says(self) -> list[str]:
        return [each["say"] for each in self.heard if each["say"] != "event"]


@pytest.fixture
def running(site: Site, pair: tuple[Tiny, Tiny]) -> tuple[Site, Tiny, Path]:
    """A head that runs version 1.0, and a release of version 2.0."""
    alpha, _ = pair
    operator = Operator(site, {"prepared": "switch", "healthy": "vouch", "vouched": "confirm"})
    assert operator.order("deploy", release=str(site.release(alpha))) == 0
    return site, alpha, site.release(alpha.at("2.0"))


def settled(site: Site) -> tuple[int | None, bool]:
    """Return the current generation, once nothing is unfinished."""
    head = site.head()
    assert head.journal.read() is None
    return head.profile.current(), status(head).healthy


def test_a_change_that_is_agreed_to(running: tuple[Site, Tiny, Path]) -> None:
    site, alpha, new = running
    operator = Operator(site, {"prepared": "switch", "healthy": "vouch", "vouched": "confirm"})
    assert operator.order("deploy", release=str(new)) == 0
    assert operator.heard[0]["what"] == "locked"
    assert operator.says() == ["prepared", "healthy", "vouched", "confirmed"]
    prepared = next(each for each in operator.heard if each["say"] == "prepared")
    assert (prepared["generation"], prepared["before"]) == (2, 1)
    assert prepared["restart"] == ["alpha"]
    assert operator.end["changes"]["restarted"] == ["alpha"]
    assert settled(site) == (2, True)
    assert version(alpha) == "2.0"


@pytest.mark.parametrize("word", ["back", "hang up", "silence"])
def test_before_the_switch_nothing_is_touched(running: tuple[Site, Tiny, Path], word: str) -> None:
    site, alpha, new = running
    before = status(site.head()).services
    operator = Operator(site, {"prepared": word}, deadline=1.0)
    assert operator.order("deploy", release=str(new)) == 6
    assert operator.says() == ["prepared", "refused"]
    assert operator.end["error"]["slug"] == ("taken-back" if word == "back" else "operator-gone")
    assert status(site.head()).services == before
    assert len(site.head().profile.generations()) == 1
    assert version(alpha) == "1.0"


@pytest.mark.parametrize("word", ["back", "hang up", "silence"])
def test_after_the_switch_the_head_goes_back_by_itself(
    running: tuple[Site, Tiny, Path], word: str
) -> None:
    site, alpha, new = running
    operator = Operator(site, {"prepared": "switch", "healthy": word}, deadline=1.5)
    assert operator.order("deploy", release=str(new)) == 5
    assert operator.says() == ["prepared", "healthy", "reverted"]
    assert settled(site) == (1, True)
    assert version(alpha) == "1.0"


def test_without_a_deadline_a_silent_operator_would_be_waited_for(
    running: tuple[Site, Tiny, Path],
) -> None:
    """The control: the same silence, and time enough, changes nothing."""
    site, alpha, new = running
    operator = Operator(site, {"prepared": "switch", "healthy": "silence"}, deadline=60.0)
    thread = threading.Thread(target=operator.order, args=("deploy",), kwargs={"release": str(new)})
    thread.start()
    time.sleep(4)
    assert site.head().profile.current() == 2
    assert version(alpha) == "2.0"
    operator.answers["vouched"] = "confirm"
    operator._send(do="vouch")
    thread.join(20)
    assert operator.end["say"] == "confirmed"


@pytest.mark.parametrize("word", ["back", "hang up"])
def test_a_check_that_takes_long_is_left_at_once(site: Site, word: str) -> None:
    slow = Tiny("alpha", free_ports(1)[0], temper="mute", timeout=30.0)
    operator = Operator(site, {"prepared": "switch", "event switched": word})
    began = time.monotonic()
    assert operator.order("deploy", release=str(site.release(slow))) == 5
    assert time.monotonic() - began < 10
    assert operator.says() == ["prepared", "reverted"]


def test_a_release_that_is_not_well_goes_back_without_being_asked(
    running: tuple[Site, Tiny, Path], pair: tuple[Tiny, Tiny]
) -> None:
    site, alpha, _ = running
    sick = site.release(pair[0].at("3.0", "error"))
    operator = Operator(site, {"prepared": "switch"})
    assert operator.order("deploy", release=str(sick)) == 5
    assert operator.says() == ["prepared", "reverted"]
    error = operator.end["error"]
    assert (error["slug"], error["service"]) == ("rolled-back", "alpha")
    assert settled(site) == (1, True)
    assert version(alpha) == "1.0"


def test_one_that_falls_ill_while_the_operator_thinks_goes_back(
    running: tuple[Site, Tiny, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, alpha, new = running
    ill = UnhealthyError("alpha is not healthy", service="alpha", request="GET /", got="500")
    monkeypatch.setattr(FarHead, "ailing", staticmethod(lambda: ill))
    operator = Operator(site, {"prepared": "switch", "healthy": "silence"})
    assert operator.order("deploy", release=str(new)) == 5
    assert operator.says() == ["prepared", "healthy", "reverted"]
    assert operator.end["error"]["service"] == "alpha"
    assert version(alpha) == "1.0"


def test_who_vouched_does_not_go_back_by_itself(
    running: tuple[Site, Tiny, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may be told to keep what they have by then."""
    site, alpha, new = running
    ill = UnhealthyError("alpha is not healthy", service="alpha", request="GET /", got="500")
    operator = Operator(site, {"prepared": "switch", "healthy": "vouch", "vouched": "silence"})
    said = [""]
    monkeypatch.setattr(
        FarHead, "ailing", staticmethod(lambda: ill if "vouched" in operator.says() else None)
    )
    thread = threading.Thread(
        target=lambda: said.append(str(operator.order("deploy", release=str(new))))
    )
    thread.start()
    while "vouched" not in operator.says():
        assert thread.is_alive(), operator.heard
        time.sleep(0.05)
    time.sleep(1.5)
    operator._send(do="confirm")
    thread.join(20)
    assert operator.end["say"] == "confirmed"
    assert said[-1] == "0"
    assert version(alpha) == "2.0"


def test_what_was_only_taken_back_can_be_gone_back_to(
    running: tuple[Site, Tiny, Path],
) -> None:
    site, alpha, new = running
    agreed = {"prepared": "switch", "healthy": "vouch", "vouched": "confirm"}
    assert Operator(site, agreed).order("deploy", release=str(new)) == 0
    unwanted = Operator(site, {"prepared": "switch", "healthy": "back"})
    assert unwanted.order("rollback", to=1) == 5
    assert site.head().profile.get(1).status is Status.GOOD
    assert Operator(site, agreed).order("rollback") == 0
    assert settled(site) == (1, True)
    assert version(alpha) == "1.0"


def test_a_locked_head_says_by_whom(running: tuple[Site, Tiny, Path]) -> None:
    site, _, new = running
    with site.head().lock.hold("bert@near", "deploy"):
        operator = Operator(site, {})
        assert operator.order("deploy", release=str(new)) == 6
    assert operator.says() == ["refused"]
    assert operator.end["error"]["slug"] == "head-locked"
    assert "bert@near" in operator.end["error"]["got"]


def test_an_order_that_is_none_is_refused(site: Site) -> None:
    operator = Operator(site, {})
    assert operator.order("levitate") == 2
    assert operator.end["error"]["slug"] == "bad-message"


def test_the_head_gets_what_came_with_the_order(running: tuple[Site, Tiny, Path]) -> None:
    site, _, new = running
    operator = Operator(site, {"prepared": "back"})
    operator.order("deploy", release=str(new), secrets={"WORD": "sealed"})
    assert operator.head is not None
    assert operator.head.orders[0].secrets == {"WORD": b"sealed"}
