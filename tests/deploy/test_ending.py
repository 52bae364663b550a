"""By which slug a program knows why several heads refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy import ending
from deploy.errors import FleetRefusedError, HeadError, HeadLockedError, PortTakenError
from deploy.fleet import Stage

if TYPE_CHECKING:
    from store.errors import Error

LOCKED, TAKEN, OTHER = HeadLockedError("locked"), PortTakenError("taken"), HeadError("other")

REFUSALS: dict[str, tuple[tuple[Error, ...], str]] = {
    "one": ((LOCKED,), "head-locked"),
    "all for one reason": ((TAKEN, TAKEN), "port-taken"),
    "for two": ((LOCKED, TAKEN), "heads-refused"),
    "for one without a name": ((OTHER, OTHER), "heads-refused"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_heads_that_refuse_for_one_reason_refuse_by_its_slug(case: str) -> None:
    errors, slug = REFUSALS[case]
    failures = {f"head{number}": each for number, each in enumerate(errors, start=1)}
    refused = ending.error(Stage.REFUSED, "deploy", failures, {})
    assert isinstance(refused, FleetRefusedError)
    assert (refused.slug, refused.exit_code) == (slug, 6)
    assert ending.error(Stage.REVERTED, "deploy", failures, {}).slug == "rolled-back"
