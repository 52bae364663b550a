"""Binary caches for tests: in memory, filled from a store, and bent."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from store.binary_cache import narinfo_name
from store.cache_write import Written, write
from store.narinfo import NarInfo, parse
from tests.store.trees import ODD, added, lay

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store.cache_keys import SecretKey
    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath


@dataclass
class Memory:
    """A `ByteStore` that forgets everything with the test, and knows what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def get(self, name: str, /) -> BinaryIO | None:
        self.read.append(name)
        return io.BytesIO(self.files[name]) if name in self.files else None

    def put(self, name: str, source: BinaryIO, /) -> None:
        self.written.append(name)
        self.files[name] = source.read()

    def exists(self, name: str, /) -> bool:
        return name in self.files


def quiet(_done: int, _total: int) -> None:
    """Take no notice."""


def three(store: LocalStore) -> list[PathInfo]:
    """Add a path that refers to two others; references first."""
    base = added(store, ODD, "base-1.0")
    lib = added(store, {b"lib": b"x" * 5000}, "lib")
    with store.temporary() as place:
        lay(place / "tree", {b"bin": {b"run": (f"#!{store.real(base.path)}/sh\n".encode(),)}})
        app = store.add(
            place / "tree", "app+1", candidates=[base.path], references=[lib.path], durable=False
        )
    return store.closure([app.path])


def filled(
    store: LocalStore, infos: Iterable[PathInfo], cache: Memory, key: SecretKey | None = None
) -> Written:
    """Write paths into a cache."""
    return write(store, [i.path for i in infos], cache, key=key, observe=quiet, threads=1)


def entry(cache: Memory, path: StorePath, store_dir: object) -> NarInfo:
    """Read what a cache says of a path."""
    text = cache.files[narinfo_name(path)].decode()
    return parse(text, str(store_dir), path.digest)


def bend(cache: Memory, path: StorePath, key: str, value: str | None) -> None:
    """Change one line of a narinfo, or take it away."""
    name = narinfo_name(path)
    line = b"" if value is None else f"{key}: {value}\n".encode()
    text, count = re.subn(rb"(?m)^%b:.*\n" % key.encode(), lambda _: line, cache.files[name])
    assert count, f"{name} has no {key}"
    cache.files[name] = text
