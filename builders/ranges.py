"""Which versions an advisory means: those it lists, and its ranges, by OSV's own rules.

What cannot be compared counts as affected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.version import Version

from builders.ecosystems import order_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from builders.advisories import Affected, Range

_GIT = "GIT"
_EVERYTHING = "*"


class Fixes(NamedTuple):
    """The next version without a flaw in each range, and what is named as one but is none."""

    versions: tuple[str, ...]
    unclear: tuple[str, ...]


def is_affected(version: str, said: Affected) -> bool:
    """Tell whether a version is one that an advisory lists, or lies in one of its ranges.

    One that has neither is about the package, and so about all of its versions.
    """
    if not said.versions and not said.ranges:
        return True
    order = order_of(said.ecosystem)
    if any(_equal(version, each, order) for each in said.versions):
        return True
    return any(_in_range(version, each, order) for each in said.ranges if each.type != _GIT)


def commits_only(said: Affected) -> bool:
    """Tell whether an advisory has ranges, but none that versions can be compared with."""
    return (
        bool(said.ranges) and not said.versions and all(each.type == _GIT for each in said.ranges)
    )


def _in_range(version: str, said: Range, order: Callable[[str], Any]) -> bool:
    """Walk over the events by version, as the OSV schema's evaluation algorithm does."""
    limits = [bound for kind, bound in said.events if kind == "limit"]
    if limits and not any(
        bound == _EVERYTHING or not _reaches(version, bound, order, otherwise=False)
        for bound in limits
    ):
        return False
    affected = False
    for kind, bound in _sorted(said.events, order):
        match kind:
            case "introduced":
                affected = affected or _reaches(version, bound, order, otherwise=True)
            case "fixed":
                affected = affected and not _reaches(version, bound, order, otherwise=False)
            case "last_affected":
                affected = affected and not _passes(version, bound, order)
    return affected


def _sorted(
    events: Iterable[tuple[str, str]], order: Callable[[str], Any]
) -> list[tuple[str, str]]:
    """Sort events by version; as they stand if one of them has none."""
    listed = [event for event in events if event[0] != "limit"]
    try:
        # Zero is before everything, whatever the ecosystem would make of it.
        keys = {bound: order(bound) for _, bound in listed if bound != "0"}
    except ValueError:
        return listed
    first = [event for event in listed if event[1] == "0"]
    return first + sorted((e for e in listed if e[1] != "0"), key=lambda event: keys[event[1]])


def _reaches(version: str, bound: str, order: Callable[[str], Any], *, otherwise: bool) -> bool:
    if bound == "0":
        return True
    try:
        return bool(order(version) >= order(bound))
    except ValueError:
        return otherwise


def _passes(version: str, bound: str, order: Callable[[str], Any]) -> bool:
    try:
        one, other = order(version), order(bound)
        return bool(_plainly(one, other) > other)
    except ValueError:
        return False


def _equal(version: str, listed: str, order: Callable[[str], Any]) -> bool:
    if version == listed:
        return True
    try:
        one, other = order(version), order(listed)
    except ValueError:
        return False
    return bool(_plainly(one, other) == other)


def _plainly(one: Any, other: Any) -> Any:  # noqa: ANN401 - each ecosystem has its own
    """Leave out the local part (`1.0+cu118`) where the other has none: it is the same release."""
    if isinstance(one, Version) and one.local is not None and other.local is None:
        return Version(one.public)
    return one


def fixes(version: str, said: Affected) -> Fixes:
    """Give the nearest fix after a version in each range that has one."""
    order = order_of(said.ecosystem)
    found: list[str] = []
    unclear: list[str] = []
    for each in said.ranges:
        named = [bound for kind, bound in each.events if kind == "fixed" and each.type != _GIT]
        known = [bound for bound in named if _is_version(bound, order)]
        unclear += [bound for bound in named if bound not in known]
        later = [b for b in known if not _reaches(version, b, order, otherwise=False)]
        found += [min(later, key=order)] if later else []
    return Fixes(tuple(dict.fromkeys(found)), tuple(dict.fromkeys(unclear)))


def _is_version(text: str, order: Callable[[str], Any]) -> bool:
    try:
        order(text)
    except ValueError:
        return False
    return True
