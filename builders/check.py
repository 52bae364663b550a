"""Build again, in another place and at a later time, and compare bit for bit."""

from __future__ import annotations

import os
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.build import BuildError
from store.errors import Error
from store.nar import hash_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builders.workshop import Task, Workshop
    from store.path import StorePath

_LATER = 2.1
"""Seconds between the two builds: zip archives count time in twos."""
_CHUNK = 1 << 20


class DifferenceError(BuildError):
    """A build that gives other bytes the second time."""

    slug = "not-reproducible"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first file, by path, in which two trees differ; `offset` in bytes where both have it."""

    path: str
    offset: int | None
    what: str

    def __str__(self) -> str:
        place = self.path or "the output itself"
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a second build gave; without an error, the same."""

    task: Task
    seconds: float
    error: Error | None = None


def check(
    workshop: Workshop,
    tasks: Sequence[tuple[Task, StorePath]],
    *,
    jobs: int,
    told: Callable[[Verdict], None],
) -> list[Verdict]:
    """Build every task again and compare with the path it gave; `told` hears as it goes.

    Raises:
        KeyboardInterrupt: after all children are dead.
    """
    verdicts = []
    threads = ThreadPoolExecutor(jobs, "check")
    try:
        for verdict in threads.map(lambda task: _again(workshop, *task), tasks):
            told(verdict)
            verdicts.append(verdict)
    except BaseException:
        workshop.children.stop()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
    return verdicts


def first_difference(old: Path, new: Path) -> Difference | None:
    """Find the first path, in order, at which two trees differ in what a NAR tells."""
    for path in sorted({*_walk(old), *_walk(new)}):
        difference = _compare(path, old / path if path else old, new / path if path else new)
        if difference is not None:
            return difference
    return None


def _again(workshop: Workshop, task: Task, path: StorePath) -> Verdict:
    began = time.monotonic()
    try:
        _wait_for_later(workshop, path)
        with workshop.building(task) as (build, _):
            _judge(workshop, task, path, build.out)
    except Error as error:
        return Verdict(task, time.monotonic() - began, error)
    return Verdict(task, time.monotonic() - began)


def _wait_for_later(workshop: Workshop, path: StorePath) -> None:
    info = workshop.store.info(path)
    if info is not None:
        workshop.children.pause(max(0.0, info.registered + _LATER - time.time()))


def _judge(workshop: Workshop, task: Task, path: StorePath, out: Path) -> None:
    info = workshop.store.info(path)
    digest, _ = hash_tree(out)
    if info is None or digest.hex() == info.nar_sha256:
        return
    difference = first_difference(workshop.store.real(path), out)
    raise DifferenceError(
        f"{task.step.title}: built again, it is another",
        where=str(difference) if difference is not None else str(path),
        expected=info.nar_sha256,
        got=digest.hex(),
        hint="look for times, random names, directory order or parallel work in its build",
    )


def _walk(root: Path) -> Iterator[str]:
    yield ""
    if root.is_symlink():
        return
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield os.path.relpath(f"{folder}/{name}", root)


def _compare(path: str, old: Path, new: Path) -> Difference | None:
    kinds = _kind(old), _kind(new)
    if kinds[0] != kinds[1]:
        return Difference(path, None, f"{kinds[0]} before, {kinds[1]} now")
    if kinds[0] == "link" and old.readlink() != new.readlink():
        return Difference(path, None, f"led to {old.readlink()}, leads to {new.readlink()} now")
    if "file" in kinds[0]:
        offset = _first_offset(old, new)
        if offset is not None:
            inside = _first_member(old, new)
            place = f"differs in {inside!r}" if inside else f"differs from byte {offset} on"
            return Difference(path, offset, place)
    return None


def _first_member(old: Path, new: Path) -> str | None:
    """Find the first member, by name, in which two zip archives, such as wheels, differ."""
    try:
        with zipfile.ZipFile(old) as before, zipfile.ZipFile(new) as after:
            left, right = ({i.filename: i.CRC for i in each.infolist()} for each in (before, after))
    except (zipfile.BadZipFile, NotImplementedError):
        return None
    # A wheel's RECORD differs because another member does.
    names = sorted(left.keys() | right.keys(), key=lambda name: (name.endswith("/RECORD"), name))
    return next((name for name in names if left.get(name) != right.get(name)), None)


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "link"
    if path.is_dir():
        return "directory"
    if not path.exists():
        return "absent"
    return "executable file" if path.stat().st_mode & 0o100 else "file"


def _first_offset(old: Path, new: Path) -> int | None:
    offset = 0
    with old.open("rb") as before, new.open("rb") as after:
        while True:
            left, right = before.read(_CHUNK), after.read(_CHUNK)
            if left != right:
                pairs = enumerate(zip(left, right, strict=False))
                found = (place for place, (one, two) in pairs if one != two)
                return offset + next(found, min(len(left), len(right)))
            if not left:
                return None
            offset += len(left)
