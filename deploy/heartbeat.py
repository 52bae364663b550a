"""Signs of life to all heads at once: a head that hears none for its deadline goes back."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deploy.remote import RemoteHead

HEARTBEAT = 5.0
"""Seconds between signs of life to every head, unless the deadline is short."""


@contextmanager
def beating(heads: Sequence[RemoteHead], deadline: float) -> Iterator[None]:
    """Tell all heads again and again during the block that somebody is there.

    `deadline` is in seconds.
    """

    def beat() -> None:
        for head in heads:
            if head.session is not None:
                head.session.alive()

    with repeating(beat, deadline):
        yield


@contextmanager
def repeating(beat: Callable[[], None], deadline: float) -> Iterator[None]:
    """Call again and again during the block, more often than every `deadline` seconds."""
    done = threading.Event()
    pause = min(HEARTBEAT, deadline / 4)

    def go_on() -> None:
        while not done.wait(pause):
            beat()

    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
