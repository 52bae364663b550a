"""Processes that share work: forked, given one task after another, and gone with their starter.

Threads would wait for each other at the interpreter's lock: making a file costs more of it than
of the disk. A worker inherits all that its starter has read, and answers over a pipe; when that
closes, it ends. What the tasks are is for its users to say.
"""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from types import TracebackType

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST = 8
"""Workers beyond which the disk is what all wait for."""


class WorkerError(Error):
    """A worker that ended without a word."""

    slug = "worker-lost"


def hands() -> int:
    """Return how many workers this machine has processors for."""
    return max(1, min(MOST, len(os.sched_getaffinity(0))))


class Crew(Generic[Task, Result]):
    """Workers that do `work`, each one task at a time."""

    def __init__(self, work: Callable[[Task], Result], count: int) -> None:
        self._work = work
        self._count = count
        self._pids: dict[Connection, int] = {}
        self._busy: set[Connection] = set()

    def __enter__(self) -> Self:
        gc.freeze()  # else each worker's collector would copy what it shares with us
        for _ in range(self._count):
            self._hire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection, pid in self._pids.items():
            connection.close()
            if error is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in self._pids.values():
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        gc.unfreeze()

    def run(self, following: Callable[[], Task | None], done: Callable[[Result], None]) -> None:
        """Do tasks until `following` gives none and nobody is at work any more.

        `following` is asked again after each result, as that may make more work possible.

        Raises:
            Error: a task raised it; what others are at is left.
            WorkerError: a worker was killed.
        """
        while True:
            self._occupy(following)
            if not self._busy:
                return
            for connection in wait(list(self._busy)):
                done(self._answer(connection))  # type: ignore[arg-type] # only such are waited for

    def _occupy(self, following: Callable[[], Task | None]) -> None:
        for connection in self._pids:
            if connection in self._busy:
                continue
            task = following()
            if task is None:
                return
            connection.send(task)
            self._busy.add(connection)

    def _answer(self, connection: Connection) -> Result:
        try:
            answer = connection.recv()
        except EOFError:
            reason = "a process that helped was ended from outside"
            raise WorkerError(reason, hint="is there enough memory? then run it again") from None
        self._busy.discard(connection)
        if isinstance(answer, BaseException):
            raise answer
        result: Result = answer
        return result

    def _hire(self) -> None:
        ours, theirs = Pipe()
        pid = os.fork()
        if pid:
            theirs.close()
            self._pids[ours] = pid
            return
        try:
            ours.close()
            for other in self._pids:
                other.close()  # else nobody would notice when our starter is gone
            self._serve(theirs)
        finally:
            os._exit(0)

    def _serve(self, connection: Connection) -> None:
        """Work until there is nobody who asks for it; who interrupts speaks to our starter."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.umask(0)
        with suppress(EOFError, OSError):
            while True:
                connection.send(self._one(connection.recv()))

    def _one(self, task: Task) -> Result | BaseException:
        try:
            return self._work(task)
        except Exception as error:  # noqa: BLE001 - it is raised where somebody can see it
            return error
