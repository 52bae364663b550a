"""The same thing tried over and over while something happens to the heads: what failed, how long.

Each attempt is a program of its own with a connection of its own, as clients' are that come anew.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: when it began (`time.monotonic`), its seconds, and what it failed with."""

    began: float
    seconds: float
    fault: str

    @property
    def ended(self) -> float:
        """When it was over."""
        return self.began + self.seconds


@dataclass(slots=True)
class Attempts:
    """What was tried so far."""

    all: list[Attempt] = field(default_factory=list)

    @property
    def failed(self) -> list[Attempt]:
        """Those that failed."""
        return [each for each in self.all if each.fault]

    @property
    def longest(self) -> float:
        """The seconds of the slowest attempt."""
        return max((each.seconds for each in self.all), default=0.0)

    def done_after(self, moment: float) -> float | None:
        """Return the seconds from a moment to the end of the first success that began after it."""
        good = (each.ended - moment for each in self.all if not each.fault and each.began > moment)
        return next(good, None)


@contextmanager
def attempts(each: Callable[[int], object], pause: float = 0.05) -> Iterator[Attempts]:
    """Do something over and over, with its number, from a thread; a LabError is a failure.

    It is tried once at least. `pause` is in seconds.
    """
    found = Attempts()
    stop = threading.Event()

    def work() -> None:
        while True:
            found.all.append(attempt(each, len(found.all)))
            if stop.wait(pause):
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def attempt(each: Callable[[int], object], number: int) -> Attempt:
    """Do it once."""
    began = time.monotonic()
    fault = ""
    try:
        each(number)
    except LabError as error:
        fault = str(error)
    return Attempt(began, time.monotonic() - began, fault)


def until_not(what: str, why: Callable[[], str], seconds: float = 60.0) -> float:
    """Wait until something has no reason any more not to be so; give the seconds that it took.

    A LabError is a reason.

    Raises:
        AssertionError: it has one for too long; with the last.
    """
    began = time.monotonic()
    while True:
        try:
            said = why()
        except LabError as error:
            said = str(error)
        if not said:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:g} s: {said}"
        time.sleep(0.1)


def until(what: str, ready: Callable[[], object], seconds: float = 60.0) -> float:
    """Wait until something returns what counts as true; give the seconds that it took.

    Raises:
        AssertionError: it does not in time; with the last LabError.
    """
    return until_not(what, lambda: "" if ready() else "not yet", seconds)
