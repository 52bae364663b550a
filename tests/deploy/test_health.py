"""What is seen of a process that answers, and of one that died before anybody looked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy.health import Watch
from deploy.services import Phase, Process

if TYPE_CHECKING:
    from collections.abc import Mapping


class Seen:
    """A manager that shows one process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def processes(self) -> Mapping[str, Process]:
        return {self.process.name: self.process}


def _process(pid: int = 7, *, restarts: int = 0) -> Process:
    return Process("alpha", Phase.RUNNING, pid, time.time() - 0.1, restarts=restarts)


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


def test_one_that_died_between_two_checks_is_trouble() -> None:
    """Each of its lives may be long enough to answer in."""
    assert Watch(Seen(_process(restarts=1)), "alpha").trouble() is not None
