"""A session of phases: what is asked and answered, who waits for whom, and who is let go."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from deploy.audit import Audit
from deploy.errors import OperatorGoneError
from deploy.install import commands, lay, serve, words
from deploy.line import Line
from deploy.lock import HeadLock
from deploy.phases.state import State, units_from_json
from tests.deploy.install.bench import CONFFILE, ME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.install.machine import Machine
    from tests.deploy.install.bench import Bench

UNIT = "redis-server.service"


@dataclass
class Operator:
    """The other end of a session that is served by a thread."""

    head: Bench
    codes: list[int] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        reader, self.out = os.pipe()
        back, writer = os.pipe()
        self._ends = (reader, back, writer)
        self._hanging_up = threading.Lock()
        self.answers = os.fdopen(back, "rb", closefd=False)
        self.line = Line(reader, writer)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        @contextmanager
        def machine() -> Iterator[Machine]:
            yield self.head.machine

        self.codes.append(serve.serve(self.line, machine))
        self.line.close()

    def send(self, **record: Any) -> None:
        os.write(self.out, json.dumps(record).encode() + b"\n")

    def ask(self, word: str, **facts: Any) -> Any:
        self.number += 1
        self.send(do=word, id=self.number, **facts)
        while True:
            record = json.loads(self.answers.readline())
            self.said.append(record)
            if record.get("id") == self.number:
                return record.get("result", record.get("error"))

    def open(self, **facts: Any) -> Any:
        usual = {"by": "ann@site", "deadline": 60.0, "wait": 0.0, "paths": {}, "secrets": {}}
        return self.ask("open", **{**usual, **facts})

    def end(self) -> int:
        with self._hanging_up:
            if self.out >= 0:
                os.close(self.out)
            self.out = -1
        self.thread.join(20.0)
        assert not self.thread.is_alive()
        return self.codes[0]

    def close(self) -> None:
        self.end()
        self.answers.close()
        for each in self._ends:
            os.close(each)


@pytest.fixture
def operate(head: Bench) -> Iterator[Callable[[], Operator]]:
    made: list[Operator] = []

    def make() -> Operator:
        made.append(Operator(head))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_whole_session(head: Bench, operate: Callable[[], Operator]) -> None:
    secrets = head.seal(REDIS="open-sesame")
    path = "/etc/redis/password.conf"
    password = {"path": path, "markers": ["REDIS"], "owner": ME}
    wanted = head.configuration(
        files=[password],
        texts={path: "@secret:REDIS@", CONFFILE: "x"},
        secrets={"REDIS": "password"},
    )
    session = operate()
    sealed = {name: each.decode() for name, each in secrets.items()}
    assert session.open(paths={"redis": str(wanted.path)}, secrets=sealed) == {}
    holder = HeadLock(head.machine.layout.lock).holder()
    assert holder is not None
    assert (holder.who, holder.action) == ("ann@site", "phases")
    states = session.ask("check", phases=["redis", "other"])
    assert State.from_json(states["redis"]).differs
    assert State.from_json(states["other"]) == State()
    done = session.ask("lay", phase="redis", ahead=[])
    assert done["installed"] == ["redis-server", "redis-tools"]
    assert any(each.get("say") == "event" and "2 packages" in each["text"] for each in session.said)
    assert session.ask("enable", phase="redis") == {}
    assert session.ask("verified", phase="redis") == {}
    state = State.from_json(session.ask("check", phases=["redis"])["redis"])
    assert not state.differs
    assert state.recorded is not None
    assert (state.recorded.state, state.recorded.by) == ("verified", "ann@site")
    units = units_from_json(session.ask("units", names=[UNIT, "no.service"]))
    assert units[UNIT].enabled
    assert (units["no.service"].active, units["no.service"].sub) == ("inactive", "not-found")
    text = (wanted.path / "phase.json").read_text()
    assert session.ask("laid", phase="redis") == {"path": str(wanted.path), "text": text}
    assert session.ask("unlay", phase="redis") == {"kept": []}
    assert session.ask("laid", phase="redis") == {}
    assert session.end() == 0
    assert HeadLock(head.machine.layout.lock).holder() is None
    noted = [(each.action, each.result) for each in Audit(head.machine.layout.audit).entries()]
    assert ("phase lay", "done") in noted
    assert ("phase unlay", "done") in noted


def test_secrets_go_into_commands_by_their_input_and_do_not_come_back(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    session = operate()
    secrets = {name: each.decode() for name, each in head.seal(A="open-sesame", B="other").items()}
    session.open(secrets=secrets)
    said = session.ask("run", argv=["cat"], input="x @secret:A@ @secret:A:mysql@", secrets=["A"])
    assert said == {"status": 0, "stdout": "x *** ***", "stderr": ""}
    refused = session.ask("run", argv=["cat"], input="@secret:B@", secrets=["A"])
    assert refused["slug"] == "bad-message"
    lacking = session.ask("run", argv=["cat"], secrets=["C"])
    assert lacking["slug"] == "secret-missing"
    assert session.ask("run", argv=["no-such-program"])["status"] == 127


def test_half_a_secret_is_not_told_either(
    head: Bench, operate: Callable[[], Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LONGEST", 12)
    session = operate()
    secrets = {name: each.decode() for name, each in head.seal(A="open-sesame").items()}
    session.open(secrets=secrets)
    said = session.ask("run", argv=["cat"], input="@secret:A@ and more", secrets=["A"])
    assert said["stdout"] == "*** and more"


def test_commands_of_whoever_may_change_the_head_are_in_its_log_once(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    session = operate()
    session.open()
    session.ask("run", argv=["cat"], input="x")
    session.ask("run", argv=["cat"], input="y")
    session.ask("run", argv=["rm", "-rf", "/data"])
    session.end()
    looking = operate()
    looking.open(look=True)
    looking.ask("run", argv=["cat", "other"])
    entries = Audit(head.machine.layout.audit).entries()
    noted = [each.what for each in entries if each.action == "phase run"]
    assert noted == ["cat", "cat", "rm -rf /data", "rm -rf /data"]
    assert {each.who for each in entries} == {"ann@site"}


def test_a_file_is_put_once_unless_it_is_to_be_replaced(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    session = operate()
    session.open(secrets={name: each.decode() for name, each in head.seal(A="sesame").items()})
    head.etc("/var/lib/redis").mkdir(parents=True)
    facts = {"path": "/var/lib/redis/s.conf", "owner": ME, "group": ME, "mode": "0640"}
    assert session.ask("put", data="one @secret:A@", secrets=["A"], **facts) == {"written": True}
    place = head.etc("/var/lib/redis/s.conf")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("one sesame", 0o640)
    assert session.ask("put", data="two", **facts) == {"written": False}
    assert session.ask("put", data="two", replace=True, **facts) == {"written": True}
    assert place.read_text() == "two"
    assert list(place.parent.iterdir()) == [place]
    for path in ("/etc/x", f"{head.machine.store_dir}/x", "/no/such/folder"):
        assert session.ask("put", path=path, data="")["slug"] == "head-refused"


def test_who_only_looks_takes_no_lock_and_changes_nothing(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    wanted = head.configuration()
    first, second = operate(), operate()
    assert first.open(paths={"redis": str(wanted.path)}) == {}
    assert second.open(paths={"redis": str(wanted.path)}, look=True) == {}
    assert State.from_json(second.ask("check", phases=["redis"])["redis"]).differs
    for word in ("lay", "enable", "verified", "unlay"):
        assert second.ask(word, phase="redis")["reason"] == "this session is for looking alone"
    assert "redis-server" not in head.debian.status()


def test_the_second_is_told_who_is_at_work(head: Bench, operate: Callable[[], Operator]) -> None:
    first, second = operate(), operate()
    first.open()
    refused = second.open(by="bob@site")
    assert refused["slug"] == "head-locked"
    assert "ann@site" in refused["got"]
    assert second.end() == 6
    del head


def test_the_second_waits_while_a_session_of_phases_ends(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    first, second = operate(), operate()
    first.open()
    threading.Timer(0.3, first.end).start()
    assert second.open(wait=30.0) == {}
    del head


def test_who_waits_is_told_at_once_for_whom(operate: Callable[[], Operator]) -> None:
    first, second = operate(), operate()
    first.open()
    waiting = threading.Thread(target=lambda: second.open(by="bob@site", wait=30.0))
    waiting.start()
    while not second.said:
        time.sleep(0.01)
    assert second.said[0]["say"] == "event"
    assert "ann@site" in second.said[0]["text"]
    first.end()
    waiting.join(20.0)
    assert second.said[-1]["say"] == "answer"
    assert [each["say"] for each in second.said].count("event") == 1


def test_nobody_waits_for_a_deploy(head: Bench, operate: Callable[[], Operator]) -> None:
    with HeadLock(head.machine.layout.lock).hold("carl", "deploy"):
        assert operate().open(wait=30.0)["slug"] == "head-locked"


def test_an_operator_who_is_gone_gets_nothing_new_begun(head: Bench) -> None:
    def gone() -> None:
        if "redis-server" in head.debian.status():
            raise OperatorGoneError("the link to the operator was cut")

    wanted = head.configuration()
    work = lay.Work(head.machine, "ann", {}, gone)
    with pytest.raises(OperatorGoneError):
        lay.lay(work, wanted)
    # What apt was at is done; what comes after was not begun.
    assert head.debian.package("redis-server") == "7.0"
    assert not head.look(wanted).laid
    assert head.debian.enabled() == set()
    lay.lay(head.work(), wanted)
    assert not head.look(wanted).differs


def test_who_undoes_is_told_what_was_only_begun(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    def gone() -> None:
        if "redis-server" in head.debian.status():
            raise OperatorGoneError("the link to the operator was cut")

    with pytest.raises(OperatorGoneError):
        lay.lay(lay.Work(head.machine, "ann", {}, gone), head.configuration())
    session = operate()
    session.open()
    state = State.from_json(session.ask("check", phases=["redis"])["redis"])
    assert (state.begun, state.laid, state.recorded) == (True, False, None)
    assert session.ask("unlay", phase="redis") == {"kept": []}
    assert State.from_json(session.ask("check", phases=["redis"])["redis"]) == State()
    assert head.debian.package("redis-server") == "7.0 config-files"


def test_an_order_of_a_silent_operator_is_not_begun(
    head: Bench, operate: Callable[[], Operator]
) -> None:
    session = operate()
    session.open(deadline=1.0)
    until = time.monotonic() + 20.0
    while not session.codes and time.monotonic() < until:
        time.sleep(0.05)
    assert session.codes == [0]
    assert HeadLock(head.machine.layout.lock).holder() is None


@pytest.mark.parametrize(
    ("record", "where"),
    [
        ({"do": "check", "phases": []}, "the first word"),
        ({"do": "open", "by": "x", "deadline": 0.1, "wait": 0}, "deadline"),
        ({"do": "open", "by": "x", "deadline": 5, "wait": float("inf")}, "wait"),
        ({"do": "open", "by": "x", "deadline": 5, "wait": 0, "paths": {"x": "../y"}}, "paths"),
        ({"do": "open", "by": "x", "deadline": 5, "wait": 0, "paths": {"X y": "/y"}}, "paths"),
        ({"do": "open", "by": "x", "deadline": 5, "wait": 0, "more": 1}, "unknown keys"),
        ({"do": "open", "by": "x", "deadline": 5, "wait": 0, "secrets": {"a": "b"}}, "age file"),
    ],
)
def test_words_that_open_nothing(
    operate: Callable[[], Operator], record: dict[str, Any], where: str
) -> None:
    session = operate()
    session.send(**record)
    said = json.loads(session.answers.readline())
    assert said["say"] == "failed"
    assert where in said["error"]["reason"]
    assert session.end() != 0


def test_a_command_may_take_a_day() -> None:
    record = {"do": "run", "argv": ["x"], "timeout": 86_400}
    assert words.order(record) == words.Run(("x",), "", 86_400.0, ())


@pytest.mark.parametrize(
    "record",
    [
        {"do": "dance"},
        {"do": "lay"},
        {"do": "lay", "phase": "../x"},
        {"do": "lay", "phase": "x", "ahead": "y"},
        {"do": "run", "argv": []},
        {"do": "run", "argv": ["x\0"]},
        {"do": "run", "argv": "x"},
        {"do": "run", "argv": ["x"], "timeout": 1e9},
        {"do": "run", "argv": ["x"], "shell": True},
        {"do": "put", "path": "x", "data": ""},
        {"do": "put", "path": "/x/../y", "data": ""},
        {"do": "put", "path": "/x", "data": "", "mode": "9999"},
        {"do": "put", "path": "/x", "data": "", "owner": "a b"},
        {"do": "put", "path": "/x", "data": "", "replace": 1},
        {"do": "units", "names": ["-x"]},
        {"do": "units", "names": ["../x.service"]},
    ],
    ids=str,
)
def test_words_that_cannot_be_orders(record: dict[str, Any]) -> None:
    from deploy.errors import BadMessageError  # noqa: PLC0415

    with pytest.raises(BadMessageError):
        words.order(record)
