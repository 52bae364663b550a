"""How far something long is: one line that is drawn again and again, on a terminal only.

Builds, of which many run at once, have a table instead: `sealift.build_view`.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from store.amounts import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OFTEN = 0.2
"""Seconds between two looks of the line."""


class Progress(Protocol):
    """How far something is, in bytes of files."""

    @property
    def done(self) -> int:
        """Return what is behind it."""

    @property
    def total(self) -> int:
        """Return what it will be in the end."""


@contextmanager
def drawn(done: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Give an observer that draws how much is `done`, which is a word like "received"."""
    last = 0.0
    dirty = False

    def observe(progress: Progress) -> None:
        nonlocal last, dirty
        now = time.monotonic()
        if quiet or not sys.stderr.isatty() or now - last < _OFTEN:
            return
        last, dirty = now, True
        line = f"{amount(progress.done)} of {amount(progress.total)} {done}"
        click.echo(f"\r{line:<60}", nl=False, err=True)

    try:
        yield observe
    finally:
        if dirty:
            click.echo(f"\r{'':<60}\r", nl=False, err=True)
