"""The operator's end, run to be killed: a command, what it tells as it goes, and its death."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.lab.platform import Site


@dataclass(frozen=True, slots=True)
class Told:
    """One record that the command wrote, and when, in seconds since it was started."""

    at: float
    record: dict[str, Any]

    @property
    def what(self) -> str:
        """The kind of the record."""
        return str(self.record.get("event", ""))


@dataclass(slots=True)
class Operator:
    """A command under way. Records are read as they come; `wait_for` waits for one."""

    process: subprocess.Popen[str]
    began: float = field(default_factory=time.monotonic)
    told: list[Told] = field(default_factory=list)
    talk: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: bool = False

    def listen(self) -> None:
        """Begin to read what the command writes."""
        for work in (self._records, self._talk):
            self._threads.append(threading.Thread(target=work))
            self._threads[-1].start()

    def wait_for(self, fits: Callable[[Told], bool], timeout: float) -> Told | None:
        """Return the first record that fits, or None if the command ends without one.

        Raises:
            TimeoutError: neither happened in time; `timeout` is in seconds.
        """
        end = time.monotonic() + timeout
        seen = 0
        with self._news:
            while True:
                for each in self.told[seen:]:
                    if fits(each):
                        return each
                seen = len(self.told)
                if self._over:
                    return None
                if not self._news.wait(end - time.monotonic()):
                    raise TimeoutError(f"none of these fits: {self.told}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the command and all that it started, or send it something else to think of."""
        with suppress(ProcessLookupError):
            if how is signal.SIGKILL:
                os.killpg(self.process.pid, how)
            else:
                self.process.send_signal(how)

    def end(self, timeout: float = 120.0) -> int:
        """Wait for the end; return the exit status, or minus the signal that killed it."""
        code = self.process.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        return code

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    @property
    def said(self) -> str:
        """All that it wrote, for messages of tests."""
        return "\n".join([*(json.dumps(each.record) for each in self.told), *self.talk])

    def _records(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._take(line)
        with self._news:
            self._over = True
            self._news.notify_all()

    def _take(self, line: str) -> None:
        with suppress(ValueError), self._news:
            record = json.loads(line)
            if isinstance(record, dict):
                self.told.append(Told(self.seconds, record))
                self._news.notify_all()

    def _talk(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.talk.extend(line.rstrip() for line in lines)


@contextmanager
def operator(site: Site, *words: str) -> Iterator[Operator]:
    """Run a command with `--json`; it is dead when the context is left."""
    running = Operator(site.begin(*words, "--json"))
    running.listen()
    try:
        yield running
    finally:
        running.kill()
        running.end()
