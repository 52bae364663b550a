"""Answers of many heads as clush -b shows them: equal ones once, under the set of their heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Mapping
    from typing import TypeVar

    T = TypeVar("T", bound=Hashable)

RULE = "-" * 15


def grouped(answers: Mapping[str, T]) -> list[tuple[tuple[str, ...], T]]:
    """Return each answer once, with the heads that gave it.

    Most heads come first; of equally many those of the earlier head.
    """
    heads: dict[T, list[str]] = {}
    for head, answer in answers.items():
        heads.setdefault(answer, []).append(head)
    ordered = sorted(heads.items(), key=lambda each: -len(each[1]))
    return [(tuple(names), answer) for answer, names in ordered]


def fold(answers: Mapping[str, T]) -> list[tuple[str, T]]:
    """Return each answer once, with the set of heads that gave it."""
    from deploy.node_sets import fold as spell

    return [(spell(heads), answer) for heads, answer in grouped(answers)]


def sheet(heads: Collection[str], text: str) -> Iterator[str]:
    """Yield lines: a heading for a set of heads, and below it what all of them say."""
    from deploy.node_sets import fold as spell

    yield RULE
    yield spell(heads) if len(heads) == 1 else f"{spell(heads)} ({len(heads)})"
    yield RULE
    yield from text.split("\n")


def sheets(answers: Mapping[str, str]) -> Iterator[str]:
    """Yield a sheet for each answer."""
    for heads, text in grouped(answers):
        yield from sheet(heads, text)


def line(answers: Mapping[str, str]) -> str:
    """Spell short answers on one line; what all say stands alone."""
    found = fold(answers)
    if len(found) == 1:
        return found[0][1]
    return "; ".join(f"{heads}: {answer}" for heads, answer in found)
