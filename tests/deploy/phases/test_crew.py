from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy.errors import BadReleaseError
from deploy.phases.errors import CommandError, CrewError, PhaseTimeoutError, QuorumError
from deploy.phases.member import Ended
from deploy.phases.state import UnitState
from deploy.team import StoppedError
from tests.deploy.phases.fakes import FakeMember, crew

if TYPE_CHECKING:
    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

UNIT = "mariadb.service"
UP = UnitState("active", "running", enabled=True)
STALE = replace(UP, stale="restart")


def heads(**units: UnitState) -> list[FakeMember]:
    return [FakeMember(name, unit={UNIT: unit}) for name, unit in units.items()]


def told(found: Crew) -> list[str]:
    return [f"{m.name}: {line}" for m in found.members for line in m.told]  # type: ignore[attr-defined]


def test_each_gives_what_came_of_it_by_name() -> None:
    found = crew("x", FakeMember("head1"), FakeMember("head2"))
    assert found.each(lambda member: member.name.upper()) == {"head1": "HEAD1", "head2": "HEAD2"}


def test_each_goes_on_when_one_fails_and_says_what_became_of_all() -> None:
    found = crew("x", FakeMember("head1"), FakeMember("head2"), FakeMember("head3"))

    def do(member: Member) -> str:
        if member.name == "head2":
            raise CommandError("head2", ["gluster"], status=1, stderr="no such brick")
        return "well"

    with pytest.raises(CrewError, match="head2") as caught:
        found.each(do)
    assert list(caught.value.failures) == ["head2"]
    assert caught.value.done == {"head1": "well", "head3": "well"}
    assert caught.value.got == "no such brick"
    assert caught.value.lines == (
        "head2: gluster failed with status 1: no such brick",
        "head[1,3]: done",
    )


def test_a_bug_is_no_failure_of_a_head() -> None:
    with pytest.raises(ZeroDivisionError):
        crew("x", FakeMember("head1")).each(lambda _: 1 / 0)


def test_nothing_is_begun_when_the_operator_wants_to_stop() -> None:
    found = crew("x", FakeMember("head1"))
    found.stopping.asked = True
    with pytest.raises(StoppedError):
        found.each(lambda member: member.run("true"))
    assert not told(found)


def test_wait_says_what_was_lacking_last() -> None:
    answers = iter(["", "not used"])
    crew("x").wait("sync", lambda: next(answers), 5)
    found = crew("x")
    before = found.clock.now()
    with pytest.raises(PhaseTimeoutError) as caught:
        found.wait("sync", lambda: "head2 is joining", 5)
    assert caught.value.got == "head2 is joining"
    assert found.clock.now() - before < 6


def test_a_long_wait_says_what_for() -> None:
    heard: list[str] = []
    found = replace(crew("x"), observe=lambda _, text: heard.append(text))
    with pytest.raises(PhaseTimeoutError):
        found.wait("all is in sync", lambda: "head2 is joining", 25)
    assert heard == ["waiting until all is in sync: head2 is joining"] * 2


def test_a_parameter_that_an_older_release_has_not() -> None:
    found = crew("x", FakeMember("head1"), mount="/mnt")
    assert found.parameters["mount"] == "/mnt"
    assert found.parameters.get("volume") is None
    with pytest.raises(BadReleaseError, match="'volume'"):
        found.parameters["volume"]


def test_settle_starts_restarts_and_reloads_as_needed() -> None:
    found = crew(
        "x",
        *heads(
            head1=UnitState("inactive"),
            head2=UnitState("failed"),
            head3=STALE,
            head4=replace(UP, stale="reload"),
            head5=UP,
        ),
    )
    found.settle(UNIT)
    assert told(found) == [
        f"head1: systemctl start {UNIT}",
        f"head2: systemctl start {UNIT}",
        f"head3: systemctl restart {UNIT}",
        f"head4: systemctl reload {UNIT}",
    ]
    assert ("systemctl", "reset-failed", UNIT) in found.members[1].ran  # type: ignore[attr-defined]
    assert all(found.active(member, UNIT) for member in found.members)
    assert not any(found.stale(member, UNIT) for member in found.members)


def test_roll_restarts_one_after_the_other_and_waits_between() -> None:
    found = crew("x", *heads(head1=STALE, head2=UP, head3=STALE))
    seen: list[str] = []

    def well() -> str:
        seen.append(" ".join(told(found)))
        return ""

    found.roll([UNIT], well, 10)
    assert told(found) == [f"head1: systemctl restart {UNIT}", f"head3: systemctl restart {UNIT}"]
    assert seen == [
        "",
        f"head1: systemctl restart {UNIT}",
        f"head1: systemctl restart {UNIT}",
        f"head1: systemctl restart {UNIT} head3: systemctl restart {UNIT}",
    ]


def test_roll_starts_what_is_out_before_it_takes_anything_down() -> None:
    found = crew("x", *heads(head1=STALE, head2=UnitState("inactive")))
    found.roll([UNIT], lambda: "", 10)
    assert told(found) == [f"head1: systemctl restart {UNIT}", f"head2: systemctl start {UNIT}"]


def test_roll_takes_no_head_down_while_another_is_out() -> None:
    found = crew("x", *heads(head1=STALE, head2=STALE))
    with pytest.raises(QuorumError, match="head1") as caught:
        found.roll([UNIT], lambda: "head3 does not answer", 10)
    assert caught.value.got == "head3 does not answer"
    assert not told(found)


def test_roll_takes_no_head_down_while_one_cannot_be_reached() -> None:
    found = crew("x", *heads(head1=STALE), missing=["head2"])
    with pytest.raises(QuorumError):
        found.roll([UNIT], lambda: "", 10)
    assert not told(found)


def test_roll_stops_after_the_head_that_does_not_get_well() -> None:
    found = crew("x", *heads(head1=STALE, head2=STALE))

    def well() -> str:
        return "head1 is joining" if told(found) else ""

    with pytest.raises(PhaseTimeoutError):
        found.roll([UNIT], well, 10)
    assert told(found) == [f"head1: systemctl restart {UNIT}"]


def test_roll_restarts_all_that_serves_nobody_as_that_may_be_why() -> None:
    found = crew("x", *heads(head1=STALE, head2=STALE))

    def well() -> str:
        return "" if len(told(found)) == 2 else "wrong password"

    found.roll([UNIT], well, 10, regardless=True)
    assert told(found) == [f"head1: systemctl restart {UNIT}", f"head2: systemctl restart {UNIT}"]


def test_roll_of_what_may_serve_nobody_goes_one_by_one_while_it_serves() -> None:
    found = crew("x", *heads(head1=STALE, head2=STALE))
    seen: list[int] = []

    def well() -> str:
        seen.append(len(told(found)))
        return ""

    found.roll([UNIT], well, 10, regardless=True)
    assert seen == [0, 0, 1, 1, 2]


def test_roll_goes_in_the_order_it_is_given() -> None:
    found = crew("x", *heads(head1=STALE, head2=STALE))
    found.roll([UNIT], lambda: "", 10, order=list(reversed(found.members)))
    assert [line.split()[0] for line in sorted(told(found))] == ["head1:", "head2:"]
    assert found.clock.now() == 1000.0


def test_a_command_that_fails_says_what_it_was_and_what_it_said() -> None:
    member = FakeMember("head1", answer=lambda *_: Ended(3, "", "permission denied"))
    with pytest.raises(CommandError) as caught:
        member.run("gluster", "peer", "probe", "head2")
    assert caught.value.status == 3
    assert caught.value.expected == "gluster peer probe head2"
    assert caught.value.got == "permission denied"
    assert member.run("gluster", check=False).status == 3
