"""The fast way out of `sealift build`: all that was asked for is as an earlier run left it.

Loads no parser of command lines, which would take longer than looking at every source. Whatever
has an option, or is not as it was, is left to the command itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sealift.evaluation import recall
from sealift.site import Location

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALL = "all"
NOTHING = "nothing to do"


def answer(words: Sequence[str]) -> bool:
    """Show the outputs if the words after `build` are plain names, and nothing has to be done."""
    names = words[1:]
    if not names or any(name.startswith("-") for name in names):
        return False
    place = Location()
    if place.head_store is not None:
        return False
    wanted = asked(names)
    with place.open() as site:
        known = recall(site, wanted)
    if known is None:
        return False
    show(known, wanted, note=NOTHING)
    return True


def asked(names: Sequence[str]) -> tuple[str, ...]:
    """Return the recipes that are asked for; none stands for all of them."""
    return () if ALL in names else tuple(names)


def show(paths: Mapping[str, str], wanted: Sequence[str], *, note: str) -> None:
    """Show outputs; on a terminal only those that were asked for by name."""
    if wanted or not sys.stdout.isatty():
        sys.stdout.write("".join(f"{path}\n" for path in paths.values()))
        sys.stdout.flush()
    sys.stderr.write(f"{note}\n")
