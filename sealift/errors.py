"""How an error looks: one sentence, then its facts, each on a line of its own."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from builders.logs import plain, quote

if TYPE_CHECKING:
    from store.errors import Error

_FACTS = (("at", "where"), ("expected", "expected"), ("got", "got"), ("hint", "hint"))


def text(error: Error) -> str:
    """Spell an error as an operator reads it.

    `lines` and `log`, where an error carries them, end a log and come before the facts. Nothing
    that others wrote reaches the terminal as it is.
    """
    rows = [f"error: {_shown(error.reason)}  [{plain(error.slug)}]"]
    said = (*getattr(error, "lines", ()), *getattr(error, "log", ()))
    rows += [f"  | {quote(line)}" for line in said]
    for label, name in _FACTS:
        fact = getattr(error, name)
        if fact is not None:
            rows.append(f"  {label:<9} {_shown(fact)}")
    return "\n".join(rows)


def _shown(fact: str) -> str:
    # Lines after the first stand below its beginning, and so are no facts of their own.
    return f"\n{' ' * 12}".join(plain(line) for line in str(fact).split("\n"))


def record(error: Error) -> dict[str, Any]:
    """Give an error as one JSON record."""
    facts = {name: getattr(error, name) for _, name in _FACTS}
    return {"error": error.slug, "reason": error.reason} | {n: f for n, f in facts.items() if f}


def report(error: Error) -> None:
    """Say it on stderr; with `--json`, as one record on stdout."""
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(record(error)) + "\n")
        return
    sys.stderr.write(text(error) + "\n")
