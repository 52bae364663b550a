"""Orders, errors and events as records: strict one way, and back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.errors import BadMessageError, DeployFailedError, UnhealthyError
from deploy.events import Event, What
from deploy.orders import HeadSettings, Order
from deploy.report import (
    changes_from_json,
    changes_json,
    error_from_json,
    error_json,
    event_from_json,
    event_json,
)
from deploy.services import Changes

HEAD = HeadSettings("head1", ("nginx", "alpha"), "https://head1/", 3, Path("/var/lib/sealift"))
DEPLOY = Order("deploy", "anna@far", 60.0, Path("/s/release"), None, HEAD, {"WORD": b"-----BEGIN"})
ROLLBACK = Order("rollback", "anna@far", 5.0, None, 3)


@pytest.mark.parametrize("order", [DEPLOY, ROLLBACK])
def test_orders_arrive_as_they_were_given(order: Order) -> None:
    assert Order.from_json(order.to_json()) == order


def test_what_is_not_said_is_kept_as_it_is() -> None:
    plain = {"do": "prepare", "action": "rollback", "by": "anna", "deadline": 60}
    assert Order.from_json(plain) == Order("rollback", "anna", 60.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "switch"},
        {"action": "destroy"},
        {"action": "rollback"},
        {"by": ""},
        {"by": "anna\x1b[2J"},
        {"by": None},
        {"deadline": 0},
        {"deadline": "60"},
        {"deadline": True},
        {"deadline": 1e9},
        {"deadline": float("nan")},
        {"release": "release"},
        {"release": "/s/../etc"},
        {"release": "/s/\nx"},
        {"release": None},
        {"to": 0},
        {"to": "3"},
        {"head": []},
        {"head": {"name": "../x"}},
        {"head": {"name": "$(id)"}},
        {"head": {"name": "head1", "keep": 0}},
        {"head": {"name": "head1", "services": "nginx"}},
        {"head": {"name": "head1", "services": [1]}},
        {"head": {"name": "head1", "url": "https://x/\n"}},
        {"head": {"name": "head1", "state_dir": "lib"}},
        {"head": {"name": "head1", "state_dir": "/var/../etc"}},
        {"head": {"name": "head1", "more": 1}},
        {"secrets": ["a"]},
        {"secrets": {"A": 1}},
        {"surprise": 1},
    ],
)
def test_hostile_orders_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadMessageError):
        Order.from_json({**DEPLOY.to_json(), **wrong})


@pytest.mark.parametrize("wrong", [None, [], "prepare", 3])
def test_what_is_no_order_is_refused(wrong: object) -> None:
    with pytest.raises(BadMessageError):
        Order.from_json(wrong)


def test_an_error_is_raised_again_with_all_its_facts() -> None:
    cause = UnhealthyError(
        "alpha is not healthy",
        service="alpha",
        request="GET http://127.0.0.1:5101/health",
        got="500",
        log=["one", "two"],
    )
    for error in (cause, DeployFailedError("it went back", cause=cause, hint="sealift status")):
        told = error_from_json(error_json(error))
        names = ("slug", "exit_code", "reason", "where", "expected", "got", "hint")
        for name in (*names, "service", "request", "log"):
            assert getattr(told, name) == getattr(error, name), name
        assert error_json(told) == error_json(error)


def test_a_bug_says_what_it_is() -> None:
    record = error_json(KeyError("x"))
    assert (record["slug"], record["exit_code"]) == ("bug", 1)
    assert "KeyError" in record["reason"]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"slug": 3, "exit_code": "5", "reason": None, "log": None},
        {"slug": "", "exit_code": 0},
        {"exit_code": 4711},
        {"exit_code": True},
    ],
)
def test_an_error_that_says_little_is_one_all_the_same(record: dict[str, Any]) -> None:
    told = error_from_json(record)
    assert told.slug == "error"
    assert told.exit_code == 1
    assert told.reason
    assert told.log == ()


def test_events_and_changes_arrive_as_they_were() -> None:
    for what in What:
        event = Event(what, "alpha", "detail")
        assert event_from_json(event_json(event)) == event
    changes = Changes(("a",), ("b", "c"), ("d",), ("e",))
    assert changes_from_json(changes_json(changes)) == changes


def test_an_event_of_a_later_version_is_passed_over() -> None:
    assert event_from_json({"what": "levitated", "name": "x"}) is None
    assert event_from_json({}) is None
