"""Types of a phase's parameters, as its recipe declares them.

Reading values of them is for `builders.phase_values`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from builders.fields import fail, mapping, number, sequence, string, text, unknown
from builders.recipe_words import missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builders.fields import Node

LARGEST = 2**53
"""Above it not every whole number is one of JSON's."""
SECRET_SORTS = ("password", "bytes")
WORD = re.compile(r"[A-Za-z0-9_*@%+:/.,=~|!^-]{1,255}\Z")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class Sort(Enum):
    """The types that a recipe may name."""

    NAME = "name"
    WORD = "word"
    TEXT = "text"
    PATH = "path"
    PORT = "port"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    SECONDS = "seconds"
    SIZE = "size"
    ADDRESS = "address"
    NETWORK = "network"
    LIST = "list"
    MAP = "map"
    RECORD = "record"
    HOSTS = "hosts"
    HOST = "host"
    SECRET = "secret"  # noqa: S105 - the name of a type
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Type:
    """What a value must be.

    `of` has the one type of all values of a list or map; `fields` are a record's; `among` are the
    words of a choice, of a secret its one sort; `least` and `most` bound a number.
    """

    sort: Sort
    of: tuple[Type, ...] = ()
    fields: tuple[Parameter, ...] = ()
    among: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        """Say it in a line: `list of port`, `integer from 1 to 9`, `rsync | mariabackup`."""
        fields = ", ".join(f"{each.name}: {each.type}" for each in self.fields)
        parts = [
            " | ".join(self.among) if self.sort is Sort.CHOICE else self.sort.value,
            f"of {{{fields}}}" if fields else "",
            *(f"of {each}" for each in self.of),
            f"of {self.among[0]}" if self.sort is Sort.SECRET else "",
            f"from {self.least:.12g}" if self.least is not None else "",
            f"to {self.most:.12g}" if self.most is not None else "",
        ]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; without `default` it must be given. One whose default is null may be null."""

    name: str
    type: Type
    default: Node | None = None
    help: str = ""


_MORE = ("of", "min", "max")
_TAKES: Mapping[Sort, tuple[str, ...]] = {
    **dict.fromkeys((Sort.LIST, Sort.MAP, Sort.RECORD, Sort.CHOICE, Sort.SECRET), ("of",)),
    **dict.fromkeys((Sort.INTEGER, Sort.NUMBER, Sort.SECONDS), ("min", "max")),
}


def declare(name: Node, node: Node) -> Parameter:
    """Read a parameter as a recipe declares it: a mapping, or the type alone.

    Raises:
        RecipeError: an unknown key or type, or what the type does not take.
    """
    keys = ("type", "default", "help", *_MORE)
    if node.sort == "str":
        return Parameter(name.text, _simple(node))
    values = mapping(node, keys)
    if "type" not in values:
        raise missing(node, "type")
    told = string(values["help"]) if "help" in values else ""
    return Parameter(name.text, _type(values["type"], values), values.get("default"), told)


def _type(node: Node, values: Mapping[str, Node]) -> Type:
    sort = _sort(node)
    for key in _MORE:
        if key in values and key not in _TAKES.get(sort, ()):
            raise fail(values[key], f"{key!r} says nothing of type {sort.value!r}")
    match sort:
        case Sort.LIST | Sort.MAP:
            return Type(sort, of=(_inner(_of(node, values)),))
        case Sort.RECORD:
            return Type(sort, fields=tuple(_fields(_of(node, values))))
        case Sort.CHOICE:
            return Type(sort, among=_words(_of(node, values)))
        case Sort.SECRET:
            return Type(sort, among=(_secret_sort(values.get("of")),))
        case _:
            least, most = (_bound(values.get(key)) for key in ("min", "max"))
            return Type(sort, least=least, most=most)


def _of(node: Node, values: Mapping[str, Node]) -> Node:
    if "of" not in values:
        raise fail(node, f"type {node.text!r} without `of`", hint="say what it is made of")
    return values["of"]


def _sort(node: Node) -> Sort:
    words = [each.value for each in Sort]
    if string(node) not in words:
        raise unknown(node, words, "type")
    return Sort(node.text)


def _inner(node: Node) -> Type:
    return _simple(node) if node.sort == "str" else declare(node, node).type


def _simple(node: Node) -> Type:
    return _type(node, {})


def _fields(node: Node) -> Iterator[Parameter]:
    mapping(node)
    for name, inner in node.entries:
        yield declare(parameter_name(name), inner)


def _words(node: Node) -> tuple[str, ...]:
    words = tuple(text(item) for item in sequence(node))
    if not words or not all(map(WORD.match, words)):
        raise fail(node, "a choice among no words", expected="a list of words")
    return words


def _secret_sort(node: Node | None) -> str:
    if node is None:
        return SECRET_SORTS[0]
    if string(node) not in SECRET_SORTS:
        raise unknown(node, SECRET_SORTS, "sort of secret")
    return node.text


def _bound(node: Node | None) -> float | None:
    return None if node is None else number(node, -float(LARGEST), float(LARGEST))


def parameter_name(node: Node) -> Node:
    """Check the name of a parameter, by which templates have it."""
    if _PARAMETER.match(text(node)) is None:
        expected = "lower-case letters, digits and _ after a letter"
        raise fail(node, f"{node.text!r} is no name of a parameter", expected=expected)
    return node
