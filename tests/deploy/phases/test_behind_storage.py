"""A place that a phase leaves: it is not taken from below one that stands on it and is not run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.phases.errors import PhasesRefusedError
from deploy.phases.phase import Kind
from deploy.phases.run import Run
from tests.deploy.phases.grounds import HEADS, scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.phases.configuration import Configuration
    from deploy.phases.plan import Plan
    from tests.deploy.phases.grounds import Scene


def run(found: Scene, *asked: str) -> Plan:
    shown: list[Plan] = []
    Run(found.ground(*asked), shown.append, lambda: True).go()
    return shown[0]


def moved(*, slurm: bool = True, laid: tuple[str, ...] = ("storage", "slurm")) -> Scene:
    """Return phases that were run, with another mount now; `slurm` says whether it is to follow."""
    found = scene("storage", "slurm", parameters={"mount": "/mnt/gluster"})
    run(found, *laid)
    later = {"storage": _other(found.configurations["storage"], mount="/data")}
    if slurm:
        later["slurm"] = _other(found.configurations["slurm"])
    found = replace(found, configurations={**found.configurations, **later})
    for name, member in found.members.items():
        for phase, hosts in found.configurations.items():
            member.path[phase], member.wants[phase] = str(hosts[name].path), hosts[name]
    return found


def _other(hosts: Mapping[str, Configuration], **more: str) -> dict[str, Configuration]:
    return {
        name: replace(each, path=Path(f"{each.path}-2"), parameters={**each.parameters, **more})
        for name, each in hosts.items()
    }


def test_a_mount_is_not_taken_from_below_slurm_that_is_not_asked_for() -> None:
    found = moved()
    before = found.log("head1")[:]
    with pytest.raises(PhasesRefusedError, match="leave /mnt/gluster, on which slurm") as caught:
        run(found, "storage")
    assert caught.value.slug == "phase-behind"
    assert caught.value.hint == "sealift phase run 0-1 --host head[1-3]"
    assert found.log("head1") == before


def test_what_stands_on_the_mount_is_named_in_the_plan() -> None:
    plan = run(moved(), "storage", "slurm")
    told = [each for each in plan.phases[0].findings if "leave /mnt/gluster" in each.what]
    assert [(each.head, each.kind) for each in told] == [(head, Kind.CHANGE) for head in HEADS]
    assert told[0].consequence == "slurm is out until its own turn"


@pytest.mark.parametrize("case", ["not laid", "needs nothing of it", "the same place"])
def test_what_does_not_stand_there_is_no_reason(case: str) -> None:
    if case == "not laid":
        found = moved(laid=("storage",))
    elif case == "needs nothing of it":
        found = moved(slurm=False)
    else:
        found = moved()
        same = _other(found.configurations["storage"], mount="/mnt/gluster", ping="7")
        found = replace(found, configurations={**found.configurations, "storage": same})
    plan = run(found, "storage")
    assert not any("leave" in each.what for each in plan.phases[0].findings)
