from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import BadMessageError, BadReleaseError, HeadLostError
from deploy.phases.errors import CommandError
from deploy.phases.remote import RemoteMember
from deploy.phases.session import Session
from deploy.phases.state import FileState, Record, Refusal, State, UnitState, units_json
from store.errors import Error
from tests.deploy.phases.talking import Agent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.deploy.phases.talking import Answer


PEER = {"name": "head2", "address": "10.0.0.2", "priority": 1}


def talk(answer: Answer, heard: list[Mapping[str, Any]] | None = None) -> tuple[Session, Agent]:
    agent = Agent(answer)
    return Session("head1", agent, (heard if heard is not None else []).append), agent


def result(value: object) -> Answer:
    return lambda asked: {"say": "answer", "id": asked["id"], "result": value}


def member(answer: Answer) -> tuple[RemoteMember, Agent]:
    session, agent = talk(answer)
    return RemoteMember("head1", "10.0.0.1", session, lambda: None), agent


def test_a_question_gets_its_own_answer() -> None:
    session, agent = talk(result({"x": 1}))
    agent.say({"say": "answer", "id": 99, "result": "of somebody else"})
    agent.say(b"Welcome to head1!")
    assert session.ask("check", 5, phases=["storage"]) == {"x": 1}
    assert agent.heard == [{"do": "check", "id": 1, "phases": ["storage"]}]
    assert session.ask("check", 5) == {"x": 1}
    session.close()


def test_what_a_head_refuses_is_raised_as_it_says_it() -> None:
    error = {"slug": "head-locked", "reason": "ann changes it", "exit_code": 6, "hint": "wait"}
    session, _ = talk(lambda asked: {"say": "failed", "id": asked["id"], "error": error})
    with pytest.raises(Error, match="ann changes it") as caught:
        session.ask("open", 5)
    assert (caught.value.slug, caught.value.exit_code) == ("head-locked", 6)
    assert caught.value.where == "head1"
    session.close()


def test_events_go_to_whoever_listens() -> None:
    heard: list[Mapping[str, Any]] = []
    session, agent = talk(result(None), heard)
    agent.say({"say": "event", "phase": "storage", "text": "apt"})
    session.ask("lay", 5)
    assert [each["text"] for each in heard] == ["apt"]
    session.close()


def test_a_cut_ends_this_question_and_all_others() -> None:
    session, _ = talk(lambda _: None)
    for _ in range(2):
        with pytest.raises(HeadLostError, match="the connection broke") as caught:
            session.ask("lay", 5)
        assert caught.value.got == "its agent ended with status 6"
    session.alive()


def test_a_head_that_never_answers_is_given_up() -> None:
    session, _ = talk(lambda _: b"...")
    with pytest.raises(HeadLostError, match="does not say in time"):
        session.ask("check", 0.05)
    session.close()


STATE = State(
    recorded=Record("/x/store/a", "verified", 1.5, "me", ("redis",), None),
    laid=True,
    packages={"redis": "1 → 2"},
    users=("redis",),
    directories=("/srv",),
    files=(FileState("/etc/x", "changed", "", "-a\n+b"),),
    units={"redis.service": UnitState("active", "running", enabled=True, stale="reload")},
    refusals=(Refusal("uid-taken", "it is taken", None),),
    listening={6379: "redis-server"},
)


@pytest.mark.parametrize("state", [STATE, State()])
def test_states_come_as_they_were(state: State) -> None:
    there = json.loads(json.dumps(state.to_json()))
    assert State.from_json(there) == state
    head, _ = member(result({"storage": there}))
    assert head.check(["storage"]) == {"storage": state}


OFF: list[dict[str, Any]] = [
    {"files": [{}]},
    {"laid": "yes"},
    {"laid": 1},
    {"users": "abc"},
    {"users": [1]},
    {"packages": {"redis": 7}},
    {"packages": ["redis"]},
    {"recorded": {"path": "/x", "state": "laid", "at": "now", "by": "me", "installed": []}},
    {"recorded": {"path": "/x", "state": "laid", "at": 1.0, "by": "me", "installed": 5}},
    {"recorded": {"path": "/x", "state": "laid", "at": 1.0, "by": "me", "installed": "redis"}},
    {"recorded": {"path": 1, "state": "laid", "at": 1.0, "by": "me", "installed": []}},
    {"units": {"x.service": {"active": "active", "enabled": "no"}}},
    {"units": {"x.service": [1]}},
    {"refusals": [{"slug": "x", "reason": ["y"]}]},
    {"listening": {"²": "redis"}},
]


@pytest.mark.parametrize(
    "said", [None, {}, {"laid": 1}, [], *({**STATE.to_json(), **each} for each in OFF)]
)
def test_states_that_are_none_are_refused(said: object) -> None:
    with pytest.raises(BadMessageError):
        State.from_json(said)


def test_units_of_which_the_head_is_silent_are_refused() -> None:
    head, _ = member(result(units_json(STATE.units)))
    assert head.units("redis.service") == STATE.units
    with pytest.raises(BadMessageError, match="does not tell of other"):
        head.units("redis.service", "other.service")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"status": "0", "stdout": "", "stderr": ""},
        {"status": None, "stdout": "", "stderr": ""},
        {"status": False, "stdout": "", "stderr": ""},
        {"status": 0, "stdout": ["x"], "stderr": ""},
        {"status": 0, "stdout": "x"},
        [1],
        "abc",
    ],
)
def test_what_is_no_end_of_a_command_is_no_success(said: object) -> None:
    head, _ = member(result(said))
    with pytest.raises(BadMessageError):
        head.run("true", check=False)


@pytest.mark.parametrize("said", [{}, {"installed": 5, "apt": 1}, {"installed": [1], "apt": 1}])
def test_what_is_no_answer_to_laying_is_refused(said: object) -> None:
    head, _ = member(result(said))
    with pytest.raises(BadMessageError):
        head.lay("redis")
    with pytest.raises(BadMessageError):
        head.put("/var/lib/x", "text")


@pytest.mark.parametrize("error", [["x"], 5, None, {"reason": "no", "log": 5}])
def test_a_failure_that_is_not_told_as_one_is_one(error: object) -> None:
    head, _ = member(lambda asked: {"say": "failed", "id": asked["id"], "error": error})
    with pytest.raises(Error):
        head.run("true")


def test_a_command_is_sent_whole_and_its_failure_is_an_error() -> None:
    head, agent = member(result({"status": 2, "stdout": "x", "stderr": "no"}))
    with pytest.raises(CommandError) as caught:
        head.run("mysql", "-e", "select 1", input="x", timeout=7, secrets=["ROOT"])
    assert caught.value.stderr == "no"
    assert agent.heard[0] == {
        "do": "run",
        "id": 1,
        "argv": ["mysql", "-e", "select 1"],
        "input": "x",
        "timeout": 7,
        "secrets": ["ROOT"],
    }
    assert head.run("mysql", check=False).status == 2


def phase_json(**facts: Any) -> str:
    peers = [{"name": "head1", "address": "10.0.0.1", "priority": 1}]
    empty: dict[str, list[str]] = {
        each: [] for each in ("users", "directories", "files", "units", "ports")
    }
    of = {"format": 1, "phase": "redis", "number": 3, "host": "head1", "hosts": peers, **empty}
    return json.dumps({**of, "parameters": {"lag": 5}, "secrets": {}, **facts})


def test_what_is_laid_is_read_as_a_configuration() -> None:
    head, _ = member(result({"path": "/x/laid", "text": phase_json()}))
    found = head.laid("redis")
    assert found is not None
    assert (str(found.path), found.parameters) == ("/x/laid", {"lag": 5})
    assert member(result({}))[0].laid("redis") is None


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"path": "/x"},
        {"path": 1, "text": "{}"},
        {"path": "x", "text": phase_json()},
        {"path": "/x", "text": phase_json(phase="storage")},
        {"path": "/x", "text": phase_json(host="head2", hosts=[PEER])},
    ],
)
def test_what_is_no_configuration_of_the_head_is_not_taken_for_what_is_laid(said: object) -> None:
    head, _ = member(result(said))
    with pytest.raises(BadMessageError):
        head.laid("redis")


def test_a_configuration_that_does_not_hold_together_is_not_taken_for_what_is_laid() -> None:
    head, _ = member(result({"path": "/x", "text": phase_json(parameters=[])}))
    with pytest.raises(BadReleaseError):
        head.laid("redis")


def test_the_other_words() -> None:
    head, agent = member(result({"written": True, "installed": ["redis"], "apt": 2.5}))
    assert head.put("/var/lib/x", "text", owner="redis", replace=True)
    assert head.lay("redis", ["slurm"]).seconds == 2.5
    head.enable("redis")
    head.verified("redis")
    head.unlay("redis")
    assert [each["do"] for each in agent.heard] == ["put", "lay", "enable", "verified", "unlay"]
    assert agent.heard[0]["owner"] == "redis"
    assert agent.heard[1]["ahead"] == ["slurm"]


def test_the_words_are_those_that_the_head_knows() -> None:
    from deploy.install import words  # noqa: PLC0415 (the head's end, for this comparison alone)

    said = {"written": True, "redis": State().to_json(), "installed": [], "apt": 0}
    head, agent = member(result({**said, "status": 0, "stdout": "", "stderr": ""}))
    head.check(["redis"])
    head.lay("redis", ["slurm"])
    head.run("true", secrets=["X"])
    head.put("/var/lib/x", "text")
    head.enable("redis")
    head.verified("redis")
    head.unlay("redis")
    head.session.ask("laid", 9.0, phase="redis")
    for record in agent.heard:
        words.order(record)
