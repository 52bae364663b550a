"""Which phases an operator means by `0-4`, `2`, `storage,redis` or `all`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from deploy.phases.errors import NoPhasesError, NoSuchPhaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ALL = "all"
UNUSED = frozenset({7})
"""Numbers that phases have and that stand for nothing, so that those after it need no others."""
LAST = 7
_RANGE = re.compile(r"(\d{1,2})-(\d{1,2})\Z")
_NUMBER = re.compile(r"\d{1,2}\Z")


@dataclass(frozen=True, slots=True)
class Selection:
    """Phases by name, in the order of their numbers; `unused` are numbers that were meant too."""

    names: tuple[str, ...]
    unused: tuple[int, ...] = ()


def select(
    text: str,
    known: Mapping[str, int],
    *,
    begin: str | None = None,
    skip: Sequence[str] = (),
) -> Selection:
    """Return the phases that `text` means, from `begin` on and without those in `skip`.

    `known` are the numbers of the phases that there are, by name.

    Raises:
        NoPhasesError: there are none at all.
        NoSuchPhaseError: it names one that there is none of, or cannot be read.
    """
    if not known:
        raise NoPhasesError(
            "the release brings no phases",
            hint="say `cluster: {hosts: head[1-3]}` in sealift.yaml, and sealift build",
        )
    wanted = _numbers(text, known)
    first = 0 if begin is None else min(_numbers(begin, known))
    left_out = {number for each in skip for number in _numbers(each, known)}
    numbers = sorted(each for each in wanted if each >= first and each not in left_out)
    names = {number: name for name, number in known.items()}
    return Selection(
        tuple(names[each] for each in numbers if each in names),
        tuple(each for each in numbers if each not in names),
    )


def spelled(names: Iterable[str], known: Mapping[str, int]) -> str:
    """Return the shortest text that `select` reads as these phases."""
    numbers = sorted(known[each] for each in names)
    every = sorted(known.values())
    start, end = every.index(numbers[0]), every.index(numbers[-1])
    if len(numbers) > 1 and every[start : end + 1] == numbers:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))


def _numbers(text: str, known: Mapping[str, int]) -> set[int]:
    """Return the numbers that a text means; of unused ones those that are named."""
    found: set[int] = set()
    for word in text.split(","):
        found |= _word(word.strip(), known)
    return found


def _word(word: str, known: Mapping[str, int]) -> set[int]:
    if word == ALL:
        return set(known.values())
    if word in known:
        return {known[word]}
    if match := _RANGE.match(word):
        return _range(int(match[1]), int(match[2]), known, word)
    if _NUMBER.match(word) and (int(word) in UNUSED or int(word) in known.values()):
        return {int(word)}
    raise _unknown(word, known)


def _range(first: int, last: int, known: Mapping[str, int], word: str) -> set[int]:
    """Return what there is from one number to another, both of which phases may have."""
    here = {*known.values(), *UNUSED}
    if last < first:
        raise _unknown(word, known, f"did you mean {last}-{first}?")
    found = {each for each in here if first <= each <= last}
    if not found or last > max(LAST, *known.values()):
        raise _unknown(word, known)
    return found


def _unknown(word: str, known: Mapping[str, int], said: str = "") -> NoSuchPhaseError:
    have = ", ".join(f"{number} {name}" for name, number in known.items())
    near = get_close_matches(word, [*known, ALL], 1)
    hint = said or (f"did you mean {near[0]!r}?" if near else "sealift phase list")
    reason = f"the release brings no phase {word!r}"
    return NoSuchPhaseError(reason, got=f"there are: {have}", hint=hint)
