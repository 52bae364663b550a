"""Folders of open secrets in memory: one per service, replaced whole by the renaming of a link.

A folder carries a keyed digest of what it holds in its name, so what is the same is not written
again. Which secrets, and who may read them, is decided by `deploy.secrets_head`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

MEMORY = ("tmpfs", "ramfs")
PASSABLE, PRIVATE, SHARED = 0o711, 0o700, 0o750
"""Modes: of the place, which all pass through and nobody lists; of folders of root's own; of one
that a group reads."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The secrets of one service; `reader` is the user whose group may read them in place."""

    service: str
    digest: str
    values: Mapping[str, bytes] = field(repr=False)
    reader: str | None = None


def lay(place: Path, folders: Iterable[Folder], look: Callable[[Path, Folder], None]) -> None:
    """Make `place/SERVICE` hold just the values of each folder.

    All are written, and shown to `look`, before the first takes the place of another.

    Raises:
        HeadError: `place` is on a disk, or a reader is no user of this machine.
        Error: whatever `look` raises; nothing was changed then.
    """
    _make(place)
    ready = [(one.service, _placed(place, one, look)) for one in folders]
    for service, name in ready:
        link = place / service
        if not link.is_symlink() or os.readlink(link) != name:  # noqa: PTH115 (text)
            durable.link(link, name)


def try_out(place: Path, folders: Iterable[Folder], look: Callable[[Path, Folder], None]) -> None:
    """Show to `look` what `lay` would write anew, and leave nothing of it.

    Raises:
        HeadError: `place` is on a disk, or a reader is no user of this machine.
        Error: whatever `look` raises.
    """
    _make(place)
    for one in folders:
        if not (place / _name(one, None)).is_dir():
            with _written(place, one, None) as unfinished:
                look(unfinished, one)


def collect(place: Path, keep: Collection[str]) -> None:
    """Remove the secrets of all services but those in `keep`, and what links have left."""
    if not place.is_dir():
        return
    links = [each for each in place.iterdir() if each.is_symlink()]
    for link in links:
        if link.name not in keep:
            link.unlink()
    used = {os.readlink(link) for link in links if link.is_symlink()}  # noqa: PTH115 (text)
    for each in place.iterdir():
        if not each.is_symlink() and each.name not in used:
            shutil.rmtree(each)


def file_system(path: Path) -> str:
    """Return the kind of file system that `path` is on, as the kernel tells it."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as mounts:
        for line in mounts:
            mount, _, rest = line.partition(" - ")
            if mount.split()[2] == number:
                return rest.split()[0]
    return "unknown"


def _make(place: Path) -> None:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.mkdir(mode=PASSABLE, exist_ok=True)
    found = file_system(place)
    if found not in MEMORY:
        raise HeadError(
            "open secrets would come to lie on a disk",
            where=str(place),
            expected=" or ".join(MEMORY),
            got=found,
            hint="mount a tmpfs at /run, as systemd does",
        )
    # Whatever the umask made of it.
    place.chmod(PASSABLE)


def _placed(place: Path, one: Folder, look: Callable[[Path, Folder], None]) -> str:
    """Write a folder unless it is there; return its name."""
    group = None if one.reader is None else _group(one.reader)
    name = _name(one, group)
    if not (place / name).is_dir():
        with _written(place, one, group) as unfinished:
            look(unfinished, one)
            unfinished.rename(place / name)
    return name


def _name(one: Folder, group: int | None) -> str:
    return f".{one.service}-{one.digest}" + ("" if group is None else f"-{group}")


@contextmanager
def _written(place: Path, one: Folder, group: int | None) -> Iterator[Path]:
    """Give a folder with the values, which is removed at the end if it is still there."""
    unfinished = place / f"{durable.TEMPORARY}{secrets.token_hex(6)}"
    unfinished.mkdir(mode=PRIVATE)
    try:
        _fill(unfinished, one, group)
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fill(folder: Path, one: Folder, group: int | None) -> None:
    for name, value in one.values.items():
        file = folder / name
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(value)
        if group is not None:
            os.chown(file, -1, group)
            file.chmod(0o640)
    if group is not None:
        os.chown(folder, -1, group)
        folder.chmod(SHARED)


def _group(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError:
        raise HeadError(
            f"there is no user {user} on this head, who has to read secrets",
            where="/etc/passwd",
            hint="the head's users are made from the release: deploy it",
        ) from None
