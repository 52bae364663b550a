"""What the figures of the gap are made of: the memory of a command, and a bump of one wheel."""

from __future__ import annotations

import shutil
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.gap_wheels import BUMPS
from benchmarks.memory import peak
from benchmarks.pins import LOCKS
from tests.lab.platform import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def test_a_bump_changes_one_wheel_in_all_locks_that_have_it(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "store")
    shutil.copytree(LOCKS, site.recipes / "locks")
    for bump in BUMPS:
        bump.lower(site)
        assert bump.size_after > 0
    changed = {(old["name"], old["version"], new["version"]) for old, new in _changes(site)}
    assert changed == {(bump.name, bump.before, bump.after) for bump in BUMPS}
    pinned = "".join(file.read_text() for file in site.recipes.glob("locks/*.pylock.toml"))
    for bump in BUMPS:
        assert pinned.count(bump.sha256) > 1
        bump.raise_(site)
    assert not list(_changes(site))


def _changes(site: Site) -> Iterator[tuple[Any, Any]]:
    """Yield packages of the site's locks that are others than in the committed ones, with those."""
    for file in sorted(LOCKS.glob("*.pylock.toml")):
        ours = tomllib.loads((site.recipes / "locks" / file.name).read_text())["packages"]
        committed = tomllib.loads(file.read_text())["packages"]
        yield from ((a, b) for a, b in zip(ours, committed, strict=True) if a != b)
