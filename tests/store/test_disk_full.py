"""A disk that fills up: one clear error, nothing half added, and room can be made."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from store.database import DiskFullError
from store.local import Addition, LocalStore
from store.temporary import disk
from tests.store.trees import added, lay, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 24 * 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system of its own."""
    place = tmp_path.resolve() / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", place],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> None:
    """Write until not one byte more goes in."""
    with (place / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):  # noqa: PT012
                while True:
                    file.write(bytes(size))


def test_a_disk_that_fills_up_while_a_tree_is_made(small: Path) -> None:
    with LocalStore.open(small / "store") as store:
        good = added(store, b"good", "good")
        with pytest.raises(DiskFullError) as caught:
            added(store, os.urandom(SIZE), "too-big")
        assert caught.value.hint == "sealift store gc"
        assert store.paths() == [good]
        assert store.verify().clean
        assert [each.name for each in store.store_dir.iterdir() if ".tmp" in each.name] == []
        added(store, os.urandom(SIZE // 4), "fits", durable=True)
        assert store.verify().clean


def test_a_disk_that_is_full_when_a_tree_is_added(small: Path) -> None:
    """The tree is there, but neither its links nor the database have a byte left."""
    with LocalStore.open(small / "store") as store:
        good = added(store, b"good", "good")
        with store.temporary() as place:
            items = []
            for number in range(400):
                lay(place / str(number), {b"f": b"%d" % number * 100})
                items.append(Addition(place / str(number), f"n{number}"))
            fill(small)
            with pytest.raises(DiskFullError):
                store.add_many(items)
        assert store.info(good.path) == good
        assert store.verify().clean


def test_on_a_full_disk_room_can_be_made(small: Path) -> None:
    with LocalStore.open(small / "store") as store:
        kept = added(store, b"kept", "kept")
        store.add_root("kept", kept.path)
        for number in range(40):
            added(store, {b"f": os.urandom(100_000)}, f"n{number}")
        fill(small)
        report = store.collect()
        assert len(report.removed) == 40
        assert report.freed >= 4_000_000
        assert report.failed == ()
        assert store.paths() == [kept]
        again = added(store, {b"f": os.urandom(1_000_000)}, "again", durable=True)
        assert store.verify().clean
        assert len(read(store.real(again.path))) == 1


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), disk():
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(DiskFullError), disk():
        raise OSError(errno.EDQUOT, "quota", "/some/file")
