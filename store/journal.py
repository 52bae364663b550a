"""The journal: what was ever registered, in a file that needs no database to be read.

One JSON line per path. Content addresses make each line prove itself: name, NAR hash and
references must give the path again. So a lost database comes back with everything that still
lies in the store; what was remembered of builds does not, and is found out anew.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from store.errors import InputError
from store.info import PathInfo
from store.path import fixed_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def append(journal: Path, infos: Iterable[PathInfo], *, durable: bool) -> None:
    """Note paths that are about to be registered; under the database's write lock."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        _write(descriptor, infos, durable=durable)
    finally:
        os.close(descriptor)


def rewrite(journal: Path, infos: Iterable[PathInfo]) -> None:
    """Leave out what is no longer registered."""
    fresh = journal.with_name(f".{journal.name}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        _write(descriptor, infos, durable=True)
    finally:
        os.close(descriptor)
    fresh.rename(journal)


def read(journal: Path, store_dir: Path) -> list[PathInfo]:
    """Return what still lies in the store, references before referrers.

    Lines that a crash cut short, that do not give their path, or whose references are gone are
    left out.
    """
    try:
        lines = journal.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found: dict[str, PathInfo] = {}
    for line in lines:
        info = _parse(line, store_dir)
        if info is not None and all(str(each) in found for each in info.references):
            found[str(info.path)] = info
    return list(found.values())


def _write(descriptor: int, infos: Iterable[PathInfo], *, durable: bool) -> None:
    """Begin with a line feed, in case the line before was cut short."""
    lines = "".join(f"\n{json.dumps(info.to_json(), sort_keys=True)}" for info in infos)
    data = f"{lines}\n".encode()
    while data:
        data = data[os.write(descriptor, data) :]
    if durable:
        os.fdatasync(descriptor)


def _parse(line: bytes, store_dir: Path) -> PathInfo | None:
    try:
        info = PathInfo.from_json(json.loads(line))
    except (InputError, ValueError):
        return None
    address = fixed_path(
        store_dir=str(store_dir),
        name=info.path.name,
        nar_sha256=bytes.fromhex(info.nar_sha256),
        references=info.references,
    )
    present = os.path.lexists(store_dir / str(info.path))
    return info if address == info.path and present else None
