"""The same thing done on several heads at once: a bounded number of threads, and one way to stop.

What the heads do is not for here; a head is only asked to `halt` when there is no more use in it.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.remote import RemoteHead
    from deploy.stopping import Stopping

LOOK = 0.1
"""Seconds between looks at whether the operator wants to stop."""
T = TypeVar("T")


class StoppedError(Error):
    """The operator does not want it any more."""

    slug = "stopped"

    def __init__(self) -> None:
        super().__init__("stopped by the operator")


class HaltedError(Error):
    """A head that did not go on because another one had failed."""

    slug = "halted"

    def __init__(self) -> None:
        super().__init__("another head failed")


class TeamError(Exception):
    """It failed on some heads; `failures` has their errors, `done` what the others gave."""

    def __init__(self, failures: Mapping[str, BaseException], done: Mapping[str, object]) -> None:
        super().__init__(", ".join(failures))
        self.failures = failures
        self.done = done


@dataclass(frozen=True, slots=True)
class Team:
    """At most `size` heads at a time."""

    size: int
    stopping: Stopping

    def each(
        self, heads: Sequence[RemoteHead], do: Callable[[RemoteHead], T], *, together: bool = False
    ) -> dict[str, T]:
        """Do it on every head, and return what came of it by name.

        With `together` the others are halted as soon as one fails: all is in vain then.

        Raises:
            TeamError: it failed somewhere.
            StoppedError: the operator wanted to stop; every head has ended what it did.
        """
        with ThreadPoolExecutor(self.size, thread_name_prefix="head") as pool:
            running = {pool.submit(do, head): head for head in heads}
            stopped, halted = self._watch(running, together=together)
        failures = {
            head.name: HaltedError() if future in halted else error
            for future, head in running.items()
            if (error := _error(future)) is not None
        }
        if stopped:
            raise StoppedError
        done = {h.name: f.result() for f, h in running.items() if h.name not in failures}
        if failures:
            raise TeamError(failures, done)
        return done

    def _watch(
        self, running: Mapping[Future[T], RemoteHead], *, together: bool
    ) -> tuple[bool, set[Future[T]]]:
        """Wait for all; tell whether the operator wanted to stop, and which were halted."""
        halted: set[Future[T]] = set()
        stopped = failed = False
        left = set(running)
        while left:
            ended, left = wait(left, LOOK, FIRST_COMPLETED)
            stopped = stopped or self.stopping.asked
            failed = failed or (together and any(_error(each) is not None for each in ended))
            if (stopped or failed) and not halted:
                halted = set(left)
                for future in left:
                    if not future.cancel():
                        running[future].halt()
        return stopped, halted


def _error(future: Future[T]) -> BaseException | None:
    return HaltedError() if future.cancelled() else future.exception()
