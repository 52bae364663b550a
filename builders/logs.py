"""Where build logs lie: one per derivation, and for each step a link to its newest.

A log is kept whether its build ends well, badly or not at all. It holds whatever a build said;
what of it is quoted to people goes through `quote` first.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote as percent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.local import LocalStore

COLUMNS = 200
"""The longest line that is quoted."""
AGE = 30 * 86_400.0
"""Seconds after which a log that is not the newest of its step may go."""
_RAW = 16 * COLUMNS
_WINDOW = 1 << 18
"""Bytes at the end of a log in which its last lines are looked for."""
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)


def plain(text: str) -> str:
    """Leave out what would steer a terminal; line ends and other white space become spaces."""
    bare = _ESCAPE.sub("", text)
    if bare.isprintable():
        return bare
    return "".join(c if c.isprintable() else " " for c in bare if c.isprintable() or c.isspace())


def quote(line: str) -> str:
    """Spell one line of a log so that it can be shown: nothing that steers a terminal, not long.

    Of a line that was written over, as progress bars do, the last state counts.
    """
    last = line.rstrip("\r\n").rpartition("\r")[2]
    shown = plain(last[:_RAW]).rstrip()
    return shown if len(shown) <= COLUMNS else shown[: COLUMNS - 1] + "…"


def last_lines(file: Path, count: int) -> list[str]:
    """Quote the last lines of a log, without reading all of it."""
    with file.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - _WINDOW))
        cut = log.tell() > 0
        text = log.read().decode(errors="replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    if cut and len(lines) <= count:
        lines[0] = f"…{lines[0]}"
    return [quote(line) for line in lines[-count:]]


def prune(store: LocalStore, *, age: float = AGE) -> int:
    """Remove logs older than `age` seconds that are not the newest of any step; count them."""
    folder = store.var_dir / "log"
    links = folder / "newest"
    newest = {link.readlink().name for link in links.iterdir()} if links.is_dir() else set()
    gone = 0
    for file in folder.glob("*.log"):
        with suppress(FileNotFoundError):
            if file.name not in newest and file.stat().st_mtime < time.time() - age:
                file.unlink()
                gone += 1
    return gone


def log_file(store: LocalStore, digest: str) -> Path:
    """Name the log of a derivation."""
    return store.var_dir / "log" / f"{digest}.log"


def newest_log(store: LocalStore, key: str) -> Path | None:
    """Find the newest log of a step, by its key; None if it never ran here."""
    link = _link(store, key)
    return link.resolve() if link.exists() else None


@contextmanager
def writing(store: LocalStore, key: str, digest: str) -> Iterator[TextIO]:
    """Begin the log of a step anew; what processes write to it comes in order.

    Appending, so that the descriptor that children inherit and our own never overwrite each
    other.
    """
    file = log_file(store, digest)
    file.unlink(missing_ok=True)
    with file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        _point(_link(store, key), file)
        yield log


def _point(link: Path, file: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    fresh = link.with_name(f".{os.urandom(8).hex()}")
    fresh.symlink_to(os.path.relpath(file, link.parent))
    try:
        fresh.replace(link)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def _link(store: LocalStore, key: str) -> Path:
    return store.var_dir / "log" / "newest" / percent(key, safe="")
