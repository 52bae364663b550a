from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.phases.standing import Standing, behind, read, standings
from deploy.release import PhaseOf, Release
from tests.deploy.phases.grounds import STORE

if TYPE_CHECKING:
    from pathlib import Path

NEW = STORE / "new"
RELEASE = Release(
    STORE / "release",
    {},
    {},
    None,
    phases={
        "storage": PhaseOf(1, {"head1": NEW}),
        "redis": PhaseOf(3, {"head1": NEW, "head2": NEW}),
        "slurm": PhaseOf(4, {"head2": NEW}),
    },
)


def test_where_a_head_stands() -> None:
    found = standings(RELEASE, "head2", {"redis": {"path": str(NEW), "state": "laid"}})
    assert found == {"redis": Standing.LAID, "slurm": Standing.ABSENT}
    done = {"path": str(NEW), "state": "verified"}
    old = {"path": str(STORE / "old"), "state": "verified"}
    found = standings(RELEASE, "head1", {"storage": old, "redis": done})
    assert found == {"storage": Standing.BEHIND, "redis": Standing.VERIFIED}
    assert behind(found) == ("storage",)


def test_records_are_read_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "storage.json").write_text(json.dumps({"path": "x"}))
    (tmp_path / "redis.json").write_text("{")
    (tmp_path / "slurm.json").write_text("[]")
    assert read(tmp_path) == {"storage": {"path": "x"}}
    assert read(tmp_path / "none") == {}
