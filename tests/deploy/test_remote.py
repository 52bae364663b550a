"""One head as the operator reaches it: what it lacks, the push, the first agent, its commands.

The other machine is this one: its store lies where the site's was before that was moved aside, the
shell's part is done by a real shell, and the agent's by a thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from deploy.errors import HeadError, HeadLostError, NoGenerationError
from deploy.host import Host
from deploy.place import AGENT, Place
from deploy.release import Release, Tool
from deploy.remote import RemoteHead
from deploy.report import of_head
from store.database import DiskFullError
from store.errors import Error
from store.local import LocalStore
from store.receive import receive
from store.wire import CutError
from tests.store.ends import platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.dialogue import Channel
    from deploy.planning import Load
    from store.path import StorePath
    from tests.store.ends import Platform


@dataclass
class Ended:
    status: int
    stdout: bytes = b""
    stderr: str = ""


@dataclass
class Pipe:
    """A program's output and input."""

    reader: BinaryIO
    writer: BinaryIO
    process: subprocess.Popen[bytes] | None = None

    @property
    def stderr(self) -> str:
        stream = self.process and self.process.stderr
        return stream.read().decode() if stream else ""

    def status(self, timeout: float = 30.0) -> int:
        with suppress(OSError):
            self.writer.close()
        return 0 if self.process is None else self.process.wait(timeout)

    def kill(self) -> None:
        self.writer.close()


@dataclass
class Said:
    """A program that has said all it had to say."""

    ended: Ended

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def lines(self, timeout: float) -> Iterator[bytes | None]:
        del timeout
        yield from self.ended.stdout.splitlines()

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass

    def status(self, timeout: float = 5.0) -> int | None:
        del timeout
        return self.ended.status


@dataclass
class Machine:
    """The other machine; `answers` are what its commands end with, `foreign` agents mumble."""

    place: Path
    foreign: set[str] = field(default_factory=set)
    answers: list[Ended] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002
        timeout: float,
        root: bool = True,
    ) -> Ended:
        del input, timeout, root
        self.asked.append(list(argv))
        return self.answers.pop(0)

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Ended:
        del timeout, root
        argv = ["sh", "-s", "--", *args]
        done = subprocess.run(argv, input=text.encode(), capture_output=True, check=False)
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    def channel(self, argv: Sequence[str], *, root: bool = True) -> Channel:
        del root
        self.asked.append(list(argv))
        return Said(self.answers.pop(0))

    @contextmanager
    def data(self, argv: Sequence[str], *, root: bool = True) -> Iterator[Pipe]:
        del root
        self.begun.append(argv[0].rpartition("/")[2] if argv[0] == "sh" else argv[0])
        if argv[0] == "sh":
            with self._shell(argv) as pipe:
                yield pipe
        else:
            with self._agent(argv[0]) as pipe:
                yield pipe

    def close(self) -> None:
        pass

    @contextmanager
    def _shell(self, argv: Sequence[str]) -> Iterator[Pipe]:
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            streams = (process.stdout, process.stdin)
            yield Pipe(*cast("tuple[BinaryIO, BinaryIO]", streams), process)

    @contextmanager
    def _agent(self, program: str) -> Iterator[Pipe]:
        down, up = os.pipe(), os.pipe()
        thread = threading.Thread(target=self._receive, args=(program, down[0], up[1]))
        thread.start()
        reader, writer = os.fdopen(up[0], "rb"), os.fdopen(down[1], "wb", buffering=0)
        try:
            yield Pipe(reader, cast("BinaryIO", writer))
        finally:
            writer.close()
            thread.join()
            reader.close()

    def _receive(self, program: str, reader: int, writer: int) -> None:
        with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb", buffering=0) as target:
            if program in self.foreign:
                hello = json.dumps({"say": "hello", "format": 99, "store": "/x"}).encode()
                target.write(len(hello).to_bytes(4, "big") + hello)
                source.read()
            elif os.path.lexists(program):
                # What it raises it told the other end before.
                with LocalStore.open(self.place) as store, suppress(DiskFullError):
                    receive(store, reader=source, writer=target, root="pushed")


@dataclass
class Setting:
    """Two releases here, nothing there; what serves for an agent is the backend of each."""

    two: Platform
    machine: Machine

    def agent(self, release: StorePath) -> str:
        infos = self.two.source.closure([release])
        found = next(info.path for info in infos if info.path.name == "backend")
        return str(self.two.place / str(found) / "run")

    def release(self, path: StorePath, same: StorePath | None = None) -> Release:
        """Return a release, with the agent of another one if that is the same."""
        program = Path(self.agent(same or path))
        tool = Tool(program.parent, program)
        return Release(self.two.place / str(path), {}, {}, None, tools={AGENT: tool})

    def head(self) -> RemoteHead:
        place = Place(self.two.place)
        return RemoteHead(Host("head1", address="head1"), lambda _: self.machine, place)

    def push(self, path: StorePath, same: StorePath | None = None) -> Load:
        """Look, say what is lacking, push."""
        head, release = self.head(), self.release(path, same)
        head.look(release)
        lacks = head.lacks(self.two.source, release)
        head.push(self.two.source, release, lambda _: None)
        return lacks

    def deployed(self, number: int, path: StorePath, agent: str | None = None) -> None:
        """Make what is there a generation of the head."""
        profiles = self.two.place.parent / "var" / "profiles"
        profiles.mkdir(parents=True, exist_ok=True)
        target = self.two.place / str(path)
        if agent is not None:
            target = self.two.place.parent / "generation"
            (target / "bin").mkdir(parents=True)
            (target / "bin" / "sealift").symlink_to(agent)
        (profiles / f"system-{number}-link").symlink_to(target)
        (profiles / "system").unlink(missing_ok=True)
        (profiles / "system").symlink_to(f"system-{number}-link")


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    two = platform(tmp_path.resolve() / "site")
    yield Setting(two, Machine(two.place))
    two.source.close()


def test_a_head_without_anything_gets_the_agent_by_shell_and_the_rest_by_it(
    setting: Setting,
) -> None:
    lacks = setting.push(setting.two.first)
    assert lacks.bootstrap
    assert setting.machine.begun == ["sh", setting.agent(setting.two.first)]
    with LocalStore.open(setting.two.place) as there:
        assert there.verify().clean
        assert setting.two.first in {info.path for info in there.paths()}


def test_what_a_head_has_is_known_from_its_generations(setting: Setting) -> None:
    setting.push(setting.two.first)
    setting.deployed(1, setting.two.first)
    setting.machine.begun.clear()
    head, release = setting.head(), setting.release(setting.two.second, setting.two.first)
    head.look(release)
    lacks = head.lacks(setting.two.source, release)
    assert setting.machine.begun == []
    assert 0 < lacks.paths < len(setting.two.source.closure([setting.two.second]))
    assert not lacks.bootstrap


def test_a_head_with_what_is_not_known_here_is_asked(setting: Setting) -> None:
    setting.push(setting.two.first)
    stranger = setting.two.source.parse(f"{'0' * 32}-release")
    setting.deployed(1, stranger)
    setting.machine.begun.clear()
    lacks = setting.push(setting.two.second, setting.two.first)
    assert len(setting.machine.begun) == 2
    assert 0 < lacks.paths < len(setting.two.source.closure([setting.two.second]))


def test_an_agent_of_another_version_is_gone_round(setting: Setting, tmp_path: Path) -> None:
    """It does not understand the push; so the new one comes by shell first."""
    old = tmp_path / "old-agent"
    old.write_text("#!/bin/sh\n")
    old.chmod(0o755)
    setting.deployed(1, setting.two.first, str(old))
    agent = Place(setting.two.place).agent
    setting.machine.foreign.add(agent)
    lacks = setting.push(setting.two.first)
    new = setting.agent(setting.two.first)
    assert lacks.bootstrap
    assert setting.machine.begun == [agent, agent, "sh", new]
    with LocalStore.open(setting.two.place) as there:
        assert there.verify().clean


def test_a_new_agent_that_does_not_understand_is_an_error(setting: Setting) -> None:
    setting.push(setting.two.second)
    setting.machine.foreign.add(setting.agent(setting.two.second))
    with pytest.raises(Error, match="another format"):
        setting.push(setting.two.second)


def test_a_full_disk_names_the_head_and_what_makes_room_on_it(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.push(setting.two.first)
    setting.deployed(1, setting.two.first)
    monkeypatch.setattr("store.receive.SPARE", 1 << 60)
    with pytest.raises(Error, match="the disk has no room") as caught:
        setting.push(setting.two.second, setting.two.first)
    assert caught.value.slug == "disk-full"
    assert caught.value.where == f"head1: {setting.two.place}"
    assert caught.value.hint == "sealift gc --host head1"


def test_a_disk_that_is_full_before_the_first_deploy_has_nothing_to_let_go(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.receive.SPARE", 1 << 60)
    with pytest.raises(Error, match="the disk has no room") as caught:
        setting.push(setting.two.first)
    assert caught.value.hint == f"make room below {setting.two.place} there"


def test_what_collects_is_called_otherwise_on_a_head() -> None:
    told = of_head("head1", {"slug": "disk-full", "reason": "full", "hint": "sealift store gc"})
    assert told.hint == "sealift gc --host head1"


def test_a_shell_that_fails_says_why(setting: Setting) -> None:
    setting.two.place.parent.mkdir(parents=True, exist_ok=True)
    setting.two.place.write_text("no folder")
    head, release = setting.head(), setting.release(setting.two.first)
    head.look(release)
    with pytest.raises(HeadError, match="cannot be brought to head1") as caught:
        head.push(setting.two.source, release, lambda _: None)
    assert "Not a directory" in str(caught.value.got)


def test_a_halted_push_ends(setting: Setting) -> None:
    head, release = setting.head(), setting.release(setting.two.first)
    head.look(release)
    head.halt()
    with pytest.raises((CutError, HeadError, ValueError)):
        head.push(setting.two.source, release, lambda _: None)


class Sleeper(Machine):
    """A machine on which nothing that is begun does anything."""

    @contextmanager
    def data(self, argv: Sequence[str], *, root: bool = True) -> Iterator[Pipe]:
        del argv, root
        pipe = subprocess.PIPE
        with subprocess.Popen(["sleep", "60"], stdin=pipe, stdout=pipe) as process:
            streams = (process.stdout, process.stdin)
            try:
                yield Pipe(*cast("tuple[BinaryIO, BinaryIO]", streams))
            finally:
                process.kill()


@pytest.mark.parametrize("agent", [False, True])
def test_a_head_that_sleeps_is_given_up(
    setting: Setting,
    agent: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Be it its shell or its agent; the error names the head."""
    if agent:
        setting.push(setting.two.first)
    setting.machine = Sleeper(setting.two.place)
    monkeypatch.setattr("deploy.remote.SENDER", 0.05)
    head, release = setting.head(), setting.release(setting.two.first)
    head.look(release)
    with pytest.raises(HeadLostError, match="head1 is silent in the midst of a push"):
        head.push(setting.two.source, release, lambda _: None)


def record(**facts: object) -> bytes:
    return json.dumps(facts).encode() + b"\n"


def test_commands_are_run_by_the_program_of_the_current_generation(setting: Setting) -> None:
    said = b"a banner\n" + record(event="x") + record(generation=4)
    setting.machine.answers = [Ended(1, said)]
    assert setting.head().ask("status") == ({"event": "x"}, {"generation": 4})
    program = str(setting.two.place.parent / "var" / "profiles" / "system" / "bin" / "sealift")
    assert setting.machine.asked == [[program, "status", "--json"]]


def test_a_head_is_told_whose_order_a_change_is(setting: Setting) -> None:
    setting.machine.answers += [Ended(0, b"{}")] * 3
    head = setting.head()
    program = head.place.agent
    head.by = "alice@transfer"
    for words in (["restart", "x"], ["gc"], ["status"]):
        head.ask(*words)
    whose = ["env", "SEALIFT_BY=alice@transfer"]
    assert setting.machine.asked == [
        [*whose, program, "restart", "x", "--json"],
        [*whose, program, "gc", "--json"],
        [program, "status", "--json"],
    ]


def test_an_error_that_a_head_tells_is_raised_with_its_slug_and_exit_code(
    setting: Setting,
) -> None:
    told = record(error="unknown-service", reason="there is no service 'x'", hint="y")
    setting.machine.answers = [Ended(2, told)]
    with pytest.raises(Error, match="there is no service") as caught:
        setting.head().ask("restart", "x")
    assert (caught.value.slug, caught.value.exit_code) == ("unknown-service", 2)
    assert caught.value.hint == "y"


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (Ended(127, b"", "sh: not found"), NoGenerationError),
        (Ended(1, b"", "sudo: /opt/x: command not found"), NoGenerationError),
        (Ended(1, b"", "Traceback …"), HeadLostError),
        (Ended(-1, b""), HeadLostError),
    ],
)
def test_no_answer_is_an_error(setting: Setting, ended: Ended, kind: type[Error]) -> None:
    setting.machine.answers = [ended]
    with pytest.raises(kind) as caught:
        setting.head().ask("status")
    assert caught.value.where == "head1"


@pytest.mark.parametrize("status", [127, 1])
def test_logs_of_a_head_without_a_release_are_an_error(setting: Setting, status: int) -> None:
    setting.machine.answers = [Ended(status)]
    with pytest.raises(NoGenerationError, match="nothing is deployed on head1"):
        list(setting.head().follow("logs", "api"))


def test_logs_that_are_empty_are_none(setting: Setting) -> None:
    setting.machine.answers = [Ended(0)]
    assert list(setting.head().follow("logs", "api")) == []


def test_an_error_of_logs_has_the_heads_name_and_exit_code(setting: Setting) -> None:
    told = record(error="unknown-service", reason="there is no service 'x'", hint="did you mean")
    setting.machine.answers = [Ended(2, told)]
    with pytest.raises(Error, match="there is no service") as caught:
        list(setting.head().follow("logs", "x"))
    assert (caught.value.exit_code, caught.value.where) == (2, "head1")


@pytest.mark.parametrize(
    ("hint", "typed"),
    [
        ("sealift history", "sealift history --host head1"),
        ("try: sealift deploy --release /s/x", "try: sealift deploy --release /s/x --host head1"),
        (
            "sealift logs api or sealift start",
            "sealift logs api --host head1 or sealift start --host head1",
        ),
        ("sealift secret set A", "sealift secret set A"),
        ("sealift status --host head[1-2]", "sealift status --host head[1-2]"),
    ],
)
def test_a_hint_of_a_head_leads_there(hint: str, typed: str) -> None:
    assert of_head("head1", {"reason": "x", "hint": hint}).hint == typed
    assert of_head("head1", {"reason": "x", "where": "api"}).where == "head1: api"
    assert of_head("head1", {"reason": "head1 is out"}).where is None
