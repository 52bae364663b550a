"""A Redis Cluster on heads: put together, restarted head by head, and left alone when well."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from deploy.phases.crew import Crew
from deploy.phases.errors import PhaseError, PhaseTimeoutError
from deploy.phases.member import Ended
from deploy.phases.phase import Kind
from deploy.phases.redis_cluster import UNITS, apply, check, verify
from deploy.phases.slots import QUESTION, Command
from deploy.phases.state import VERIFIED, Record, State, UnitState
from tests.deploy.phases.fakes import FakeMember, Time
from tests.deploy.phases.slots_world import ADDRESSES, WANTED, Cluster, head_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.configuration import Configuration

WRONG = "WRONGPASS invalid username-password pair or user is disabled.\nNOAUTH\n"


class Head(FakeMember):
    """A head with two instances of such a cluster."""

    def __init__(self, address: str, world: Cluster, log: list[str]) -> None:
        super().__init__(head_of(f"{address}:1"), address)
        self.world, self.log, self.old = world, log, False
        self.hurt: set[str] = set()
        """Copies that are behind once this head was restarted."""

    def run(
        self,
        *argv: str,
        input: str = "",  # noqa: A002
        timeout: float = 60.0,
        secrets: Sequence[str] = (),
        check: bool = True,
    ) -> Ended:
        if argv[0] == "redis-cli":
            return Ended(0, self._said(f"{argv[2]}:{argv[4]}", input.split("\n", 1)[1].strip()))
        if argv[:2] == ("systemctl", "restart"):
            leads = ", and somebody needs it" if self.world.leads(self.name) else ""
            self.log.append(f"{self.name}: restart{leads}")
            self.old = False
            self.world.behind |= self.hurt
        if argv[:2] == ("systemctl", "start"):
            self.log.append(f"{self.name}: start {' '.join(argv[2:])}")
        return super().run(*argv, input=input, timeout=timeout, secrets=secrets, check=check)

    def _said(self, place: str, commands: str) -> str:
        if self.old:
            return WRONG
        if commands == QUESTION:
            return self.world.said(place)
        if commands.startswith("SET"):
            _, key, word, *_ = commands.split()
            self.world.words[key] = word
        if commands.startswith("READONLY"):
            return "OK\n" + self.world.words.get(commands.rsplit(maxsplit=1)[-1], "") + "\n"
        self.world.do(Command(place, commands))
        if "FAILOVER" in commands:
            self.log.append(f"{place} takes over")
        return "OK\nOK\n"


class World:
    """Three of them; `log` is what was done, in order."""

    def __init__(self, *, up: bool) -> None:
        self.cluster = Cluster()
        self.log: list[str] = []
        self.heads = [Head(address, self.cluster, self.log) for address in ADDRESSES]
        if up:
            self.cluster.come_together()
        for head in self.heads:
            head.unit = dict.fromkeys(UNITS, UnitState("active" if up else "inactive"))

    def crew(self, count: int = 3, state: str | None = VERIFIED) -> Crew:
        heads = self.heads[:count]
        parameters = {"mode": "cluster", "password": "REDIS_PASSWORD"}
        wanted = cast("Configuration", SimpleNamespace(parameters=parameters, hosts=heads))
        record = None if state is None else Record("path", state, 1.0, "somebody")
        return Crew(
            "redis",
            tuple(heads),
            configurations={each.name: wanted for each in heads},
            states={each.name: State(record, laid=state is not None) for each in heads},
            clock=Time().clock,
            parallel=1,
        )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon: each look reads a lot."""
    monkeypatch.setattr("deploy.phases.redis_cluster.WELL_SECONDS", 3.0)


def test_bare_heads_become_a_cluster() -> None:
    world = World(up=False)
    (found,) = check(world.crew(state=None))
    assert found.kind is Kind.CHANGE
    apply(world.crew())
    assert verify(world.crew())[0] == "3 primaries have all keys, each with a copy on another head"
    assert check(world.crew()) == []


def test_a_second_run_does_nothing() -> None:
    world = World(up=True)
    apply(world.crew())
    assert world.log == []


def test_two_hosts_are_no_cluster() -> None:
    (found,) = check(World(up=False).crew(2))
    assert (found.kind, found.slug) == (Kind.REFUSAL, "bad-parameter")


def test_heads_are_restarted_when_they_are_nobodys_primary_and_get_that_back() -> None:
    world = World(up=True)
    for head in world.heads:
        head.unit = dict.fromkeys(UNITS, UnitState("active", stale="restart"))
    apply(world.crew())
    assert world.log[0] == f"{WANTED[0].copy} takes over"
    assert [line for line in world.log if "restart" in line] == [
        "head1: restart",
        "head2: restart",
        "head3: restart",
    ]
    for pair in WANTED:
        assert pair.home not in world.cluster.of


def test_a_head_is_not_restarted_before_others_have_taken_over() -> None:
    world = World(up=True)
    world.cluster.slow = 40
    for head in world.heads:
        head.unit = dict.fromkeys(UNITS, UnitState("active", stale="restart"))
    apply(world.crew())
    assert len([line for line in world.log if line.endswith(": restart")]) == 3
    assert not any("needs it" in line for line in world.log)


@pytest.mark.usefixtures("impatient")
def test_no_second_head_is_restarted_while_the_first_is_not_well() -> None:
    world = World(up=True)
    for head in world.heads:
        head.unit = dict.fromkeys(UNITS, UnitState("active", stale="restart"))
        head.hurt = {WANTED[0].home}
    with pytest.raises(PhaseTimeoutError, match="after a restart on head1"):
        apply(world.crew())
    assert [line for line in world.log if "restart" in line] == ["head1: restart"]


def test_what_is_down_is_started_and_what_runs_beside_it_waits_its_turn() -> None:
    """A head that is half down may have somebody's only primary."""
    world = World(up=True)
    for head in world.heads:
        head.unit = {
            UNITS[0]: UnitState("inactive"),
            UNITS[1]: UnitState("active", stale="restart"),
        }
    apply(world.crew())
    assert world.log[:3] == [f"{head.name}: start {UNITS[0]}" for head in world.heads]
    assert len([line for line in world.log if line.endswith(": restart")]) == 3
    assert not any("needs it" in line for line in world.log)


def test_another_password_is_refused_where_the_phase_never_was_and_taken_where_it_was() -> None:
    world = World(up=True)
    for head in world.heads:
        head.old = True
    strange = world.crew()
    (ours,) = check(strange)
    assert (ours.kind, ours.what) == (Kind.CHANGE, "take the new password REDIS_PASSWORD")
    laid = {name: State(laid=True) for name in strange.states}
    (theirs,) = check(replace(strange, states=laid))
    assert (theirs.kind, theirs.slug) == (Kind.REFUSAL, "wrong-password")
    apply(world.crew())
    assert check(world.crew()) == []


def test_keys_of_two_clusters_are_refused() -> None:
    world = World(up=True)
    world.cluster.known = {place: {place} for place in world.cluster.known}
    (found,) = check(world.crew())
    assert (found.kind, found.slug) == (Kind.REFUSAL, "two-clusters")
    with pytest.raises(PhaseError, match="two clusters"):
        apply(world.crew())


def test_what_a_copy_does_not_have_is_not_verified() -> None:
    world = World(up=True)
    world.cluster.words = _Deaf()
    with pytest.raises(PhaseError, match="is not read from"):
        verify(world.crew())


class _Deaf(dict[str, str]):
    def __setitem__(self, _key: str, _value: str) -> None:
        """Forget it."""


@pytest.mark.usefixtures("impatient")
def test_a_head_that_does_not_answer_is_waited_for() -> None:
    world = World(up=True)
    world.heads[2].run = lambda *_, **__: Ended(1)  # type: ignore[method-assign]
    (found,) = check(world.crew())
    assert "does not answer" in found.what
    with pytest.raises(PhaseTimeoutError):
        verify(world.crew())
