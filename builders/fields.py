"""Nodes of a document, and readers that turn a node into a plain value or say what is wrong.

A node knows its line and column, so each refusal names file, line, column, what was expected
and what was there. Reading YAML itself is for `builders.document`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_QUOTE = 60
_MOST_DIGITS = 20
_LONGEST_WORD = 80
_SHORTEST_START = 3
_SAID = {
    "null": "nothing",
    "bool": "the boolean {}",
    "int": "the number {}",
    "float": "the number {}",
    "str": "the text {}",
    "seq": "a list",
    "map": "a mapping",
}


class RecipeError(InputError):
    """A recipe or settings file that cannot be used; `where` is file:line:column."""

    slug = "bad-recipe"


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document and where it stands; line and column count from 1.

    `sort` is null, bool, int, float, str, seq or map. `text` is a scalar as it was written;
    `items` are a list's values; `entries` are a mapping's keys and values, in order. `key` is what
    it stands under, from the document's top on: `hosts.head1.port`, of a long one the end; values
    of a list have that of the list, and the document itself has none.
    """

    file: Path
    line: int
    column: int
    sort: str
    text: str = ""
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[Node, Node], ...] = ()
    key: str = ""

    @property
    def where(self) -> str:
        """The place as `file:line:column`."""
        return place(self.file, self.line, self.column)

    def __str__(self) -> str:
        said = self.text if len(self.text) <= _LONGEST_QUOTE else self.text[:_LONGEST_QUOTE] + "…"
        return _SAID[self.sort].format(repr(said) if self.sort == "str" else said)


def place(file: Path, line: int, column: int | None = None) -> str:
    """Spell a place in a file; files below the working directory are named relative to it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working directory was removed under us
        here = file
    name = file.relative_to(here) if file != here and file.is_relative_to(here) else file
    parts = [str(name), str(line)] + ([] if column is None else [str(column)])
    return ":".join(parts)


def fail(
    node: Node,
    reason: str,
    *,
    expected: str | None = None,
    got: str | None = None,
    hint: str | None = None,
) -> RecipeError:
    """Make the error that something is wrong at a node, to be raised."""
    return RecipeError(reason, where=node.where, expected=expected, got=got, hint=hint)


def wrong_type(node: Node, expected: str, hint: str | None = None) -> RecipeError:
    """Make the error that a value is of another type than its key asks for, to be raised."""
    return fail(node, f"wrong type{_of(node)}", expected=expected, got=str(node), hint=hint)


def _of(node: Node) -> str:
    """Name the key of a value in a message."""
    return f" of {node.key!r}" if node.key else ""


def mapping(node: Node, known: Collection[str] | None = None) -> dict[str, Node]:
    """Return a mapping's values by key; with `known`, any other key is refused.

    Raises:
        RecipeError: not a mapping, or an unknown key (with the nearest known one).
    """
    _want(node, "map", "a mapping")
    for key, _ in node.entries:
        if known is not None and key.text not in known:
            raise unknown(key, known, "key")
    return {key.text: value for key, value in node.entries}


def unknown(node: Node, known: Collection[str], what: str) -> RecipeError:
    """Make the error that a word is not one of the known ones, with the nearest as the hint."""
    return fail(
        node,
        f"unknown {what} {node.text!r}",
        expected="one of " + ", ".join(sorted(known)),
        hint=nearest(node.text, known),
    )


def nearest(word: str, known: Collection[str]) -> str | None:
    """Suggest the known word that is nearest to what was written, if one is near."""
    folded = {other.casefold(): other for other in sorted(known)}
    wanted = word.casefold()[:_LONGEST_WORD]
    begun = [
        other for other in folded if len(wanted) >= _SHORTEST_START and other.startswith(wanted)
    ]
    near = begun or difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return f"did you mean {folded[near[0]]!r}?" if near else None


def sequence(node: Node) -> tuple[Node, ...]:
    """Return a list's values."""
    _want(node, "seq", "a list")
    return node.items


def string(node: Node) -> str:
    """Return a text, which is not empty and has no control characters."""
    _want(node, "str", "text")
    return _printable(node)


def text(node: Node) -> str:
    """Return any scalar as it was written, so that `3.10` stays `3.10`."""
    if node.sort in ("null", "seq", "map"):
        raise wrong_type(node, "text")
    return _printable(node) if node.text else ""


def boolean(node: Node) -> bool:
    """Return true or false."""
    _want(node, "bool", "true or false")
    return node.text == "true"


def integer(node: Node, least: int, most: int) -> int:
    """Return a whole number between two bounds, both included."""
    expected = f"a whole number from {least} to {most}"
    _want(node, "int", expected)
    value = int(node.text) if len(node.text) <= _MOST_DIGITS else most + 1
    if not least <= value <= most:
        raise fail(node, f"number out of range{_of(node)}", expected=expected, got=str(node))
    return value


def number(node: Node, least: float, most: float) -> float:
    """Return a number between two bounds, both included."""
    expected = f"a number from {least:g} to {most:g}"
    if node.sort not in ("int", "float"):
        raise wrong_type(node, expected)
    value = float(node.text)
    if not least <= value <= most:
        raise fail(node, f"number out of range{_of(node)}", expected=expected, got=str(node))
    return value


def strings(node: Node, read: Callable[[Node], str] = string) -> tuple[str, ...]:
    """Return a list of texts, each read by `read`; the same one twice is refused."""
    seen: dict[str, Node] = {}
    for item in sequence(node):
        value = read(item)
        if value in seen:
            raise fail(item, f"{value!r} is listed twice", hint=f"first at {seen[value].where}")
        seen[value] = item
    return tuple(seen)


def _want(node: Node, sort: str, expected: str) -> None:
    if node.sort != sort:
        quote = expected == "text" and node.sort in ("bool", "int", "float")
        raise wrong_type(node, expected, f"write it in quotes: '{node.text}'" if quote else None)


def _printable(node: Node) -> str:
    if not node.text.strip():
        raise fail(node, "empty text", expected="text", got=repr(node.text))
    if _CONTROL.search(node.text):
        raise fail(
            node,
            "text with a control character or line break",
            got=repr(node.text[:_LONGEST_QUOTE]),
        )
    return node.text
