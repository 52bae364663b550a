"""Nix's binary-cache layout, over anything that keeps bytes under names.

Nix manual, "HTTP Binary Cache Store": `nix-cache-info`, `<digest>.narinfo` for each path, and NARs
below `nar/`. Here is what such a place must be able to do, how its files are called, and what its
first file says. The text of a narinfo is `store.narinfo`'s; `store.cache_write` fills a cache and
`store.cache_read` takes from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from store.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from store.path import StorePath

INFO: Final = "nix-cache-info"
SUFFIX: Final = ".narinfo"
PRIORITY: Final = 30
"""What Nix asks first has the lowest; its own cache on the internet says 40."""

TEXT_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a narinfo, or of `nix-cache-info`: room for some 20,000 references."""

IN_MEMORY: Final = 8 * 1024 * 1024
"""Bytes of a compressed NAR that is not put into a file on its way."""

_NAME = re.compile(
    r"(?:[0-9A-Za-z_=+-][0-9A-Za-z._=+-]{0,254}/){0,4}"
    r"[0-9A-Za-z_=+-][0-9A-Za-z._=+-]{0,254}"
)


class ByteStore(Protocol):
    """Bytes under relative names of plain words and slashes; several threads may use it at once.

    Faults of the place itself are raised as `store.errors.Error`: only what is not there is None.
    """

    def get(self, name: str, /) -> BinaryIO | None:
        """Open what lies under a name, from its beginning, for the caller to close."""

    def put(self, name: str, source: BinaryIO, /) -> None:
        """Keep what `source` still has to give, whole or not at all, in place of what was there.

        `source` can be sought in, so that it can be tried again from where it stood.
        """

    def exists(self, name: str, /) -> bool:
        """Tell whether something lies under a name."""


class BadCacheError(IntegrityError):
    """A cache that is not laid out as it must be, or whose parts contradict each other."""

    slug = "bad-cache"


class OtherStoreError(InputError):
    """A cache of paths whose store lies in another place, which enters their digests."""

    slug = "cache-other-store"


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache says of itself; `store_dir` is where the store of its paths lies."""

    store_dir: str
    priority: int = PRIORITY

    def __str__(self) -> str:
        return f"StoreDir: {self.store_dir}\nWantMassQuery: 1\nPriority: {self.priority}\n"


def parse_info(text: str) -> CacheInfo:
    """Read what `str` wrote; lines that only Nix needs do not matter.

    Raises:
        BadCacheError: it does not say where the store lies.
    """
    found = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
    priority = found.get("Priority", "")
    if not found.get("StoreDir", "").startswith("/"):
        raise BadCacheError("it does not say for which store the cache is", where=INFO)
    known = int(priority) if re.fullmatch(r"[0-9]{1,6}", priority) else PRIORITY
    return CacheInfo(found["StoreDir"], known)


def narinfo_name(path: StorePath) -> str:
    """Name the file that tells of a path."""
    return f"{path.digest}{SUFFIX}"


def is_plain(name: str) -> bool:
    """Tell whether a name leads nowhere but to a file of the cache itself."""
    return _NAME.fullmatch(name) is not None


def read_text(files: ByteStore, name: str) -> str | None:
    """Read a small file, or return None where there is none.

    Raises:
        BadCacheError: it is too large, or no text.
    """
    stream = files.get(name)
    if stream is None:
        return None
    with stream:
        data = read_exactly(stream, TEXT_LIMIT + 1)
    if len(data) > TEXT_LIMIT:
        raise BadCacheError(f"{name} has more than {TEXT_LIMIT} bytes", where=name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadCacheError(f"{name} is no text", where=name, got=str(error)) from error


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, and fewer only at the end: a stream may give less than it was asked."""
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def check_store(files: ByteStore, store_dir: str) -> bool:
    """Tell whether the cache says that it is one; that it does not is allowed.

    Raises:
        BadCacheError: what it says cannot be read.
        OtherStoreError: its store lies elsewhere.
    """
    text = read_text(files, INFO)
    if text is None:
        return False
    there = parse_info(text).store_dir
    if there != store_dir:
        raise OtherStoreError(
            "the cache is for a store in another place, and that place is part of every path",
            where=INFO,
            expected=store_dir,
            got=there,
            hint=f"store_dir: {there}",
        )
    return True
