"""How the way from one generation to another looks: as a record, and as lines drawn from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deploy.bill import Change
    from deploy.diff import Diff, Parts
    from deploy.phases.difference import PhaseChange


def record(found: Diff) -> dict[str, Any]:
    """Give it as one JSON record."""
    return {
        "services": [{"name": n, "change": c} for c, n in _changes(found.services)],
        "frontends": [{"name": n, "change": c} for c, n in _changes(found.frontends)],
        "packages": [
            {"name": p.name, **_sides(p.before, p.after), "delta": p.delta} for p in found.packages
        ],
        "inside": None if found.inside is None else [_inside(each) for each in found.inside],
        "phases": [phase_record(each) for each in found.phases],
        "size_before": found.size_before,
        "size_after": found.size_after,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield it as an operator reads it.

    Packages are told by ecosystem, and as store paths where a release has no such list.
    """
    for label in ("service", "frontend"):
        for each in found[f"{label}s"]:
            yield f"{label:<9} {each['change']:<8} {each['name']}"
    if found["inside"] is None:
        for each in found["packages"]:
            yield f"package   {each['name']}: {_moved(each)} ({each['delta']:+,} bytes)"
    for each in found["inside"] or ():
        alone = list(each["members"]) == [each["name"]]
        members = "" if alone else f"  ({', '.join(each['members'])})"
        yield f"{each['ecosystem']:<9} {each['name']}: {_moved(each)}{members}"
    yield from _phases(found)
    delta = found["size_after"] - found["size_before"]
    yield f"closure   {found['size_after']:,} bytes ({delta:+,})"


def phase_record(each: PhaseChange) -> dict[str, Any]:
    """Give how a phase differs as JSON."""
    return {
        "phase": each.phase,
        "change": each.change,
        "files": [asdict(file) | {"diff": file.diff.splitlines()} for file in each.files],
        "packages": _pairs(each.packages),
        "parameters": _pairs(each.parameters),
    }


def _pairs(found: Mapping[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "before": was, "after": now} for name, (was, now) in found.items()]


def _phases(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs of phases, with the text of files; heads of old tell nothing of them."""
    for each in found.get("phases", ()):
        yield f"phase     {each['change']:<8} {each['phase']}"
        for one in each["packages"]:
            yield f"  package {one['name']}: {one['before'] or '-'} → {one['after'] or '-'}"
        for one in each["parameters"]:
            before, after = (json.dumps(one[side]) for side in ("before", "after"))
            yield f"  setting {one['name']}: {before} → {after}"
        for file in each["files"]:
            yield f"  file    {file['change']:<8} {file['path']}"
            yield from (f"    {text}" for text in file["diff"])


def _changes(parts: Parts) -> list[tuple[str, str]]:
    rows = [("added", parts.added), ("removed", parts.removed), ("changed", parts.changed)]
    return [(change, name) for change, found in rows for name in found]


def _inside(change: Change) -> dict[str, Any]:
    return asdict(change) | _sides(change.before, change.after)


def _sides(before: tuple[str, ...], after: tuple[str, ...]) -> dict[str, list[str] | None]:
    """Give the versions of each side: null where it is not there, none where it has none."""
    sides = {"before": before, "after": after}
    return {side: [v for v in found if v] if found else None for side, found in sides.items()}


def _moved(each: Mapping[str, Any]) -> str:
    """Say how versions moved; equal ones mean other bytes."""
    old, new = each["before"], each["after"]
    before, after = (", ".join(side or ()) for side in (old, new))
    if old is None:
        change = f"added {after}"
    elif new is None:
        change = f"removed {before}"
    else:
        change = f"{before} → {after}" if before != after else f"{before} rebuilt"
    return change.strip()
