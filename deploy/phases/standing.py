"""Where a head stands with the phases of a release, as far as its records tell.

A record says what was laid and whether that was verified; what has changed on the head since, only
a look at it tells (`deploy.phases.survey`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any

from deploy.phases.state import VERIFIED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.release import Release


class Standing(Enum):
    """What the record of one phase on one head says, next to what a release wants."""

    ABSENT = "not laid"
    LAID = "laid, not verified"
    BEHIND = "behind"
    VERIFIED = "verified"


def standing(record: Mapping[str, Any] | None, path: Path) -> Standing:
    """Say where a head stands; `path` is the configuration that is wanted."""
    if record is None:
        return Standing.ABSENT
    if record.get("path") != str(path):
        return Standing.BEHIND
    return Standing.VERIFIED if record.get("state") == VERIFIED else Standing.LAID


def standings(
    release: Release, head: str, records: Mapping[str, Mapping[str, Any]]
) -> dict[str, Standing]:
    """Say where a head stands with each phase of a release that it is a host of."""
    return {
        name: standing(records.get(name), phase.hosts[head])
        for name, phase in release.phases.items()
        if head in phase.hosts
    }


def behind(found: Mapping[str, Standing]) -> tuple[str, ...]:
    """Return the phases that a run has something to do for."""
    return tuple(name for name, each in found.items() if each is not Standing.VERIFIED)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the records in a folder of this head, by phase; what is none is passed over."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        with suppress(OSError, ValueError):
            record = json.loads(file.read_text("utf-8"))
            if isinstance(record, dict):
                found[file.stem] = record
    return found
