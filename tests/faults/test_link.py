"""The link to a head is cut: at random moments of a push, and when the head waits for an answer."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.bench import DEADLINE, Bench, on_each, shares
from tests.faults.counts import LINK_CUTS, UNCONFIRMED
from tests.lab.operator import operator
from tests.lab.platform import HEADS

if TYPE_CHECKING:
    from tests.faults.whole import Made
    from tests.lab.head import LabHead
    from tests.lab.operator import Operator, Told

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
PATIENCE = 120.0
"""Seconds in which an operator must find that nobody is at the other end."""


def pushing(told: Told) -> bool:
    """Tell whether a push begins: the plan is told right before."""
    return told.what == "plan"


def pushed(told: Told) -> bool:
    """Tell whether a push is complete."""
    return told.what == "pushed"


def duration(bench: Bench, head: LabHead) -> float:
    """Push a release with ballast undisturbed; seconds."""
    with operator(bench.site, *bench.words(head.name, bench.ballasted())) as running:
        began = running.wait_for(pushing, PATIENCE)
        ended = running.wait_for(pushed, PATIENCE)
        assert running.end() == 0, running.said
    assert began is not None
    assert ended is not None
    return ended.at - began.at


def test_cut_at_random_moments_of_a_push(bench: Bench) -> None:
    whole = duration(bench, bench.lab.heads[0])
    made = [bench.ballasted() for _ in range(max(shares(LINK_CUTS, len(bench.lab.heads))))]
    cut: list[bool] = []

    def rounds(head: LabHead) -> list[Made]:
        chance = random.Random(head.index)  # noqa: S311

        def partition(running: Operator) -> None:
            assert running.wait_for(pushing, PATIENCE) is not None, running.said
            time.sleep(chance.uniform(0, whole))
            head.partition()
            cut.append(running.end(PATIENCE) != 0)

        share = list(shares(LINK_CUTS, len(bench.lab.heads)))[head.index - 1]
        return [bench.trial(head, after, partition, head.heal) for after in made[:share]]

    try:
        found = on_each(bench.lab.heads, rounds)
        assert len(found) == LINK_CUTS
        assert sum(cut) >= LINK_CUTS * 2 // 3
    finally:
        bench.put(bench.old)


@pytest.mark.parametrize("kind", UNCONFIRMED)
def test_a_head_that_nobody_confirms_goes_back_by_itself(bench: Bench, kind: str) -> None:
    """The operator is cut off from one head between its switch and the last word."""
    bench.put(bench.old)
    lone = bench.lab.heads[1]
    with operator(bench.site, *bench.words(HEADS, bench.new)) as running:
        told = running.wait_for(
            lambda each: each.what == kind and each.record.get("head") == lone.name, PATIENCE
        )
        assert told is not None, running.said
        lone.partition()
        began = time.monotonic()
        code = running.end(PATIENCE)
    try:
        # Asked beside its net: it is whole again before anybody reaches it.
        end = began + float(DEADLINE) + 20
        while bench.runs(lone) != bench.old:
            assert time.monotonic() < end, f"{lone.name} has not gone back"
            time.sleep(0.2)
    finally:
        lone.heal()
    assert code in (4, 5), running.said
    assert lone.name in running.said
    bench.rest(lambda _: (bench.old,))
    bench.put(bench.new)
