"""Redis is restarted without its primary going away, and never takes what is another's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy.phases.errors import PhaseError, PhaseTimeoutError, QuorumError
from deploy.phases.phase import Kind
from deploy.phases.redis import (
    PROXY,
    SENTINEL,
    SERVER,
    UNITS,
    apply,
    before_undo,
    check,
    undo,
    verify,
    well,
)
from deploy.phases.redis_call import DATA, KEYS, MARK, foreign, losses
from deploy.phases.state import LAID, VERIFIED
from tests.deploy.phases.fakes import configuration
from tests.deploy.phases.redis_world import HEADS, RedisWorld

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.phase import Finding


def refused(found: Sequence[Finding]) -> list[str]:
    return [each.slug for each in found if each.kind is Kind.REFUSAL]


def test_bare_heads_get_a_primary_and_its_replicas() -> None:
    world = RedisWorld.of()
    (found,) = check(world.crew())
    assert (found.head, found.what, found.kind) == ("head1", "be the first primary", Kind.CHANGE)
    apply(world.crew(state=LAID))
    assert all(host.up == set(UNITS) for host in world.hosts.values())
    assert all(MARK in host.files for host in world.hosts.values())
    assert verify(world.verified())[0] == "head1 is the primary, head2 and head3 follow it"
    assert check(world.verified()) == []


def test_a_second_run_does_nothing() -> None:
    world = RedisWorld.running()
    apply(world.verified())
    assert world.told == []


def test_settings_are_taken_by_replicas_first_and_by_a_primary_that_gave_that_up() -> None:
    world = RedisWorld.running()
    for host in world.hosts.values():
        host.stale = {SERVER}
    world.unfit = 1
    apply(world.verified())
    assert world.told == [
        "head2: restart redis-server",
        "head3: restart redis-server",
        "head1: pause 10000 write",
        "head1: unpause",
        "head1: pause 10000 write",
        "head2 is the primary",
        "head1: restart redis-server",
    ]


def test_a_primary_gives_up_when_its_replicas_have_all_that_it_has() -> None:
    world = RedisWorld.running()
    world.hosts["head1"].stale = {SERVER}
    world.lag = 400
    apply(world.verified())
    assert world.told.count("head1: pause 10000 write") > 1
    assert world.told[-1] == "head1: restart redis-server"


def test_a_head_that_is_down_is_started_before_others_are_restarted() -> None:
    world = RedisWorld.running()
    world.hosts["head3"].up = set()
    world.hosts["head2"].stale = {SERVER}
    apply(world.verified())
    assert world.told[0].startswith("head3: start")
    assert world.told[1:] == ["head2: restart redis-server"]


def test_nobody_is_restarted_while_a_head_is_missing() -> None:
    world = RedisWorld.running()
    world.hosts["head2"].stale = {SERVER}
    world.hosts["head3"].up = set()
    with pytest.raises(QuorumError, match="head2"):
        apply(world.crew(missing=["head3"], state=LAID))
    assert world.told == []


def test_nobody_is_restarted_while_a_replica_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    world = RedisWorld.running()
    world.hosts["head2"].stale = {SERVER}
    world.deaf = {"head3"}
    with pytest.raises(QuorumError, match="not taken down"):
        apply(world.verified())
    assert world.told == []
    # The control: with the check removed it is restarted.
    monkeypatch.setattr("deploy.phases.replication.fault", lambda _: "")
    apply(world.verified())
    assert world.told == ["head2: restart redis-server"]


def test_a_password_that_the_site_changed_is_taken_by_all_at_once() -> None:
    world = RedisWorld.running()
    for host in world.hosts.values():
        host.old = host.stale = {SERVER, SENTINEL}
    (found,) = check(world.verified())
    assert found.what == "take the new password REDIS_PASSWORD"
    assert "all heads at once" in found.consequence
    apply(world.verified())
    assert not any(host.old for host in world.hosts.values())
    assert world.told[:3] == [f"{head}: stop redis-sentinel" for head in HEADS]
    assert verify(world.verified())


def test_a_password_that_only_some_may_take_is_refused() -> None:
    world = RedisWorld.running()
    world.hosts["head1"].old = {SERVER}
    assert refused(check(world.crew(missing=["head3"], state=LAID))) == ["head-needed"]
    assert refused(check(world.crew(witnesses=["head2"], state=LAID))) == ["head-needed"]


def test_a_password_and_packages_are_not_taken_both_at_once() -> None:
    """The one is for all heads at once, the other for one after the other."""
    world = RedisWorld.running()
    world.hosts["head1"].old = {SERVER}
    crew = world.verified()
    newer = {"redis-server": "7.0 \u2192 7.2"}
    states = {name: replace(each, packages=newer) for name, each in crew.states.items()}
    assert refused(check(replace(crew, states=states))) == ["wrong-password"]


def test_another_password_than_ours_is_refused() -> None:
    world = RedisWorld.running()
    world.hosts["head2"].old = {SERVER}
    world.hosts["head2"].files = set()
    (found,) = check(world.crew(state=LAID, strangers=["head2"]))
    assert (found.slug, found.hint) == ("wrong-password", "sealift secret set REDIS_PASSWORD")


@pytest.mark.parametrize("mine", [True, False])
def test_keys_that_were_never_ours_are_refused(mine: bool) -> None:  # noqa: FBT001
    world = RedisWorld.of()
    world.hosts["head2"].files = {f"{DATA}/dump.rdb", *([MARK] if mine else [])}
    assert refused(check(world.crew())) == ([] if mine else ["foreign-data"])


@pytest.mark.parametrize("fault", ["Input/output error", "no end within 60 s"])
def test_data_that_cannot_be_looked_at_are_not_nothing(fault: str) -> None:
    world = RedisWorld.running()
    world.hosts["head2"].fault = fault
    with pytest.raises(PhaseError, match="on head2 cannot be looked at"):
        check(world.verified())
    for look in (foreign, losses):
        with pytest.raises(PhaseError, match="/var/lib/redis on head2 cannot be looked at"):
            look(world.crew())
    with pytest.raises(PhaseError):
        before_undo(world.verified(), [KEYS])


def test_of_a_head_that_was_not_reached_nobody_knows_whether_it_has_keys() -> None:
    found = check(RedisWorld.of().crew(missing=["head3"]))
    assert refused(found) == ["unreachable"]


@pytest.mark.parametrize(
    ("mode", "file"), [("sentinel", "nodes.conf"), ("cluster", "sentinel.conf")]
)
def test_keys_of_one_mode_do_not_become_those_of_the_other(mode: str, file: str) -> None:
    world = RedisWorld.of()
    world.hosts["head1"].files = {MARK, f"{DATA}/{file}"}
    assert refused(check(world.crew(mode=mode))) == ["redis-mode"]


@pytest.mark.parametrize(
    ("laid", "hint"),
    [
        (None, f"move what lies in {DATA} aside there, then run it again"),
        ("cluster", f"sentinel.conf is none of this mode's: move {DATA}/sentinel.conf aside there"),
        (
            "sentinel",
            (
                "sealift phase undo redis --yes-destroy keys --host head[1-3], then run it again; "
                "if that is refused, first run it with mode: sentinel"
            ),
        ),
    ],
)
def test_out_of_another_mode_there_is_a_way_for_what_is_laid_and_for_what_is_not(
    laid: str | None, hint: str
) -> None:
    world = RedisWorld.of()
    world.hosts["head1"].files = {MARK, f"{DATA}/sentinel.conf"}
    crew = world.crew(mode="cluster", state=None if laid is None else VERIFIED)
    if laid is not None:
        crew.members[0].has["redis"] = configuration(mode=laid)  # type: ignore[attr-defined]
    assert [each.hint for each in check(crew)] == [hint]


def test_what_lasts_is_waited_for() -> None:
    world = RedisWorld.running()
    world.deaf = {"head3"}
    (found,) = check(world.verified())
    assert "head3 is not up to date" in found.what
    with pytest.raises(PhaseTimeoutError):
        apply(world.verified())


def test_a_redis_without_a_password_is_not_verified() -> None:
    world = RedisWorld.running()
    world.hosts["head3"].open = True
    with pytest.raises(PhaseError, match="asks for no password"):
        verify(world.verified())


def test_what_does_not_arrive_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    world = RedisWorld.running()
    world.deaf = {"head3"}
    monkeypatch.setattr("deploy.phases.replication.fault", lambda _: "")
    with pytest.raises(PhaseError, match="not read on head3"):
        verify(world.verified())


def test_undo_stops_the_primary_last_and_keeps_keys() -> None:
    world = RedisWorld.running()
    world.primary = "head2"
    undo(world.verified(), ())
    assert world.told[-3:] == [f"{head}: stop redis-server" for head in ("head1", "head3", "head2")]
    assert world.told[0] == "head1: stop haproxy redis-sentinel"
    assert all(host.files for host in world.hosts.values())
    assert not any(host.up & {SERVER, SENTINEL, PROXY} for host in world.hosts.values())


def test_undo_gives_keys_up_by_name_alone() -> None:
    world = RedisWorld.running()
    found = before_undo(world.verified(), [KEYS])
    assert [(each.head, each.kind) for each in found] == [
        (head, Kind.IRREVERSIBLE) for head in HEADS
    ]
    assert before_undo(world.verified(), ()) == []
    undo(world.verified(), [KEYS])
    assert not any(host.files for host in world.hosts.values())
    assert before_undo(world.verified(), [KEYS]) == []


def test_nothing_is_destroyed_that_does_not_bear_our_mark() -> None:
    world = RedisWorld.running()
    world.hosts["head3"].files = {f"{DATA}/appendonlydir"}
    assert refused(before_undo(world.verified(), [KEYS])) == ["foreign-data"]
    with pytest.raises(PhaseError, match="does not bear this phase's mark"):
        undo(world.verified(), [KEYS])
    assert all(host.files for host in world.hosts.values())


def test_what_was_cut_off_while_it_was_destroyed_goes_on() -> None:
    """Whenever it is cut off, the mark is there as long as anything is."""
    world = RedisWorld.running()
    world.hosts["head2"].files = {MARK}
    world.hosts["head3"].files = set()
    undo(world.verified(), [KEYS])
    assert world.told[-4:] == [*["head1: delete", "head2: delete"] * 2]
    assert not any(host.files for host in world.hosts.values())


def test_it_is_not_well_while_a_unit_is_down_or_a_replica_behind() -> None:
    world = RedisWorld.running()
    assert well(world.verified()) == ""
    world.hosts["head2"].up -= {PROXY}
    assert "haproxy.service on head2" in well(world.verified())
    world = RedisWorld.running()
    world.deaf = {"head3"}
    assert "head3 is not up to date" in well(world.verified())


def test_a_unit_that_is_down_everywhere_hides_no_server_with_old_settings() -> None:
    """What is not restarted now would be taken down for verified."""
    world = RedisWorld.running()
    for host in world.hosts.values():
        host.stale = {SERVER}
        host.up -= {PROXY}
    apply(world.verified())
    assert not any(host.stale for host in world.hosts.values())
    assert world.told[:3] == [f"{head}: start haproxy" for head in HEADS]
    assert [line for line in world.told if "restart" in line] == [
        "head2: restart redis-server",
        "head3: restart redis-server",
        "head1: restart redis-server",
    ]
