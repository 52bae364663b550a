"""Heads that are threads of the test: agents that speak the session's words, behind fake links.

What a head does with a word is a small model of `deploy.session`: it holds a lock from the first
word on, lets go at the end of its input, and goes back if it had switched and was not told to stay.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deploy import facts
from deploy.errors import HeadLockedError
from deploy.host import Host
from deploy.place import Place
from deploy.release import Release, Tool
from deploy.remote import RemoteHead
from deploy.report import error_json
from deploy.ssh_errors import LostError, UnreachableError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from deploy.link import Data

STORE = Path("/opt/x/store")
OLD = f"{STORE}/{'0' * 32}-release"
NEW = f"{STORE}/{'1' * 32}-release"
AGENT = Path(f"{STORE}/{'2' * 32}-agent")
RELEASE = Release(
    Path(NEW), {}, {}, None, tools={"sealift": Tool(AGENT, AGENT / "bin" / "sealift")}
)


class BrokenError(Error):
    """What a sick head says."""

    slug = "unhealthy"
    exit_code = 7


@dataclass
class FakeHead:
    """One head: which generation runs, and how it misbehaves.

    `fails` names the word at which it fails (`prepare`, `switch`, `back`); `cuts` the word after
    which its link is cut; `slow` is how many seconds a switch takes.
    """

    name: str
    running: str | None = OLD
    fails: str = ""
    cuts: str = ""
    slow: float = 0.0
    up: bool = True
    facts: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    words: list[str] = field(default_factory=list)
    switched: float = 0.0
    sick: bool = False
    """It says that it went back when it is asked to vouch."""
    older: bool = False
    """Its agent does not know the word to vouch, and waits for the one to confirm."""
    deaf: bool = False
    """It acts on words, and nobody hears of it any more."""

    @property
    def number(self) -> int | None:
        return {None: None, OLD: 1, NEW: 2}[self.running]

    def remote(self) -> RemoteHead:
        """Return the head as an operator has it."""
        host = Host(self.name, address=self.name)
        return RemoteHead(host, lambda _: self.dial(), Place(STORE))

    def dial(self) -> FakeLink:
        if not self.up:
            raise UnreachableError("it does not answer", where=self.name)
        return FakeLink(self)

    def answer(self) -> str:
        """Return what the script of `deploy.facts` would print."""
        said = {
            "clock": f"{time.time():.6f}",
            "uid": "0",
            "machine": "x86_64",
            "os.PRETTY_NAME": '"Debian GNU/Linux 12 (bookworm)"',
            "glibc": "glibc 2.36",
            "flags": "flags : cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
            "systemd": "systemd 252 (252.39)",
            "disk": "/dev/vda 1000 1 999999999 1% /",
            "inodes": "/dev/vda 1000 1 999999999 1% /",
            **self.facts,
        }
        lines = [f"{key} {value}" for key, value in said.items()]
        lines += ["agent new", f"generation 1 {OLD}"]
        if self.running is not None:
            lines.append(f"current system-{self.number}-link")
        if self.running == NEW:
            lines.append(f"generation 2 {NEW}")
        lines.append('record 1 {"status":"good","created":1.0,"by":"bob","before":null}')
        if self.lock.locked():
            lines.append('lock {"who": "alice", "action": "deploy"}')
        return "\n".join([*lines, "end here", ""])


@dataclass
class FakeEnded:
    status: int
    stdout: bytes
    stderr: str = ""


@dataclass
class FakeLink:
    head: FakeHead
    channels: list[FakeChannel] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002
        timeout: float,
        root: bool = True,
    ) -> FakeEnded:
        del input, timeout, root
        if not self.head.up:
            raise LostError("cut", where=self.head.name)
        return FakeEnded(0, json.dumps({"argv": list(argv)}).encode())

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> FakeEnded:
        del args, timeout, root
        assert text == facts.SCRIPT
        return FakeEnded(0, self.head.answer().encode())

    def channel(self, argv: Sequence[str], *, root: bool = True) -> FakeChannel:
        del root
        assert list(argv)[1:] == ["agent", "session"]
        self.channels.append(FakeChannel(self.head))
        return self.channels[-1]

    def data(self, argv: Sequence[str], *, root: bool = True) -> AbstractContextManager[Data]:
        """Open what nobody speaks over: these heads have what is to come."""
        del argv, root
        return nullcontext(cast("Data", None))

    def close(self) -> None:
        for channel in self.channels:
            channel.close()


class FakeChannel:
    """An agent in a thread, and the pipes to it."""

    def __init__(self, head: FakeHead) -> None:
        self.head = head
        self.input: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.output: queue.Queue[bytes | None] = queue.Queue()
        self.held = False
        self.cut = False
        threading.Thread(target=self._serve, daemon=True).start()

    def send(self, data: bytes) -> None:
        if self.cut:
            raise LostError("cut", where=self.head.name)
        self.input.put(json.loads(data))

    def lines(self, timeout: float) -> Iterator[bytes | None]:
        while True:
            try:
                line = self.output.get(timeout=timeout)
            except queue.Empty:
                yield None
                continue
            if line is None:
                return
            yield line

    def end(self) -> None:
        self.input.put(None)

    def close(self) -> None:
        self.input.put(None)

    def status(self, timeout: float = 5.0) -> int | None:
        del timeout
        return None

    def say(self, what: str, **facts: object) -> None:
        if not self.cut:
            self.output.put(json.dumps({"say": what, **facts}).encode())

    def _serve(self) -> None:
        try:
            self._session()
        finally:
            self.output.put(None)

    def _session(self) -> None:
        order = self._word("prepare")
        if order is None:
            return
        if not self.head.lock.acquire(blocking=False):
            error = HeadLockedError("another command changes this head", got="alice")
            self.say("refused", error=error_json(error))
            return
        try:
            self.say("locked")
            self._changed(order)
        finally:
            self.head.lock.release()

    def _changed(self, order: dict[str, Any]) -> None:
        head = self.head
        if head.fails == "prepare":
            self.say("refused", error=error_json(BrokenError("nginx refuses it", where=head.name)))
            return
        before, target = head.running, order.get("release") or NEW
        self.say("prepared", generation=2, before=head.number, restart=["api"])
        if self._word("switch") is None:
            return
        head.running, head.switched = target, time.monotonic()
        self._after("switch")
        if self._interrupted(head.slow) or head.fails == "switch":
            self._back(before, BrokenError("api is not healthy", where="api"))
            return
        changes = {"restarted": ["api"]}
        self.say("healthy", generation=2, changes=changes, seconds=0.1)
        self._after("healthy")
        if self._word("confirm" if head.older else "vouch") is None or head.sick:
            self._back(before, BrokenError("api fell over", where="api"))
            return
        self.say("vouched")
        if self._word("confirm") is None:
            self._back(before, BrokenError("nobody wanted it", where="api"))
            return
        self.say("confirmed", generation=2)

    def _interrupted(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with_word = list(self.input.queue)
            if any(each is None or each["do"] == "back" for each in with_word):
                return True
            time.sleep(0.005)
        return False

    def _back(self, before: str | None, error: Error) -> None:
        stranded = self.head.fails == "back"
        self.head.running = before
        self.say("stranded" if stranded else "reverted", error=error_json(error))

    def _after(self, stage: str) -> None:
        if self.head.cuts == stage:
            self.cut = True
            self.head.up = False
            self.output.put(None)
            self.input.put(None)

    def _word(self, wanted: str) -> dict[str, Any] | None:
        """Wait for a word; None for the end of the input, and for `back`."""
        while True:
            record = self.input.get()
            self.head.words.append("EOF" if record is None else record["do"])
            if record is None or record["do"] == "back":
                return None
            if record["do"] == wanted:
                if self.head.cuts == f"before {wanted}":
                    self._after(self.head.cuts)
                    return None
                if self.head.cuts == wanted:
                    self._after(wanted)
                return record
