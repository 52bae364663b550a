"""Generations and the one link: atomic, numbered once, and quick."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from deploy.errors import NoGenerationError
from deploy.layout import Layout
from deploy.profile import Profile, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READS = 100_000


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "var", tmp_path / "state")
    made.profiles_dir.mkdir(parents=True)
    made.records_dir.mkdir(parents=True)
    return made


@pytest.fixture
def profile(layout: Layout, tmp_path: Path) -> Profile:
    made = Profile(layout)
    for number in (1, 2):
        release = tmp_path / f"release-{number}"
        release.mkdir()
        (release / "release.json").write_text(str(number))
        made.add(number, release, "somebody")
    return made


def test_generations_are_numbered_once(profile: Profile, layout: Layout) -> None:
    assert profile.current() is None
    profile.switch(2)
    assert profile.current() == 2
    assert [each.number for each in profile.generations()] == [1, 2]
    assert [each.current for each in profile.generations()] == [False, True]
    (layout.profiles_dir / "system-2-link").unlink()
    assert profile.next_number() == 3


def test_before_skips_what_was_never_good(profile: Profile, tmp_path: Path) -> None:
    profile.add(3, tmp_path, "somebody")
    profile.mark(1, Status.GOOD)
    profile.mark(2, Status.FAILED)
    found = profile.before(3)
    assert found is not None
    assert found.number == 1
    assert profile.before(1) is None


def test_before_is_what_ran_before_even_if_others_are_newer(
    profile: Profile, tmp_path: Path
) -> None:
    profile.add(4, tmp_path, "somebody", before=1)
    for number in (1, 2, 4):
        profile.mark(number, Status.GOOD)
    found = profile.before(4)
    assert found is not None
    assert found.number == 1
    profile.remove(1)
    found = profile.before(4)
    assert found is not None
    assert found.number == 2


def test_a_generation_that_is_not_there(profile: Profile) -> None:
    with pytest.raises(NoGenerationError) as caught:
        profile.get(7)
    assert caught.value.got == "there are: 1, 2"


def test_a_lost_record_loses_no_generation(profile: Profile, layout: Layout) -> None:
    (layout.records_dir / "1.json").write_text("{")
    assert profile.get(1).status is Status.UNKNOWN
    assert profile.get(1).path.name == "release-1"


def test_what_killed_writers_left_is_swept(profile: Profile, layout: Layout) -> None:
    (layout.profiles_dir / ".tmp-system-123").symlink_to("system-1-link")
    (layout.records_dir / ".tmp-9.json").write_text("{")
    profile.sweep()
    assert sorted(e.name for e in layout.profiles_dir.iterdir()) == [
        "system-1-link",
        "system-2-link",
    ]
    assert {e.name for e in layout.records_dir.iterdir()} == {"1.json", "2.json"}


def swap_while_reading(
    layout: Layout, switch: Callable[[int], None], reads: int = READS
) -> tuple[int, int]:
    """Swap as fast as possible during `reads` reads; return swaps, and reads that saw nothing."""
    switch(1)
    stop, swaps, nothing = threading.Event(), 0, 0

    def swapping() -> None:
        nonlocal swaps
        while not stop.is_set():
            swaps += 1
            switch(1 + swaps % 2)

    thread = threading.Thread(target=swapping)
    thread.start()
    try:
        for _ in range(reads):
            try:
                layout.profile.readlink()
                (layout.profile / "release.json").open().close()
            except FileNotFoundError:
                nothing += 1
    finally:
        stop.set()
        thread.join()
    return swaps, nothing


def test_no_reader_ever_sees_nothing(profile: Profile, layout: Layout) -> None:
    swaps, nothing = swap_while_reading(layout, profile.switch)
    assert nothing == 0
    assert swaps > 50


def test_a_switch_by_unlink_is_seen(profile: Profile, layout: Layout) -> None:
    """The negative control: unlink + symlink, which a reader does notice."""

    def switch(number: int) -> None:
        layout.profile.unlink(missing_ok=True)
        layout.profile.symlink_to(f"system-{number}-link")

    assert profile.current() is None
    assert swap_while_reading(layout, switch, READS // 10)[1] > 0


def test_a_switch_is_recorded_on_disk_and_quick(profile: Profile) -> None:
    began = time.perf_counter()
    for turn in range(20):
        profile.switch(1 + turn % 2)
    # A bound that only a mistake breaks; the figure itself is the benchmark's.
    assert (time.perf_counter() - began) / 20 < 1.0
