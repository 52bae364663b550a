"""Semantic versions, and their ranges as npm reads them: enough for `engines` and for advisories.

Of ranges only releases are asked about, never prereleases, so npm's special rules for those fall
away.
"""

from __future__ import annotations

import re
from typing import TypeAlias

_Order: TypeAlias = tuple[int, int, int, int]
Precedence: TypeAlias = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]
_Test: TypeAlias = tuple[str, _Order]

_PARTIAL = r"[v=\s]*(\d+|[xX*])(?:\.(\d+|[xX*])(?:\.(\d+|[xX*])(?:-([0-9A-Za-z.-]+))?(?:\+\S+)?)?)?"
_COMPARATOR = re.compile(rf"\s*(\^|~>?|>=|<=|>|<|=|)\s*{_PARTIAL}(?=\s|$)")
_HYPHEN = re.compile(rf"\s*{_PARTIAL}\s+-\s+{_PARTIAL}\s*")
_VERSION = re.compile(
    r"[v=]*(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_FIELDS = 4
_NUMBERS = 3


def satisfies(version: str, text: str) -> bool:
    """Say whether a release lies in a range; an unreadable range holds nothing, as for npm."""
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return False
    order = (int(found[1]), int(found[2]), int(found[3]), 1)
    return any(_alternative(order, part) for part in text.split("||"))


def precedence(version: str) -> Precedence:
    """Give a key by which versions are ordered: Semantic Versioning 2.0, section 11.

    Missing numbers count as 0, as advisories write them.

    Raises:
        ValueError: it is no version.
    """
    found = _VERSION.fullmatch(version.strip())
    if found is None:
        raise ValueError(f"version {version!r}")
    numbers = (int(found[1]), int(found[2] or 0), int(found[3] or 0))
    words = tuple(map(_identifier, found[4].split("."))) if found[4] else ()
    return (*numbers, 0 if words else 1, words)


def _identifier(word: str) -> tuple[int, int, str]:
    return (0, int(word), "") if word.isdigit() else (1, 0, word)


def _alternative(order: _Order, text: str) -> bool:
    tests = _tests(text)
    return tests is not None and all(_holds(order, test) for test in tests)


def _tests(text: str) -> list[_Test] | None:
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen is not None:
        first, last = hyphen.groups()[:_FIELDS], hyphen.groups()[_FIELDS:]
        return [*_comparator(">=", first), *_comparator("<=", last)]
    tests: list[_Test] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _COMPARATOR.match(text, position)
        if found is None:
            return None
        tests += _comparator(found[1], found.groups()[1:])
        position = found.end()
    return tests


def _comparator(operator: str, fields: tuple[str | None, ...]) -> list[_Test]:
    numbers = [int(field) for field in _leading(fields[:_NUMBERS])]
    low = _floor(numbers, prerelease=fields[_NUMBERS] is not None)
    match operator:
        case "^":
            return _between(low, _caret(numbers))
        case "~" | "~>":
            return _between(low, _next(numbers[:2]))
        case ">" | "<=" if len(numbers) < _NUMBERS:
            return _past(operator, numbers)
        case ">=" | ">" | "<" | "<=":
            return [(operator, low)]
        case _:
            return _between(low, _next(numbers)) if len(numbers) < _NUMBERS else [("=", low)]


def _past(operator: str, numbers: list[int]) -> list[_Test]:
    """Read `>1.2`, which is past all of 1.2, and `<=1.2`, which holds all of it."""
    top = _next(numbers)
    if top is not None:
        return [(">=" if operator == ">" else "<", top)]
    return [] if operator == "<=" else [("<", _floor([], prerelease=False))]


def _leading(fields: tuple[str | None, ...]) -> list[str]:
    """Give the numbers before the first wildcard or missing field."""
    numbers: list[str] = []
    for field in fields:
        if field is None or not field.isdigit():
            break
        numbers.append(field)
    return numbers


def _floor(numbers: list[int], *, prerelease: bool) -> _Order:
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return (major, minor, patch, 0 if prerelease else 1)


def _next(numbers: list[int]) -> _Order | None:
    """Give the first version after all that begin with these numbers; None if they are none."""
    if not numbers:
        return None
    raised = [*numbers[:-1], numbers[-1] + 1]
    return _floor(raised, prerelease=True)


def _caret(numbers: list[int]) -> _Order | None:
    for place, number in enumerate(numbers):
        if number or place == len(numbers) - 1:
            return _next(numbers[: place + 1])
    return None


def _between(low: _Order, high: _Order | None) -> list[_Test]:
    return [(">=", low)] if high is None else [(">=", low), ("<", high)]


def _holds(order: _Order, test: _Test) -> bool:
    operator, bound = test
    match operator:
        case ">=":
            return order >= bound
        case ">":
            return order > bound
        case "<":
            return order < bound
        case "<=":
            return order <= bound
        case _:
            return order == bound
