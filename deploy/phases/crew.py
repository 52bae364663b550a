"""The heads of one phase, at work together: all at once, or one after the other while all is well.

What is done with them is for the phase's module; how one head is reached is for its `Member`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from deploy.errors import BadReleaseError
from deploy.phases.errors import PhaseError, PhaseTimeoutError, QuorumError
from deploy.phases.state import NONE, RELOAD, RESTART
from deploy.phases.together import together
from deploy.stopping import Stopping
from deploy.team import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.phases.member import Member
    from deploy.phases.state import State, UnitState

T = TypeVar("T")
START_SECONDS = 240.0
"""How long systemd may take with units, unless the phase says that they may take longer."""
PATIENCE = 10.0
"""Seconds of waiting after which the operator is told what for."""
HOPELESS_SECONDS = 10.0
"""How long what serves nobody is given to get well by itself."""
WELL_SECONDS = 60.0
"""How long a cluster that is to be rolled may take until it is well, before anything is done."""


def silent(_head: str, _text: str) -> None:
    """Tell nobody."""


class Parameters(dict[str, Any]):
    """Parameters of a phase; one that is not there is an error that an operator can act on."""

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - it never returns
        reason = f"the release says nothing of the parameter {name!r} of a phase"
        hint = "it was built with another version of sealift: build it again"
        raise BadReleaseError(reason, hint=hint)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as it passes; a test has its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Crew:
    """The heads of one phase.

    `members` may be changed, in order of priority, then name. `witnesses` are looked at and not
    changed. `missing` are heads of the phase that were not reached: what is not known of them is
    not `absent`. `states` are those of members and witnesses before anything was done.
    """

    phase: str
    members: tuple[Member, ...]
    witnesses: tuple[Member, ...] = ()
    missing: tuple[str, ...] = ()
    configurations: Mapping[str, Configuration] = field(default_factory=lambda: NONE)
    """By head, of all heads of the phase."""
    states: Mapping[str, State] = field(default_factory=lambda: NONE)
    observe: Callable[[str, str], None] = silent
    stopping: Stopping = field(default_factory=Stopping)
    clock: Clock = field(default_factory=Clock)
    parallel: int = 16

    @property
    def shared(self) -> Configuration:
        """What the phase wants of its first head, for all that its heads share."""
        return next(iter(self.configurations.values()))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The phase's parameters, which all its heads share."""
        return Parameters(self.shared.parameters)

    @property
    def everybody(self) -> tuple[Member, ...]:
        """Members and witnesses."""
        return self.members + self.witnesses

    @property
    def whole(self) -> bool:
        """Whether every head of the phase may be changed."""
        return not self.witnesses and not self.missing

    def configuration(self, name: str) -> Configuration:
        """Return what the phase wants of a head."""
        return self.configurations[name]

    def member(self, name: str) -> Member:
        """Return the member or witness of this name.

        Raises:
            PhaseError: there is none; it may be missing.
        """
        for each in self.everybody:
            if each.name == name:
                return each
        raise PhaseError(f"{name} is not at hand in the phase {self.phase}", where=name)

    def tell(self, head: str, text: str) -> None:
        """Let the operator know what is being done on a head; of the cluster, where it is empty."""
        self.observe(head, text)

    def each(self, do: Callable[[Member], T], who: Sequence[Member] | None = None) -> dict[str, T]:
        """Do it on members, or on `who`, all at once; return what came of it by name.

        Raises:
            CrewError: it failed on some of them; has the state of each.
            StoppedError: the operator wants no more of it; nothing was begun.
        """
        self.look()
        return together(self.members if who is None else who, do, self.parallel)

    def wait(self, what: str, ready: Callable[[], str], seconds: float, every: float = 0.3) -> None:
        """Wait until `ready` returns nothing; till then it returns why it is not ready yet.

        Raises:
            PhaseTimeoutError: it is not ready after `seconds`.
            StoppedError: the operator does not want to wait.
        """
        began = told = self.clock.now()
        while why := ready():
            self.look()
            now = self.clock.now()
            if now >= began + seconds:
                reason = f"{what}: not within {seconds:.0f} s"
                raise PhaseTimeoutError(reason, where=self.phase, got=why)
            if now - told >= PATIENCE:
                told = now
                self.tell("", f"waiting until {what}: {why}")
            self.clock.sleep(every)

    def settle(self, *units: str, who: Sequence[Member] | None = None) -> None:
        """Start the units that are not active and restart or reload those that are stale.

        On all members, or `who`, at once: for units that may be down together.

        Raises:
            CrewError: systemd does not start one of them.
        """
        self.each(lambda member: self._settle(member, units), who)

    def roll(
        self,
        units: Sequence[str],
        well: Callable[[], str],
        seconds: float,
        order: Sequence[Member] | None = None,
        *,
        regardless: bool = False,
        limit: float = START_SECONDS,
    ) -> None:
        """Restart stale units, one head after the other, while all else is well.

        What is not active is started first: that head is out already. `well` returns why the
        cluster is not well; it has to be before each head, and again after it, within `seconds`.
        `regardless` says that units which are not well serve nobody: if they do not get so, what is
        stale is restarted all the same, as that may be why. `limit` is how many seconds systemd may
        take to restart them on a head.

        Raises:
            QuorumError: a head would be taken down while another one is out.
            PhaseTimeoutError: it does not get well after a head was restarted.
        """
        heads = self.members if order is None else tuple(order)
        found = self.each(lambda member: member.units(*units), heads)
        for member in heads:
            if any(not each.running for each in found[member.name].values()):
                self._settle(member, units)
        for member in heads:
            self._reload(member, found[member.name])
        due = [each for each in heads if _due(found[each.name], RESTART)]
        if due and regardless and not self._gets_well(well):
            self._restart_all(due, units, limit)
            self.wait(f"{self.phase} is well after a restart", well, seconds)
            return
        for member in due:
            if self._restart(member, units, well, limit):
                self.wait(f"{self.phase} is well after a restart on {member.name}", well, seconds)

    def active(self, member: Member, unit: str) -> bool:
        """Tell whether a unit is up now."""
        return member.units(unit)[unit].running

    def stale(self, member: Member, unit: str) -> str:
        """Tell whether a unit runs with what it had before: `restart`, `reload` or nothing."""
        return member.units(unit)[unit].stale

    def reconnect(self, member: Member) -> None:
        """Make sure that a new connection of the operator is let in.

        Raises:
            Error: it is not.
        """
        member.reconnect()

    def look(self) -> None:
        """Go on, unless the operator wants to stop.

        Raises:
            StoppedError: he does.
        """
        if self.stopping.asked:
            raise StoppedError

    def _settle(self, member: Member, units: Sequence[str]) -> None:
        found = member.units(*units)
        down = tuple(name for name in units if not found[name].running)
        failed = tuple(name for name in down if found[name].active == "failed")
        if failed:
            # What failed too often is not started again before that is forgotten.
            member.run("systemctl", "reset-failed", *failed, check=False)
        self._systemctl(member, "start", down)
        self._systemctl(member, "restart", _due(found, RESTART))
        self._reload(member, found)

    def _reload(self, member: Member, found: Mapping[str, UnitState]) -> None:
        self._systemctl(member, "reload", _due(found, RELOAD))

    def _restart(
        self, member: Member, units: Sequence[str], well: Callable[[], str], limit: float
    ) -> bool:
        """Restart what is stale on one head, if no other is out; tell whether anything was."""
        due = _due(member.units(*units), RESTART)
        if not due:
            return False
        if self.missing:
            raise self._kept(member, f"{', '.join(self.missing)} cannot be reached")
        try:
            self.wait(f"{self.phase} is well", well, WELL_SECONDS)
        except PhaseTimeoutError as error:
            raise self._kept(member, error.got or "") from error
        self._systemctl(member, "restart", due, limit)
        return True

    def _gets_well(self, well: Callable[[], str]) -> bool:
        try:
            self.wait(f"{self.phase} is well", well, HOPELESS_SECONDS)
        except PhaseTimeoutError:
            return False
        return True

    def _restart_all(self, heads: Sequence[Member], units: Sequence[str], limit: float) -> None:
        """Restart what is stale where nothing is served, so that there is nothing to lose."""
        for member in heads:
            self._systemctl(member, "restart", _due(member.units(*units), RESTART), limit)

    def _kept(self, member: Member, why: str) -> QuorumError:
        reason = f"{member.name} is not taken down, as another one is out"
        hint = "put that one right first, then run the phase again"
        return QuorumError(reason, where=member.name, got=why, hint=hint)

    def _systemctl(
        self, member: Member, word: str, units: Sequence[str], limit: float = START_SECONDS
    ) -> None:
        if units:
            self.tell(member.name, f"{word} {', '.join(units)}")
            member.run("systemctl", word, *units, timeout=limit)


def _due(units: Mapping[str, UnitState], how: str) -> tuple[str, ...]:
    """Return the units that run with what they had before, and that `how` puts right."""
    return tuple(name for name, each in units.items() if each.running and each.stale == how)
