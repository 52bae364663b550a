"""How a head gets from what systemd runs to what a release wants: what is done to which service.

Pure: what is wanted and what was seen go in, a plan comes out. What is as it should be is left
alone; a new instance comes beside the old one where a service allows it. `deploy.systemd_head`
carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from deploy.release import WEB_SERVER
from deploy.services import Changes, Phase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from deploy.units import Unit


class Move(Enum):
    """What is done to one service that is wanted."""

    KEEP = "keep"
    BEGIN = "begin"
    """It is started: nothing of it runs."""
    BESIDE = "beside"
    """A new instance joins the old one on its socket, and then the old one ends."""
    SWAP = "swap"
    """The old instance ends, and then the new one begins; the socket stays open meanwhile."""
    AGAIN = "again"
    """The same instance is started anew; the socket stays open meanwhile."""
    REOPEN = "reopen"
    """Its socket is to be another one: a new instance begins there, and the old one goes on where
    it was until the web server knows. Where one port is wanted by both, the old one ends first."""
    RELOAD = "reload"
    """It reads its files again."""

    @property
    def begins(self) -> bool:
        """Whether a process begins."""
        return self not in (Move.KEEP, Move.RELOAD)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a running unit was started with: digests of its unit's text and of its secrets."""

    unit: str
    secrets: str = ""

    def __str__(self) -> str:
        return f"{self.unit} {self.secrets}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """Read what `str` wrote."""
        unit, _, secrets = text.strip().partition(" ")
        return cls(unit, secrets)


@dataclass(frozen=True, slots=True)
class Seen:
    """What systemd runs.

    `up` has the instances by service, without those that are about to end. `stamps` has what units
    were started with, by the unit's name: one without was started by nobody who could tell.
    `listening` has the digests of open sockets, by the unit's name, and `ports` what they are open
    at.
    """

    up: Mapping[str, Mapping[str, Phase]] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    listening: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to each wanted service, and what of others ends.

    `old` has, by service, the units that are not wanted any more; `closing` the sockets. `first`
    are the services of which all that runs ends before anything begins.
    """

    units: Mapping[str, Unit]
    moves: Mapping[str, Move]
    old: Mapping[str, tuple[str, ...]]
    closing: tuple[str, ...] = ()
    first: frozenset[str] = frozenset()

    def only(self, names: Collection[str]) -> Plan:
        """Return the part that is about these services; what others had runs on."""
        return Plan(
            {name: unit for name, unit in self.units.items() if name in names},
            {name: move for name, move in self.moves.items() if name in names},
            {name: old for name, old in self.old.items() if name in names},
            first=self.first & frozenset(names),
        )

    def names(self, *moves: Move) -> tuple[str, ...]:
        """Return the services to which one of these is done, sorted."""
        return tuple(sorted(name for name, move in self.moves.items() if move in moves))

    @property
    def moved(self) -> tuple[str, ...]:
        """The services that go on at their old ports until the web server knows the new ones."""
        return tuple(name for name in self.names(Move.REOPEN) if name not in self.first)

    @property
    def gone(self) -> tuple[str, ...]:
        """The services of which nothing is wanted any more."""
        return tuple(sorted(self.old.keys() - self.units.keys()))

    @property
    def changes(self) -> Changes:
        """Tell the plan as one sees it from outside."""
        return Changes(
            started=self.names(Move.BEGIN),
            restarted=self.names(Move.BESIDE, Move.SWAP, Move.AGAIN, Move.REOPEN),
            stopped=self.gone,
            reloaded=self.names(Move.RELOAD),
        )


def plan(
    wanted: Mapping[str, Unit],
    seen: Seen,
    secrets: Mapping[str, str],
    *,
    anew: Collection[str] = (),
    stale: bool = False,
) -> Plan:
    """Return what leads from `seen` to `wanted`.

    `secrets` has digests by service. `anew` are services that are started anew in any case.
    `stale` says that the web server has not loaded what it should.
    """
    moves = {
        name: _move(unit, seen, Stamp(unit.digest, secrets.get(name, "")), anew=name in anew)
        for name, unit in wanted.items()
    }
    if stale and moves.get(WEB_SERVER) is Move.KEEP:
        moves[WEB_SERVER] = Move.RELOAD
    sockets = {unit.socket for unit in wanted.values()}
    closing = tuple(sorted(each for each in seen.listening if each not in sockets))
    old = _old(wanted, seen)
    return Plan(wanted, moves, old, closing, _first(wanted, moves, old, seen))


def _move(unit: Unit, seen: Seen, stamp: Stamp, *, anew: bool) -> Move:
    up = seen.up.get(unit.name, {})
    if not up:
        return Move.BEGIN
    if unit.socket is not None and seen.listening.get(unit.socket) != unit.socket_digest:
        return Move.REOPEN
    if unit.instance not in up:
        return Move.BESIDE if unit.concurrent else Move.SWAP
    if anew or up[unit.instance] is Phase.FAILED:
        return Move.AGAIN
    return _compare(unit, seen.stamps.get(unit.service), stamp)


def _compare(unit: Unit, had: Stamp | None, wants: Stamp) -> Move:
    if had == wants:
        return Move.KEEP
    if unit.name == WEB_SERVER and had is not None and had.unit == wants.unit:
        return Move.RELOAD
    return Move.AGAIN


def _first(
    wanted: Mapping[str, Unit],
    moves: Mapping[str, Move],
    old: Mapping[str, tuple[str, ...]],
    seen: Seen,
) -> frozenset[str]:
    """Return what must have ended before anything begins.

    What goes, or goes elsewhere, has to make room only for whom needs its very port.
    """
    coming = {
        port: name
        for name, unit in wanted.items()
        if moves[name].begins and moves[name] is not Move.AGAIN
        for port in unit.ports
    }
    leaving = [name for name in old.keys() - wanted.keys() if _needed(name, coming, seen)]
    alone = [name for name, move in moves.items() if move is Move.SWAP]
    for name, move in moves.items():
        here = wanted[name].instance in seen.up.get(name, {})
        if move is Move.REOPEN:
            stays = wanted[name].concurrent and not here
            alone += [] if stays and not _needed(name, coming, seen) else [name]
    return frozenset([*leaving, *alone])


def _needed(name: str, coming: Mapping[int, str], seen: Seen) -> bool:
    """Tell whether something begins at a port of what runs; where nobody knows its port, it may."""
    ports = seen.ports.get(f"sealift-{name}.socket")
    return bool(coming) if ports is None else not ports.isdisjoint(coming)


def _old(wanted: Mapping[str, Unit], seen: Seen) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, instances in seen.up.items():
        mine = wanted[name].instance if name in wanted else None
        old = [f"sealift-{name}@{each}.service" for each in sorted(instances) if each != mine]
        if old:
            found[name] = tuple(old)
    return found
