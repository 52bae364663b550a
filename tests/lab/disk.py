"""A head's disk: an ext4 image of its own, above the shared root, that can lose power.

`lose_power` stops the file system as it stands, journal unflushed (EXT4_IOC_SHUTDOWN, as xfstests
do): what was not synced is gone after the next mount, which replays the journal. What a disk's own
volatile cache might lose or reorder beyond that is not simulated.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from tests.lab.shell import run

# _IOR('X', 125, __u32) and EXT4_GOING_FLAGS_NOLOGFLUSH of fs/ext4/ext4.h.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


def make(image: Path, size: int) -> None:
    """Make an empty ext4 image of `size` bytes, of which only what is written takes room."""
    with image.open("wb") as file:
        file.truncate(size)
    lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, str(image))


def mount(image: Path, at: Path) -> None:
    """Mount an image."""
    at.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "ext4", "-o", "loop,noatime", str(image), str(at))


def mount_over(lower: Path, disk: Path, at: Path) -> None:
    """Mount a root that reads `lower` and writes to a disk."""
    for folder in (disk / "upper", disk / "work", at):
        folder.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={lower},upperdir={disk / 'upper'},workdir={disk / 'work'},xino=on"
    run("mount", "-t", "overlay", "sealift-lab", "-o", layers, str(at))


def lose_power(at: Path) -> None:
    """Stop the file system mounted here, without a sync.

    Raises:
        OSError: if there is none that can be stopped so.
    """
    descriptor = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


def mounts_below(folder: Path) -> list[Path]:
    """List what is mounted at or below a folder, deepest and latest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below a folder, with patience for a dying user of it."""
    for point in mounts_below(folder):
        for _ in range(50):
            if not run("umount", str(point), check=False).returncode:
                break
            time.sleep(0.02)
        else:
            run("umount", "--lazy", str(point))


def release(image: Path) -> None:
    """Wait until no loop device has an image any more, or go on with a copy of it.

    A mount namespace that somebody made meanwhile may hold the file system for longer than
    anybody wants to wait. It is stopped, so the image is what the disk holds; but mounting it
    a second time beside the first would be the end of it.
    """
    end = time.monotonic() + 3
    while _has_loop(image):
        if time.monotonic() > end:
            copy = image.with_suffix(".copy")
            run("cp", "--sparse=always", str(image), str(copy))
            copy.replace(image)
            return
        time.sleep(0.01)


def _has_loop(image: Path) -> bool:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if backing.read_text().strip() == str(image):
                return True
    return False
