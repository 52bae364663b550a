"""One digest over all recipe and lock files, so that an evaluation can be kept and found again.

Runs each time, so it parses nothing and loads no YAML; a file whose stamp is as remembered is
not even opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from builders.stat_cache import UNTRUSTED, recall, settled, stamp, stamp_of, unchanged
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builders.stat_cache import Record, StatCache

_FORMAT = 1


def recipes_digest(folders: Sequence[Path], *, cache: StatCache) -> str:
    """Return the base-16 SHA-256 over names and contents of all files below some folders.

    Hidden files and folders do not count. A folder that does not exist counts as empty.

    Raises:
        InputError: a folder or file cannot be read.
    """
    key = json.dumps(["recipes", _FORMAT, *map(str, folders)], ensure_ascii=False)
    known = recall(cache, key, "folders", "files", "digest")
    if known is not None and unchanged(known["folders"]) and unchanged(known["files"]):
        return str(known["digest"])
    try:
        record = _look(folders, {row[0]: row for row in known["files"]} if known else {})
    except OSError as fault:
        reason = f"recipes cannot be read: {fault.strerror}"
        raise InputError(reason, where=fault.filename) from fault
    cache.put(key, json.dumps(record, ensure_ascii=False).encode())
    return str(record["digest"])


def _look(folders: Sequence[Path], before: Mapping[str, list[Any]]) -> Record:
    now = time.time_ns()
    seen: dict[str, list[Any]] = {}
    files: dict[str, list[Any]] = {}
    waiting = [str(folder) for folder in folders]
    while waiting:
        folder = waiting.pop()
        if folder in seen:
            continue
        seen[folder] = [folder, settled(stamp(folder), now)]
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file():
                files[entry.path] = _row(entry.path, before, now)
    rows = [files[path] for path in sorted(files)]
    digest = hashlib.sha256(json.dumps([[row[0], row[2]] for row in rows]).encode()).hexdigest()
    return {"folders": list(seen.values()), "files": rows, "digest": digest}


def _entries(folder: str) -> list[os.DirEntry[str]]:
    if not stamp(folder):
        return []
    with os.scandir(folder) as found:
        return [entry for entry in found if not entry.name.startswith(".")]


def _row(path: str, before: Mapping[str, list[Any]], now: int) -> list[Any]:
    """Return path, stamp and SHA-256; what a symbolic link leads to is read each time."""
    found = stamp(path)
    known = before.get(path)
    if known is not None and known[1] == found:
        return known
    with open(path, "rb") as stream:  # noqa: PTH123 - no Path where 40 files are looked at
        inner = stamp_of(os.fstat(stream.fileno()))
        sha = hashlib.file_digest(stream, "sha256").hexdigest()
    return [path, settled(found, now) if found == inner else UNTRUSTED, sha]
