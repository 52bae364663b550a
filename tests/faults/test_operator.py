"""The operator's process is killed: after every stage, and whenever it happens to be."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.bench import Bench, on_each, shares
from tests.faults.counts import KILLS, STAGES
from tests.lab.operator import operator
from tests.lab.platform import HEADS

if TYPE_CHECKING:
    from tests.faults.whole import Made
    from tests.lab.head import LabHead
    from tests.lab.operator import Operator

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
PATIENCE = 120.0


def stages(bench: Bench, heads: str = HEADS) -> tuple[list[str], float]:
    """Deploy once undisturbed; give the kinds of what is told, in order, and the seconds."""
    after = bench.other(bench.lab.heads[0])
    with operator(bench.site, *bench.words(heads, after)) as running:
        assert running.end() == 0, running.said
        return list(dict.fromkeys(each.what for each in running.told)), running.seconds


def test_killed_after_every_stage(bench: Bench) -> None:
    """All heads at once: each is the old or the new, and the same command brings the new."""
    kinds, _ = stages(bench)
    assert len(kinds) >= 6
    for kind in kinds[::STAGES]:
        before = {head.name: bench.runs(head) for head in bench.lab.heads}
        after = bench.other(bench.lab.heads[0])
        with operator(bench.site, *bench.words(HEADS, after)) as running:
            told = running.wait_for(lambda each, kind=kind: each.what == kind, PATIENCE)  # type: ignore[misc]
            assert told is not None, (kind, running.said)
            running.kill()
        bench.rest(lambda head, before=before, after=after: (before[head.name], after))  # type: ignore[misc]
        bench.put(after)


def test_killed_at_random_moments(bench: Bench) -> None:
    _, whole = stages(bench, bench.lab.heads[0].name)

    def rounds(head: LabHead) -> list[Made]:
        chance = random.Random(head.index)  # noqa: S311
        longest, killed, found = whole, 0, []

        def kill(running: Operator) -> None:
            nonlocal longest, killed
            time.sleep(chance.uniform(0, longest))
            running.kill()
            if running.end() == -signal.SIGKILL:
                killed += 1
            else:
                longest *= 0.8

        while killed < list(shares(KILLS, len(bench.lab.heads)))[head.index - 1]:
            found.append(bench.trial(head, bench.other(head), kill))
        return found

    assert len(on_each(bench.lab.heads, rounds)) >= KILLS
