"""Which labs there are on this machine, and the end of those whose owner is gone.

A lab's owner holds a lock that the kernel lets go of with the process, however it dies. A lab
without an owner is swept away by the next that comes up, unless it says that it is to be kept.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.lab import cgroups, disk, network
from tests.lab.names import NUMBERS, RUN, Names
from tests.lab.shell import LabError, run

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Record:
    """What a lab says of itself: its folder, number of heads, root, and whether it outlives us."""

    folder: Path
    size: int
    root: Path
    kept: bool

    def write(self, names: Names) -> None:
        values = {"folder": str(self.folder), "size": self.size, "root": str(self.root)}
        (names.run / "lab.json").write_text(json.dumps(values | {"kept": self.kept}))

    @classmethod
    def read(cls, names: Names) -> Record | None:
        """Read a lab's record, or None if there is no such lab or it did not get so far."""
        with suppress(OSError, ValueError, KeyError):
            values = json.loads((names.run / "lab.json").read_text())
            folder, root = Path(values["folder"]), Path(values["root"])
            return cls(folder, values["size"], root, kept=values["kept"])
        return None


def images(folder: Path) -> Path:
    """Name the folder of a lab's disks, which go with it."""
    return folder / "disks"


def claim(record: Record) -> tuple[Names, IO[str]]:
    """Sweep, then take a free number; the lab is ours while the file handed back is open.

    Raises:
        LabError: if every number is taken.
    """
    with _alone():
        _sweep()
        for names in map(Names, NUMBERS):
            lock = _take(names)
            if lock is not None and _net_is_free(names):
                _lay(names, record)
                return names, lock
            if lock is not None:
                _drop(names, lock)
    raise LabError("every lab number of this machine is taken")


def end(names: Names) -> None:
    """Kill a lab's heads and remove all that there is of it."""
    with _alone():
        _end(names)


def sweep() -> list[int]:
    """End the labs whose owner is gone; hand back their numbers."""
    with _alone():
        return _sweep()


def known() -> list[Names]:
    """List the labs there are, owned, kept or abandoned."""
    return [Names(int(lock.stem)) for lock in sorted(RUN.glob("*.lock"))]


def _sweep() -> list[int]:
    swept = []
    for names in known():
        record = Record.read(names)
        if record is not None and record.kept:
            continue
        lock = _take(names)
        if lock is not None:
            _end(names)
            lock.close()
            swept.append(names.number)
    return swept


def _end(names: Names) -> None:
    record = Record.read(names)
    _kill_heads(names)
    disk.unmount_below(names.run)
    network.down(names)
    cgroups.remove(names.cgroup)
    if record is not None:
        for image in images(record.folder).glob("*.img"):
            disk.release(image)
        shutil.rmtree(images(record.folder), ignore_errors=True)
    with suppress(FileNotFoundError):
        names.run.rmdir()
    names.lock.unlink(missing_ok=True)


def _kill_heads(names: Names) -> None:
    for at in names.run.glob("head*/disk"):
        with suppress(OSError):
            disk.lose_power(at)
    cgroups.kill(names.cgroup)


def _lay(names: Names, record: Record) -> None:
    """Make the lab's folder: a tmpfs, shared, so that an unmount reaches whoever copied it."""
    names.run.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=700,size=16m", "sealift-lab", str(names.run))
    run("mount", "--make-shared", str(names.run))
    record.write(names)


def _take(names: Names) -> IO[str] | None:
    """Take a lab's lock, or None if its owner lives. A number nobody has gets a lock file."""
    lock = names.lock.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _drop(names: Names, lock: IO[str]) -> None:
    if not names.run.is_dir():
        names.lock.unlink()
    lock.close()


def _net_is_free(names: Names) -> bool:
    if names.run.is_dir():
        return False
    return not run("ip", "-o", "route", "show", "root", names.net).stdout.strip()


@contextmanager
def _alone() -> Iterator[None]:
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "lock").open("w") as lock:
        _wait(lock)
        yield


def _wait(lock: IO[str], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise LabError(f"{RUN / 'lock'} is held by another lab for too long") from None
            time.sleep(0.02)
