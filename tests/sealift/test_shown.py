"""What heads say, as it reaches a terminal: nothing that steers it, and no line too many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deploy.dialogue import Healthy
from deploy.events import Event, What
from deploy.planning import Absent, HeadPlan, Load, Plan
from deploy.preflight import Refusal, Row
from deploy.report import error_from_json
from deploy.rolling import Outcome
from deploy.services import Changes
from sealift import errors, head_view, many
from sealift.commands import deploy

if TYPE_CHECKING:
    from collections.abc import Callable

EVIL = "\x1b]0;owned\x07\x1b[2Jred\nhead2: healthy\x9b31m"
SHOWN = "red head2: healthy"

SERVICE = {"name": EVIL, "phase": EVIL, "pid": 1, "health": EVIL, "since": 2.0, "path": EVIL}
STATUS = {
    "head": EVIL,
    "url": EVIL,
    "generation": 4,
    "release": f"/s/{EVIL}",
    "created": 1.0,
    "healthy": True,
    "changing": EVIL,
    "interrupted": {"action": EVIL, "generation": 5, "before": 4, "by": EVIL, "since": 1.0},
    "certificates": [{"name": EVIL, "end": 1.0, "expired": False}],
    "services": [SERVICE],
}
GENERATION = {"number": 1, "current": True, "created": 1.0, "status": EVIL, "by": EVIL}
CHANGE = {"time": 1.0, "action": EVIL, "result": EVIL, "detail": EVIL, "source": EVIL}
LOST = error_from_json({"slug": EVIL, "reason": EVIL, "hint": EVIL})


def steers(text: str) -> bool:
    return any(not (each.isprintable() or each == "\n") for each in text)


VIEWS: dict[str, Callable[[], list[str]]] = {
    "status": lambda: head_view.status(STATUS),
    "statuses": lambda: list(
        head_view.statuses({"head1": STATUS, "head2": STATUS | {"release": None}}, {"h": LOST})
    ),
    "generations": lambda: head_view.generations({"generations": [GENERATION | {"path": EVIL}]}),
    "changes": lambda: head_view.changes({"changes": [CHANGE | {"who": EVIL, "what": EVIL}]}),
    "an error": lambda: errors.text(LOST).split("\n"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_head_says_steers_no_terminal(view: str) -> None:
    lines = VIEWS[view]()
    assert any(SHOWN in line for line in lines)
    assert not steers("\n".join(lines))


def test_what_a_head_says_of_a_service_looks_like_no_other_head() -> None:
    lines = [*VIEWS["status"](), *VIEWS["statuses"](), *VIEWS["generations"]()]
    assert not any(line.startswith("head2: healthy") for line in lines)


ROW = Row("runs", EVIL, Refusal(EVIL, EVIL))
ASKED = HeadPlan("head1", None, EVIL, Load(0, 0, 0), (), (ROW,))
PLAN = Plan("rollback", None, (ASKED,), (Absent("head2", EVIL),), None, (("head1",),), 60.0)


def test_what_a_plan_and_its_end_tell_of_heads_steers_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = Healthy(4, Changes(started=(EVIL,), reloaded=("nginx",)), 1.0)
    deploy._show(PLAN, as_json=False)
    deploy._rolled(Outcome(PLAN, {"head1": changed}, 1.0), {"head1": EVIL}, as_json=False)
    ended = capsys.readouterr()
    assert (ended.out + ended.err).count(SHOWN) == 6
    assert not steers(ended.out + ended.err)


def test_a_reload_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    changed = Healthy(4, Changes(reloaded=("nginx",)), 1.0)
    deploy._rolled(Outcome(PLAN, {"head1": changed}, 1.0), {"head1": ""}, as_json=False)
    assert "head1: generation 4: nginx (reloaded)\n" in capsys.readouterr().err


SHOWS: dict[str, Callable[..., Any]] = {
    "an event": lambda as_json: deploy.telling(as_json=as_json)(Event(What.STARTED, EVIL, EVIL)),
    "an event of one of several": lambda as_json: deploy.telling_of(as_json=as_json)(
        "head1", Event(What.STARTED, EVIL, EVIL)
    ),
    "an event that was told": lambda as_json: many.show_event(
        "head1", {"event": EVIL, "name": EVIL, "detail": EVIL}, as_json=as_json
    ),
    "a line of a log": lambda as_json: many.show_line(
        "head1", {"file": EVIL, "text": EVIL}, as_json=as_json
    ),
}


@pytest.mark.parametrize("show", SHOWS)
def test_what_is_shown_as_it_comes_steers_no_terminal_and_is_whole_in_json(
    show: str, capsys: pytest.CaptureFixture[str]
) -> None:
    SHOWS[show](as_json=False)
    ended = capsys.readouterr()
    said = ended.out + ended.err
    assert SHOWN in said
    assert not steers(said)
    assert said.count("\n") == 1
    SHOWS[show](as_json=True)
    assert EVIL in json.loads(capsys.readouterr().out).values()
