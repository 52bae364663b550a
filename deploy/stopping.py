"""How an operator stops a rollout: by Ctrl-C, by SIGTERM, or by a terminal that goes away.

A signal sets a flag, and whoever carries the rollout out looks at it: an exception that comes up
between any two instructions could leave a head without anybody who knows of it.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Stopping:
    """Whether the operator wants to stop; while he is asked something, a signal interrupts."""

    asked: bool = False
    _prompting: bool = field(default=False, repr=False)

    def forget(self) -> None:
        """Take note of it: what is done about it is not stopped by it again."""
        self.asked = False

    @contextmanager
    def prompting(self) -> Iterator[None]:
        """Let signals interrupt the block, which waits for an answer."""
        self._prompting = True
        try:
            yield
        finally:
            self._prompting = False

    def heard(self, _number: int, _frame: object) -> None:
        """Note a signal."""
        self.asked = True
        if self._prompting:
            raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[Stopping]:
    """Turn signals into a flag during the block.

    Other threads than the main one get no signals, and what was ignored before stays so: a
    command that was begun with nohup goes on without its terminal.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    mine = [each for each in SIGNALS if before[each] is not signal.SIG_IGN]
    for each in mine:
        signal.signal(each, stopping.heard)
    try:
        yield stopping
    finally:
        for each in mine:
            signal.signal(each, before[each])
