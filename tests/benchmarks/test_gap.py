"""What the figures of the gap are made of: the memory of a command, and a bump of one wheel."""

from __future__ import annotations

import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from benchmarks.gap_wheels import BUMPS, SERVICE
from benchmarks.memory import peak
from benchmarks.pins import lock_file
from tests.lab.platform import Site

if TYPE_CHECKING:
    from pathlib import Path

MEGA = 1_000_000
HOLDS = "import time; held = bytearray(100_000_000); time.sleep(0.5)"
"""What a bytearray of zeros has is written, and so it is there."""


def test_memory_counts_all_processes_and_what_they_share_once() -> None:
    each = f"import os; pid = os.fork(); {HOLDS}; pid and os.wait()"
    shared = f"import os; {HOLDS}; pid = os.fork(); time.sleep(0.5); pid and os.wait()"
    assert 200 * MEGA < peak([sys.executable, "-c", each]) < 250 * MEGA
    assert 100 * MEGA < peak([sys.executable, "-c", shared]) < 150 * MEGA


def test_memory_of_a_command_that_fails_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="what went wrong"):
        peak([sys.executable, "-c", "raise SystemExit('what went wrong')"])


def test_a_bump_changes_one_wheel_of_one_lock(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "store")
    lock = site.recipes / "locks" / lock_file(SERVICE).name
    lock.parent.mkdir(parents=True)
    committed = lock_file(SERVICE).read_text()
    lock.write_text(committed)
    for bump in BUMPS:
        bump.lower(site)
    lowered = tomllib.loads(lock.read_text())["packages"]
    wanted = tomllib.loads(committed)["packages"]
    differ = [(old, new) for old, new in zip(lowered, wanted, strict=True) if old != new]
    assert [old["name"] for old, _ in differ] == [bump.name for bump in BUMPS]
    for bump, (old, new) in zip(BUMPS, differ, strict=True):
        assert (old["version"], new["version"]) == (bump.before, bump.after)
        assert old["wheels"][0]["hashes"]["sha256"] == bump.sha256
        assert new["wheels"][0]["size"] == bump.size_after
        bump.raise_(site)
    assert lock.read_text() == committed
