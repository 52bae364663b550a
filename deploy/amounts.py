"""What an operator hears of a push: how far it is, and what it moved in the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from store.amounts import amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.send import Progress, Sent


def watching(tell: Callable[[str], None]) -> Callable[[Progress], None]:
    """Return an observer of a push that speaks up once a second."""
    last = time.monotonic()

    def observe(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 1 and progress.total:
            last = now
            tell(f"{amount(progress.done)} of {amount(progress.total)} unpacked")

    return observe


def moved(sent: Sent) -> str:
    """Say what a push moved; nothing of one that had nothing to move."""
    if not sent.paths:
        return ""
    new = f"{len(sent.paths)} paths, of them {amount(sent.raw)} in files that it had not"
    return f"{new}: {amount(sent.wire)} packed, in {sent.seconds:.1f} s"
