"""The YAML door: a file becomes a tree of nodes that know their line and column.

YAML as sites write it, minus its traps: plain scalars mean what YAML 1.2 says (`off` and `yes`
are text) and a number with leading zeros stays text; tags, merge keys and duplicate keys are
refused, and what an alias stands for is counted. What keys a file may have, and what their
values mean, is for those who read it with `builders.fields`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from builders.fields import Node, RecipeError, fail, place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_FILE = 1 << 20
MOST_NODES = 20_000
DEEPEST = 32
LONGEST_KEY = 80
"""Characters that are kept of what a value stands under; all of it could be much, many times."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS = {"": "null", "~": "null", "null": "null", "true": "bool", "false": "bool"}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Event: TypeAlias = Any  # libyaml's events have no common base with the fields that we read


def load(file: Path) -> Node:
    """Read a file that holds one YAML document.

    Raises:
        RecipeError: it cannot be read, is too large or is not YAML that we take.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as fault:
        reason = f"{file.name!r} cannot be read: {fault.strerror}"
        raise RecipeError(reason, where=str(file)) from fault
    return parse(content, file)


def parse(content: bytes, file: Path) -> Node:
    """Parse one YAML document; `file` is for messages.

    Raises:
        RecipeError: see `load`.
    """
    if len(content) > LARGEST_FILE:
        raise RecipeError(
            "the file is too large", where=str(file), expected=f"at most {LARGEST_FILE} bytes"
        )
    try:
        return _Composer(file, yaml.parse(content, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as fault:
        raise _syntax_error(fault, file) from fault
    except yaml.reader.ReaderError as fault:
        raise _reader_error(fault, content, file) from fault


def _reader_error(fault: yaml.reader.ReaderError, content: bytes, file: Path) -> RecipeError:
    before = content[: fault.position]
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    return RecipeError(
        f"not UTF-8 text: {fault.reason}",
        where=place(file, before.count(b"\n") + 1, column),
        hint="save the file as UTF-8",
    )


def _syntax_error(fault: yaml.MarkedYAMLError, file: Path) -> RecipeError:
    mark = fault.problem_mark or fault.context_mark
    where = str(file) if mark is None else place(file, mark.line + 1, mark.column + 1)
    problem = fault.problem or "it cannot be parsed"
    tab = "cannot start any token" in problem
    return RecipeError(
        f"not YAML: {problem}" + (f", {fault.context}" if fault.context else ""),
        where=where,
        hint="indent with spaces, not tabs; put text with special characters in quotes"
        if tab
        else None,
    )


class _Composer:
    """Turns one document's events into nodes, once."""

    def __init__(self, file: Path, events: Iterator[_Event]) -> None:
        self._file = file
        self._events = events
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._refuse(event, "a second document", "one file per recipe")
                root = self._value(next(self._events), 0, "")
        if root is None:
            raise RecipeError("the file is empty", where=place(self._file, 1, 1))
        return root

    def _value(self, event: _Event, depth: int, key: str) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            raise self._refuse(event, f"a YAML tag ({event.tag})", "write the plain value")
        if depth > DEEPEST:
            raise self._refuse(event, f"nesting deeper than {DEEPEST}", None)
        before = self._count
        self._add(event, 1)
        node = self._plain(event, depth, key)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _plain(self, event: _Event, depth: int, key: str) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            sort = _resolve(event.value) if event.implicit[0] else "str"
            return Node(self._file, line, column, sort, text=event.value, key=key)
        if isinstance(event, yaml.SequenceStartEvent):
            items = tuple(self._items(depth, key))
            return Node(self._file, line, column, "seq", items=items, key=key)
        entries = tuple(self._entries(depth, key))
        return Node(self._file, line, column, "map", entries=entries, key=key)

    def _items(self, depth: int, key: str) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._value(event, depth + 1, key)

    def _entries(self, depth: int, above: str) -> Iterator[tuple[Node, Node]]:
        seen: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, depth + 1, above)
            if key.sort in ("seq", "map", "null"):
                raise fail(key, "a key must be text", got=str(key))
            if key.text == "<<":
                raise fail(key, "merge keys are not taken", hint="write the keys out")
            if key.text in seen:
                first = f"first at {seen[key.text].where}"
                raise fail(key, f"key {key.text!r} is there twice", hint=first)
            seen[key.text] = key
            yield key, self._value(next(self._events), depth + 1, _under(above, key.text))

    def _alias(self, event: _Event) -> Node:
        if event.anchor not in self._anchors:
            raise self._refuse(event, f"alias {event.anchor!r} inside or before its anchor", None)
        node, size = self._anchors[event.anchor]
        self._add(event, size)
        return node

    def _add(self, event: _Event, size: int) -> None:
        self._count += size
        if self._count > MOST_NODES:
            raise self._refuse(event, f"more than {MOST_NODES} values, aliases counted", None)

    def _refuse(self, event: _Event, what: str, hint: str | None) -> RecipeError:
        mark = event.start_mark
        where = place(self._file, mark.line + 1, mark.column + 1)
        return RecipeError(f"{what} is not taken", where=where, hint=hint)


def _under(above: str, key: str) -> str:
    path = f"{above}.{key}" if above else key
    return path if len(path) <= LONGEST_KEY else f"…{path[-LONGEST_KEY:]}"


def _resolve(plain: str) -> str:
    if plain in _WORDS:
        return _WORDS[plain]
    if _INTEGER.match(plain):
        return "int"
    return "float" if _NUMBER.match(plain) else "str"
