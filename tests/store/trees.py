"""Trees for tests: described as values, laid on the disk, read back."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from store.info import PathInfo
    from store.local import LocalStore

Tree: TypeAlias = "bytes | tuple[bytes] | str | Mapping[bytes, Tree]"
"""File; program, as a tuple of its bytes; link, as its target; directory."""

ODD: dict[bytes, Tree] = {
    b"a": b"file\n",
    b"a b": b"",
    b"a.b": (b"#!/bin/sh\n",),
    b"a-b": {b"c": {}},
    b"B": "a",
    b"dangling": "../../nowhere/\u00fc",
    b"\xc3\xa9t\xc3\xa9": b"NFC",
    b"e\xcc\x81te": b"NFD",
    b"\xff\xfe not UTF-8": b"\x00\xff",
    b"new\nline": b"x",
    b"\xf0\x9f\x9a\xa2": {b"\x80": (b"ship",)},
    b"-rf": b"option",
    b"*": b"glob",
    b" ": b"space",
    b"\\": b"backslash",
    b"n" * 255: b"long",
    b"eight678": b"12345678",
    b"empty": {},
}
"""What names and shapes file systems allow and careless programs do not."""


def deep(levels: int) -> Tree:
    """Nest directories, with a file in the innermost."""
    tree: Tree = {b"bottom": b"reached"}
    for level in range(levels):
        tree = {b"d%d" % level: tree, b"f": b"%d" % level}
    return tree


def lay(path: Path | bytes, tree: Tree) -> None:
    """Create `tree` at `path`."""
    place = os.fsencode(path)
    match tree:
        case bytes():
            _file(place, tree, 0o644)
        case (contents,):
            _file(place, contents, 0o755)
        case str():
            os.symlink(os.fsencode(tree), place)  # noqa: PTH211 - bytes
        case _:
            os.mkdir(place)  # noqa: PTH102 - bytes
            for name, node in tree.items():
                lay(place + b"/" + name, node)


def read(path: Path | bytes) -> Tree:
    """Read back what `lay` created."""
    place = os.fsencode(path)
    mode = os.lstat(place).st_mode
    if stat.S_ISLNK(mode):
        return os.fsdecode(os.readlink(place))  # noqa: PTH115 - bytes
    if stat.S_ISDIR(mode):
        return {name: read(place + b"/" + name) for name in os.listdir(place)}  # noqa: PTH208
    with open(place, "rb") as file:  # noqa: PTH123 - bytes
        contents = file.read()
    return (contents,) if mode & stat.S_IXUSR else contents


def added(store: LocalStore, tree: Tree, name: str = "thing", *, durable: bool = False) -> PathInfo:
    """Add `tree` without any reference."""
    with store.temporary() as place:
        lay(place / "tree", tree)
        return store.add(place / "tree", name, durable=durable)


def _file(place: bytes, contents: bytes, mode: int) -> None:
    with open(place, "wb") as file:  # noqa: PTH123 - bytes
        file.write(contents)
    os.chmod(place, mode)  # noqa: PTH101 - bytes


_names = (
    st.binary(min_size=1, max_size=12)
    .map(lambda name: name.replace(b"/", b"_").replace(b"\x00", b"0"))
    .filter(lambda name: name not in {b".", b".."})
)
_leaves: st.SearchStrategy[Tree] = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.binary(max_size=40)),
    st.binary(min_size=1, max_size=20)
    .map(lambda target: target.replace(b"\x00", b"0"))
    .map(os.fsdecode),
)
trees: st.SearchStrategy[Tree] = st.recursive(
    _leaves, lambda children: st.dictionaries(_names, children, max_size=4), max_leaves=10
)
"""Any small tree, with names of any bytes."""
