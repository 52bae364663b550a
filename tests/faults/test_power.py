"""The power of a head is cut while it is pushed to, prepared, switched and restarted.

The disk loses what was not synced (`tests.lab.disk`), the head boots, and must come up by itself,
with nobody to help: exactly the old or the new release, its store clean.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.bench import Bench, on_each, shares
from tests.faults.counts import POWER_CUTS
from tests.faults.whole import NotWholeError, look
from tests.lab.operator import operator
from tests.lab.shell import run

if TYPE_CHECKING:
    from tests.faults.whole import Made
    from tests.lab.head import LabHead
    from tests.lab.operator import Operator

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
PATIENCE = 120.0
LATE = 300
"""Seconds between commits of a disk that is to forget."""
PHASES = {
    "push": ("plan", "pushed"),
    "prepare": ("pushed", "prepared"),
    "switch": ("prepared", "switched"),
    "restart": ("switched", "healthy"),
}
"""Each with what is told at its beginning and at its end."""


def duration(bench: Bench, head: LabHead, phase: str) -> float:
    """Deploy undisturbed; give the seconds of one phase."""
    first, last = PHASES[phase]
    with operator(bench.site, *bench.words(head.name, following(bench, head, phase))) as running:
        began = running.wait_for(lambda each: each.what == first, PATIENCE)
        ended = running.wait_for(lambda each: each.what == last, PATIENCE)
        assert running.end() == 0, running.said
    assert began is not None
    assert ended is not None
    return ended.at - began.at


def following(bench: Bench, head: LabHead, phase: str) -> Made:
    """Name a release to deploy next: one with much to push, where that is to be cut."""
    return bench.ballasted() if phase == "push" else bench.other(head)


def boot(head: LabHead) -> None:
    """Give a head its power back."""
    head.start()
    head.wait_ssh()


@pytest.mark.parametrize("phase", PHASES)
def test_power_is_cut(bench: Bench, phase: str) -> None:
    whole = duration(bench, bench.lab.heads[0], phase)
    share = list(shares(POWER_CUTS, len(bench.lab.heads)))
    spare = [bench.ballasted() for _ in range(max(share))] if phase == "push" else []

    def rounds(head: LabHead) -> list[Made]:
        chance = random.Random(f"{phase} {head.name}")  # noqa: S311

        def cut(running: Operator) -> None:
            first = PHASES[phase][0]
            assert running.wait_for(lambda each: each.what == first, PATIENCE), running.said
            time.sleep(chance.uniform(0, whole))
            head.power_cut()
            # It is back before the operator has given it up, as after a flicker.
            boot(head)
            running.end(PATIENCE)

        return [
            bench.trial(head, spare[turn] if spare else bench.other(head), cut)
            for turn in range(share[head.index - 1])
        ]

    try:
        assert len(on_each(bench.lab.heads, rounds)) == POWER_CUTS
    finally:
        bench.put(bench.old)


NO_SYNC = {
    "store/sync.py": ("sync(descriptor)", "descriptor"),
    "store/database.py": ("'FULL' if durable else 'NORMAL'", "'OFF'"),
    "store/journal.py": ("os.fdatasync(", "int("),
    "deploy/durable.py": ("os.fsync(", "int("),
    # The last line of all: syncing it takes along whatever was renamed before.
    "deploy/audit.py": ("os.fdatasync(", "int("),
}


def survivor(bench: Bench, head: LabHead, made: Made) -> Made:
    """Deploy, cut the power the moment the command has ended well, and see what boots."""
    with operator(bench.site, *bench.words(head.name, made)) as running:
        assert running.end(PATIENCE) == 0, running.said
        head.power_cut()
    boot(head)
    return look(bench.site, head, (bench.old, made))


def test_what_was_confirmed_survives_a_power_cut(bench: Bench) -> None:
    for head in bench.lab.heads:
        for made in (bench.new, bench.old):
            assert survivor(bench, head, made) == made


def test_without_syncing_it_does_not(bench: Bench) -> None:
    """The control: the command has ended well, and the disk does not know."""
    head = bench.lab.heads[0]
    bench.put(bench.old)
    # What was deployed before is on the disk, as it would be after some seconds.
    made = bench.crippled(NO_SYNC)
    head.run("sync")
    # Nor is it to be saved by ext4, which commits every five seconds of its own accord.
    run("mount", "-o", f"remount,commit={LATE}", str(head.root.parent / "disk"))
    try:
        kept = survivor(bench, head, made) == made
    except NotWholeError:
        kept = False
    assert not kept
    head.run("sync")
    bench.put(bench.old)
