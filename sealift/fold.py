"""Answers of many heads as clush -b shows them: equal ones once, under the set of their heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from typing import TypeVar

    T = TypeVar("T", bound=Hashable)

RULE = "-" * 15


def fold(answers: Mapping[str, T]) -> list[tuple[str, int, T]]:
    """Return each answer once, with the set of heads that gave it and their number.

    The largest set comes first; of equal ones that of the earlier head.
    """
    from deploy.node_sets import fold as spell

    heads: dict[T, list[str]] = {}
    for head, answer in answers.items():
        heads.setdefault(answer, []).append(head)
    ordered = sorted(heads.items(), key=lambda each: -len(each[1]))
    return [(spell(names), len(names), answer) for answer, names in ordered]


def sheets(answers: Mapping[str, str]) -> Iterator[str]:
    """Yield lines: a heading for each set of heads, and below it what all of them say."""
    for heads, count, answer in fold(answers):
        yield RULE
        yield heads if count == 1 else f"{heads} ({count})"
        yield RULE
        yield from answer.split("\n")


def line(answers: Mapping[str, str]) -> str:
    """Spell short answers on one line; what all say stands alone."""
    found = fold(answers)
    if len(found) == 1:
        return found[0][2]
    return "; ".join(f"{heads}: {answer}" for heads, _, answer in found)
