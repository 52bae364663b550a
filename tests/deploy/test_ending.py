"""The one next command after a rollout over several heads."""

from __future__ import annotations

import pytest

from deploy import ending
from deploy.ending import End, Kind
from deploy.errors import HeadLostError
from deploy.fleet import Stage

LOST = {"head1": HeadLostError("head1: nothing was heard for 30 s", where="head1")}


@pytest.mark.parametrize(
    ("action", "kinds", "hint"),
    [
        ("deploy", (Kind.UNKNOWN, Kind.UNKNOWN), "sealift deploy --host head[1-2]"),
        ("deploy", (Kind.UNKNOWN, Kind.BACK), "sealift deploy --host head[1-2]"),
        ("deploy", (Kind.UNKNOWN, Kind.KEPT), "sealift deploy --host head1"),
        ("deploy", (Kind.UNKNOWN, Kind.STRANDED), "sealift status --host head2"),
        ("rollback", (Kind.UNKNOWN, Kind.BACK), "sealift status --host head[1-2]"),
    ],
)
def test_after_a_partition_the_same_deploy_is_named(
    action: str, kinds: tuple[Kind, Kind], hint: str
) -> None:
    """Heads that cannot be asked just now go back by themselves."""
    ends = {f"head{number}": End(kind, 1) for number, kind in enumerate(kinds, 1)}
    assert ending.error(Stage.PARTIAL, action, LOST, ends).hint == hint
