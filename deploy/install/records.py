"""What a head writes down of phases: what became of each, and what was there before any.

Each file is replaced whole. `begun.json` has the configurations, by phase, of which something may
be here and that were not laid to the end yet. `packages.json` has the packages that phases brought,
with the phase that did; `installing.json` those that apt is at; `units.json` how units were before
the first phase that cares about them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deploy import durable
from deploy.install.copying import make_folders
from deploy.phases.state import Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.install.machine import Machine

BEGUN, PACKAGES, INSTALLING = "begun.json", "packages.json", "installing.json"
UNITS, MASKED, FOLDERS = "units.json", "masked.json", "folders.json"
_NO_PHASES = (BEGUN, PACKAGES, INSTALLING, UNITS, MASKED, FOLDERS)


def load(machine: Machine, phase: str) -> Record | None:
    """Return what is written of a phase; None if nothing is, or nothing that can be read."""
    record = _read(machine.record(phase))
    with suppress(TypeError, KeyError):
        return Record(**{**record, "installed": tuple(record["installed"])})
    return None


def write(machine: Machine, phase: str, record: Record) -> None:
    """Write down what became of a phase."""
    _write(machine.record(phase), asdict(record))


def remove(machine: Machine, phase: str) -> None:
    """Forget a phase."""
    durable.remove(machine.record(phase))


def phases(machine: Machine) -> tuple[str, ...]:
    """Return the phases that something is written of, or whose configuration is laid, sorted."""
    written = [each.stem for each in machine.home.glob("*.json") if each.name not in _NO_PHASES]
    start = machine.profile("").name
    links = machine.layout.profiles_dir.glob(f"{start}*")
    laid = [each.name.removeprefix(start) for each in links]
    return tuple(sorted({*written, *(each for each in laid if not each.endswith("-before"))}))


def noted(machine: Machine, name: str) -> dict[str, Any]:
    """Return what one of the files by name says; nothing if it is not there."""
    return _read(machine.home / name)


def note(machine: Machine, name: str, facts: Mapping[str, Any]) -> None:
    """Replace what one of the files by name says; one that says nothing is removed."""
    if facts:
        _write(machine.home / name, facts)
    else:
        durable.remove(machine.home / name)


def _read(file: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError, ValueError):
        found = json.loads(file.read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _write(file: Path, facts: Mapping[str, Any]) -> None:
    make_folders(file.parent)
    durable.write(file, json.dumps(facts, indent=2, sort_keys=True).encode() + b"\n")
