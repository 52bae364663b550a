"""What packages of a set need of that set: its index read, and the way from one to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

INDEX = "Packages"
_FIELD = re.compile(r"^(Package|Version|Depends|Pre-Depends|Provides): *(.*)$", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")


@dataclass(frozen=True, slots=True)
class Offer:
    """A package of a set: its version, all that it may need, and what else it is."""

    version: str
    needs: frozenset[str]
    provides: frozenset[str]


@lru_cache(maxsize=8)
def offers(folder: Path) -> Mapping[str, Offer]:
    """Return the packages of a set by name; a store path never changes."""
    try:
        text = (folder / INDEX).read_text("utf-8")
    except FileNotFoundError:
        return {}
    found = (dict(_FIELD.findall(each)) for each in text.split("\n\n"))
    return {
        each["Package"]: _offer(each) for each in found if each.keys() >= {"Package", "Version"}
    }


def closure(names: Iterable[str], known: Mapping[str, Offer]) -> frozenset[str]:
    """Return the names and all that they may need, directly or not, as far as the set has it.

    Of several that would do all are counted: which one is there, the system knows.
    """
    providers: dict[str, set[str]] = {}
    for name, each in known.items():
        for other in each.provides:
            providers.setdefault(other, set()).add(name)
    seen: set[str] = set()
    left = [name for name in names if name in known]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += _next(known[name], known, providers)
    return frozenset(seen)


def _next(
    one: Offer, known: Mapping[str, Offer], providers: Mapping[str, set[str]]
) -> Iterator[str]:
    for name in one.needs:
        yield from providers.get(name, ())
        if name in known:
            yield name


def _offer(facts: Mapping[str, str]) -> Offer:
    needs = f"{facts.get('Depends', '')},{facts.get('Pre-Depends', '')}"
    return Offer(facts["Version"], _names(needs), _names(facts.get("Provides", "")))


def _names(text: str) -> frozenset[str]:
    """Return the names of a field's packages, whatever versions of them are asked for."""
    words = (each.strip() for each in re.split(r"[,|]", text))
    return frozenset(match[0] for each in words if (match := _NAME.match(each)))
