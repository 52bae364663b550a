"""How a build looks while it runs: live on a terminal, plain lines elsewhere, or JSON events.

Drawing only; `builders.realise` says what happens.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from builders.contents import QUIET
from builders.events import Event, EventKind
from builders.logs import quote
from store.amounts import megabytes

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

_SHOWN = 12
_STYLES = {EventKind.FAILED: "red", EventKind.CACHE_FAULT: "yellow"}


class Drawing(Protocol):
    """Something that draws events while its context is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def observe(self, event: Event) -> None:
        """Draw one event; called from any thread."""
        ...


def drawing(*, as_json: bool) -> Drawing:
    """Choose how to draw: JSON if asked for, live on a terminal, else lines."""
    if as_json:
        return JsonLines(sys.stdout)
    if sys.stderr.isatty():
        return Live()
    return Lines(sys.stderr)


class JsonLines:
    """Every event as one JSON record on a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def observe(self, event: Event) -> None:
        """Write one record."""
        self._out.write(json.dumps(event.to_json()) + "\n")


class Lines:
    """One plain line for each thing worth one; downloads are summed up."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tally.fetched:
            self._out.write(f"{self._tally.downloads()}\n")

    def observe(self, event: Event) -> None:
        """Write a line, if the event deserves one."""
        self._tally.count(event)
        line = _line(event)
        if line is not None:
            self._out.write(line + "\n")
            self._out.flush()


class Tally:
    """What has happened so far, in numbers, and what runs now."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0
        self.fetched = 0
        self.size = 0
        self.running: dict[str, float] = {}
        self.waiting: dict[str, str] = {}

    def count(self, event: Event) -> None:
        """Take one event into account."""
        match event.kind:
            case EventKind.PLANNED:
                self.total = event.total
            case EventKind.STARTED:
                self.waiting.pop(event.shown, None)
                self.running[event.shown] = time.monotonic()
            case EventKind.WAITING:
                self.waiting[event.shown] = event.detail
            case EventKind.FETCHED:
                self.fetched += 1
                self.size += event.size
                self._end(event)
            case (
                EventKind.FINISHED
                | EventKind.CACHED
                | EventKind.FAILED
                | EventKind.SKIPPED
                | EventKind.CHECKED
            ):
                self._end(event)

    def downloads(self) -> str:
        """Say what came over the network."""
        return f"fetched   {self.fetched} files, {megabytes(self.size)}"

    def _end(self, event: Event) -> None:
        self.done += 1
        self.running.pop(event.shown, None)
        self.waiting.pop(event.shown, None)


def _line(event: Event) -> str | None:
    if event.key.endswith(QUIET) and event.kind is not EventKind.FAILED:
        return None
    took = f"{event.seconds:6.1f} s"
    said = {
        EventKind.FINISHED: ("built", event.shown, took),
        EventKind.CHECKED: ("identical", event.shown, took),
        EventKind.TAKEN: (
            "taken",
            event.name,
            f"{event.total} paths, {megabytes(event.size)}",
        ),
        EventKind.CACHE_FAULT: ("no cache", event.name, quote(event.detail)),
        EventKind.FAILED: ("failed", event.shown, quote(event.detail)),
        EventKind.SKIPPED: ("skipped", event.shown, f"{event.detail} failed"),
    }.get(event.kind)
    return None if said is None else f"{said[0]:<9} {said[1]:<40} {said[2]}"


class Live:
    """A table that changes in place: what runs, for how long, and what waits for what."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(stderr=True, highlight=False)
        self._tally = Tally()
        self._began = time.monotonic()
        self._live = RichLive(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=8,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)
        if self._tally.fetched:
            self._console.print(self._tally.downloads())

    def observe(self, event: Event) -> None:
        """Take an event into the picture; builds that end leave a line behind."""
        self._tally.count(event)
        line = _line(event)
        if line is not None:
            self._console.print(line, style=_STYLES.get(event.kind, "green"), markup=False)

    def _draw(self) -> RenderableType:
        from rich.table import Table

        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        running = sorted(self._tally.running.items(), key=lambda item: item[1])
        for key, began in running[:_SHOWN]:
            table.add_row("[cyan]building[/cyan]", key, f"{now - began:.0f} s")
        for key, cause in list(self._tally.waiting.items())[: _SHOWN - len(running)]:
            table.add_row("[dim]waiting[/dim]", f"[dim]{key}[/dim]", f"[dim]for {cause}[/dim]")
        done = f"{self._tally.done} of {self._tally.total} steps"
        state = f"{done}, {self._tally.downloads()}"
        table.add_row("[bold]sealift[/bold]", state, f"{now - self._began:.0f} s")
        return table
