"""What is seen of a process that answers, and of one that died before anybody looked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from deploy.health import FRESH, Watch
from deploy.services import Phase, Process

if TYPE_CHECKING:
    from collections.abc import Mapping


class Seen:
    """A manager that shows one process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def processes(self) -> Mapping[str, Process]:
        return {self.process.name: self.process}


def _process(pid: int | None = 7, *, age: float = 0.1, restarts: int = 0) -> Process:
    return Process("alpha", Phase.RUNNING, pid, time.time() - age, restarts=restarts)


def test_a_process_that_goes_on_is_no_trouble() -> None:
    watch = Watch(Seen(_process()), "alpha")
    assert watch.trouble() is None
    assert watch.trouble() is None


def test_another_process_is_trouble() -> None:
    manager = Seen(_process())
    watch = Watch(manager, "alpha")
    assert watch.trouble() is None
    manager.process = _process(8)
    assert watch.trouble() == "the process died and was started again"


def test_one_that_died_before_the_first_look_is_trouble() -> None:
    """As often as a service is started again: each of its lives may be long enough to answer in."""
    assert Watch(Seen(_process(restarts=1)), "alpha").trouble() is not None


@pytest.mark.parametrize(
    "process", [_process(age=FRESH + 1, restarts=3), _process(None, restarts=1)]
)
def test_what_died_long_ago_or_has_not_begun_again_is_no_relapse(process: Process) -> None:
    assert Watch(Seen(process), "alpha").trouble() is None
