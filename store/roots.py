"""Roots: what the collector keeps, and why.

Links below `gcroots` and `profiles`, also those that lead there over other links, and whatever
running processes have open, mapped, or in their arguments and environment. What the roots reach
is `store.closure`'s to say.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import InputError
from store.hashes import ALPHABET
from store.path import DIGEST_LENGTH, NotAStorePathError, StorePath
from store.sync import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

HOPS = 40
"""Links followed from one root, as the kernel follows."""

_WORD = re.compile(r"[0-9A-Za-z+\-_=@:][0-9A-Za-z+\-._=@:]*")


@dataclass(frozen=True, slots=True, order=True)
class Root:
    """A path that must stay; `name` is a link relative to the var directory, or a process."""

    name: str
    path: StorePath


def add_root(var_dir: Path, name: str, target: Path) -> None:
    """Let `gcroots/<name>` lead to `target`, replacing at once what it led to.

    Raises:
        InputError: the name is not made of plain words and slashes.
    """
    link = _link(var_dir, name)
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}-{os.urandom(8).hex()}")
    fresh.symlink_to(target)
    fresh.rename(link)
    sync_directory(link.parent)


def remove_root(var_dir: Path, name: str) -> None:
    """Remove `gcroots/<name>`; that it is gone already does not matter.

    Raises:
        InputError: the name is not made of plain words and slashes.
    """
    link = _link(var_dir, name)
    link.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        sync_directory(link.parent)


def find_links(store_dir: Path, var_dir: Path) -> list[Root]:
    """Return the roots that are links, sorted; links that lead nowhere are none."""
    found = []
    for folder in ("gcroots", "profiles"):
        for link in _links(var_dir / folder):
            path = follow(link, store_dir)
            if path is not None:
                found.append(Root(str(link.relative_to(var_dir)), path))
    return sorted(found)


def follow(link: Path, store_dir: Path) -> StorePath | None:
    """Return the store path to which a link leads, be it over other links."""
    place = str(link)
    for _ in range(HOPS):
        found = inside(place, store_dir)
        if found is not None:
            return found
        try:
            target = os.readlink(place)  # noqa: PTH115 - stays text, unlike a Path unnormalised
        except OSError:
            return inside(os.path.realpath(place), store_dir)
        place = os.path.normpath(os.path.join(os.path.dirname(place), target))  # noqa: PTH118, PTH120
    return None


def inside(place: str, store_dir: Path) -> StorePath | None:
    """Return the store path in which a spelled path lies, if it is spelled so."""
    prefix = f"{store_dir}/"
    if not place.startswith(prefix):
        return None
    try:
        return StorePath.parse(place[len(prefix) :].partition("/")[0])
    except (NotAStorePathError, InputError):
        return None


def find_digests(store_dir: Path, proc: Path = Path("/proc")) -> dict[str, str]:
    """Return the digests of paths that running processes name, each with one such process.

    Processes of others cannot be read unless we are root; then their paths need a root.
    """
    pattern = re.compile(
        re.escape(os.fsencode(store_dir)) + b"/([%b]{%d})-" % (ALPHABET.encode(), DIGEST_LENGTH)
    )
    found: dict[str, str] = {}
    for process in proc.iterdir():
        if process.name.isdigit():
            for text in _texts(os.fsencode(process)):
                for digest in pattern.findall(text):
                    found.setdefault(digest.decode(), f"process {process.name}")
    return found


def _texts(process: bytes) -> Iterator[bytes]:
    """Yield all in which a process may name a store path; it may end meanwhile."""
    for name in (b"exe", b"cwd", b"root"):
        with suppress(OSError):
            yield os.readlink(process + b"/" + name) + b"/"  # noqa: PTH115 - bytes
    with suppress(OSError):
        for descriptor in os.listdir(process + b"/fd"):  # noqa: PTH208 - bytes
            with suppress(OSError):
                yield os.readlink(process + b"/fd/" + descriptor)  # noqa: PTH115 - bytes
    for name in (b"maps", b"cmdline", b"environ"):
        with suppress(OSError), open(process + b"/" + name, "rb") as file:  # noqa: PTH123 - bytes
            yield file.read()


def _links(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            link = Path(parent, name)
            if link.is_symlink():
                yield link


def check_root(name: str) -> str:
    """Return `name` if a root may be called that.

    Raises:
        InputError: it is not made of plain words and slashes.
    """
    if not all(_WORD.fullmatch(word) for word in name.split("/")):
        raise InputError(f"{name!r} cannot be the name of a root", expected="plain words and /")
    return name


def _link(var_dir: Path, name: str) -> Path:
    return var_dir.joinpath("gcroots", *check_root(name).split("/"))
