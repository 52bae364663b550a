"""Generations of a head, and the one link that says which of them is current.

`system-N-link → /…/store/<hash>-release` names generation N; `system → system-N-link` is swapped by
one rename(2), so every reader finds the old release or the new one and never nothing. Whoever
changes something here holds the head's lock.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from deploy import durable
from deploy.errors import NoGenerationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from deploy.layout import Layout


class Status(Enum):
    """What became of a generation."""

    PENDING = "pending"
    GOOD = "good"
    FAILED = "failed"
    CUT = "interrupted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class Generation:
    """One release that was put on the head, under a number that is never used again."""

    number: int
    path: Path
    created: float
    status: Status
    by: str
    current: bool = False
    before: int | None = None
    """The generation that ran when this one was deployed."""


class Profile:
    """The generations of one head."""

    def __init__(self, layout: Layout) -> None:
        self._link = layout.profile
        self._before = layout.profile_before
        self._records = layout.records_dir
        self._about_units = layout.unit_record
        self._pattern = re.compile(rf"{re.escape(layout.profile.name)}-([1-9]\d*)-link")

    def current(self) -> int | None:
        """Return the number of the current generation, if there is one."""
        try:
            return self._number(str(self._link.readlink()))
        except FileNotFoundError:
            return None

    def generations(self) -> tuple[Generation, ...]:
        """Return what the head has, oldest first."""
        current = self.current()
        found = [
            self._read(number, current=number == current)
            for each in self._link.parent.iterdir()
            if (number := self._number(each.name)) is not None
        ]
        return tuple(sorted(found))

    def get(self, number: int) -> Generation:
        """Return one generation.

        Raises:
            NoGenerationError: the head has no such number.
        """
        if not self._name(number).is_symlink():
            have = ", ".join(str(each.number) for each in self.generations())
            raise NoGenerationError(
                f"there is no generation {number}", got=f"there are: {have}", hint="sealift history"
            )
        return self._read(number, current=number == self.current())

    def before(self, number: int | None) -> Generation | None:
        """Return the healthy generation that ran before `number`.

        That is the one which `number` replaced; where it is gone or was never healthy, the newest
        older one. With no `number`, the newest of all.
        """
        return before(self.generations(), number)

    def next_number(self) -> int:
        """Return a number that no generation had, be its link still there or not."""
        used = [each.number for each in self.generations()]
        used += [int(each.stem) for each in self._records.glob("[1-9]*.json")]
        return max(used, default=0) + 1

    def add(self, number: int, path: Path, by: str, *, before: int | None = None) -> None:
        """Make generation `number`; from now on its release is safe from the collector."""
        durable.link(self._name(number), str(path))
        made = Generation(number, path, time.time(), Status.PENDING, by, before=before)
        self._write(made)

    def mark(self, number: int, status: Status) -> None:
        """Record what became of a generation."""
        self._write(replace(self._read(number, current=False), status=status))

    def remove(self, number: int) -> None:
        """Forget a generation that is not current, and its units; its number stays used."""
        durable.remove(self._name(number))
        self._about_units(number).unlink(missing_ok=True)

    def switch(self, number: int | None) -> None:
        """Make a generation current, or none; atomic and durable.

        The one that was current stays known as the one before: who loaded a page of it still asks
        for its files.
        """
        current = self.current()
        if current is not None and current != number:
            durable.link(self._before, self._name(current).name)
        if number is None:
            durable.remove(self._link)
        else:
            durable.link(self._link, self._name(number).name)

    def left(self) -> int | None:
        """Return the generation that was current before the last switch, if it is known."""
        try:
            return self._number(str(self._before.readlink()))
        except FileNotFoundError:
            return None

    def sweep(self) -> None:
        """Remove what killed writers left."""
        durable.sweep(self._link.parent)
        durable.sweep(self._records)

    def _name(self, number: int) -> Path:
        return self._link.with_name(f"{self._link.name}-{number}-link")

    def _number(self, name: str) -> int | None:
        match = self._pattern.fullmatch(name)
        return int(match[1]) if match else None

    def _record(self, number: int) -> Path:
        return self._records / f"{number}.json"

    def _read(self, number: int, *, current: bool) -> Generation:
        link = self._name(number)
        path = link.readlink()
        plain = Generation(number, path, link.lstat().st_mtime, Status.UNKNOWN, "", current)
        with suppress(OSError, ValueError, KeyError):
            record = json.loads(self._record(number).read_text("utf-8"))
            return told(plain, record)
        return plain

    def _write(self, generation: Generation) -> None:
        record = {
            "number": generation.number,
            "path": str(generation.path),
            "created": generation.created,
            "status": generation.status.value,
            "by": generation.by,
            "before": generation.before,
        }
        data = json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"
        durable.write(self._record(generation.number), data)


def before(generations: Iterable[Generation], number: int | None) -> Generation | None:
    """Return the one of `generations` that `Profile.before` means. Pure."""
    every = {each.number: each for each in generations}
    good = {each.number: each for each in every.values() if each.status is Status.GOOD}
    replaced = every[number].before if number in every else None
    if replaced in good:
        return good[replaced]
    older = [each for each in good if number is None or each < number]
    return good[max(older)] if older else None


def told(plain: Generation, record: Mapping[str, Any]) -> Generation:
    """Return a generation with what its record says of it.

    Raises:
        KeyError: the record does not say it all.
        ValueError: it says what this version does not know.
    """
    return replace(
        plain,
        created=record["created"],
        status=Status(record["status"]),
        by=record["by"],
        before=record["before"],
    )
