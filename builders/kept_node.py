"""Nodes of a document as JSON values, so that a part of it can be read later, and by others.

What settings say of a phase means something only to who knows the phase's recipe; until then it
is kept as it was written, with the lines that a refusal has to name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builders.fields import Node

if TYPE_CHECKING:
    from pathlib import Path


def to_json(node: Node) -> dict[str, Any]:
    """Give a node and all in it as JSON values; the file is not among them."""
    said: dict[str, Any] = {"at": [node.line, node.column], "sort": node.sort, "key": node.key}
    if node.sort == "seq":
        return {**said, "items": [to_json(item) for item in node.items]}
    if node.sort == "map":
        entries = [[to_json(key), to_json(value)] for key, value in node.entries]
        return {**said, "entries": entries}
    return {**said, "text": node.text}


def from_json(said: dict[str, Any], file: Path) -> Node:
    """Make again the node that `to_json` was given, which stood in `file`."""
    line, column = said["at"]
    return Node(
        file,
        line,
        column,
        said["sort"],
        text=said.get("text", ""),
        items=tuple(from_json(item, file) for item in said.get("items", ())),
        entries=tuple(
            (from_json(key, file), from_json(value, file)) for key, value in said.get("entries", ())
        ),
        key=said["key"],
    )


def meaning(said: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Give what a kept node says without where it stands: equal for what means the same."""
    if said["sort"] == "seq":
        return [meaning(item) for item in said["items"]]
    if said["sort"] == "map":
        # In its order, which templates may show.
        return [[key["text"], meaning(value)] for key, value in said["entries"]]
    return {said["sort"]: said["text"]}


def plain(node: Node) -> Any:  # noqa: ANN401 - any JSON value
    """Give what a node says, for people to read; numbers that JSON would change stay text."""
    match node.sort:
        case "seq":
            return [plain(item) for item in node.items]
        case "map":
            return {key.text: plain(value) for key, value in node.entries}
        case "null":
            return None
        case "bool":
            return node.text == "true"
        case "int":
            return int(node.text)
        case _:
            return node.text
