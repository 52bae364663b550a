"""Redis Cluster: which instance has which keys, and the next step to where each has a copy. Pure.

Every host has two instances: its own keys on the first port, a copy of those of the host before it
on the second. The two that share keys are a pair, on different hosts; which of them is the primary
is the cluster's to choose, and changes. Redis Cluster Specification, Keys distribution model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.phases.replication import Answer, answered, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SLOTS = 16384
PORTS = (6379, 6380)
LEAST = 3
"""Primaries without which there is no majority when one is lost."""
QUESTION = "CLUSTER INFO\nINFO replication\nCLUSTER NODES"
_POLYNOMIAL = 0x1021


@dataclass(frozen=True, slots=True)
class Entry:
    """How one instance knows another, or itself: `place` is `address:port`."""

    id: str
    place: str
    flags: frozenset[str]
    of: str = ""
    slots: frozenset[int] = frozenset()

    @property
    def alive(self) -> bool:
        """Whether it is in the cluster, and not out."""
        return not self.flags & {"fail", "fail?", "handshake", "noaddr"}


@dataclass(frozen=True, slots=True)
class Instance:
    """What an instance says: `linked` is of a replica that is up to date with its primary."""

    head: str
    place: str
    answer: Answer = Answer.SILENT
    well: bool = False
    linked: bool = False
    entries: tuple[Entry, ...] = ()

    @property
    def own(self) -> Entry | None:
        """Itself."""
        return next((each for each in self.entries if "myself" in each.flags), None)

    @property
    def slots(self) -> frozenset[int]:
        """The slots that it has."""
        return self.own.slots if self.own is not None else frozenset()

    @property
    def primary(self) -> bool:
        """Whether it is nobody's replica."""
        return self.own is not None and "master" in self.own.flags

    def knows(self, place: str) -> bool:
        """Tell whether it has an instance that is there in its cluster."""
        return any(each.place == place and each.alive for each in self.entries)


@dataclass(frozen=True, slots=True)
class Command:
    """What one instance is to be told."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two instances that share keys: `home` is where their primary is after all were restarted."""

    home: str
    copy: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next: `commands`, or to wait because of `why`; neither where all is done.

    `refused` is what must not be gone over by itself.
    """

    commands: tuple[Command, ...] = ()
    why: str = ""
    refused: str = ""


DONE = Step()


def pairs(addresses: Sequence[str]) -> tuple[Pair, ...]:
    """Spread all slots over hosts, and the copies over the hosts that follow them."""
    count = len(addresses)
    own, copy = PORTS
    return tuple(
        Pair(
            f"{address}:{own}",
            f"{addresses[(at + 1) % count]}:{copy}",
            SLOTS * at // count,
            SLOTS * (at + 1) // count - 1,
        )
        for at, address in enumerate(addresses)
    )


def step(instances: Sequence[Instance], wanted: Sequence[Pair]) -> Step:
    """Decide what comes next."""
    out = [each for each in instances if each.answer is not Answer.WELL]
    if out:
        return Step(why=f"{out[0].place} on {out[0].head} does not answer")
    by = {each.place: each for each in instances}
    unreached = [place for each in wanted for place in (each.home, each.copy) if place not in by]
    if unreached:
        return Step(why=f"{unreached[0]} cannot be reached")
    return (
        _apart(instances)
        or _forget(instances, by)
        or _meet(instances)
        or _keys(instances, wanted)
        or _copies(by, wanted)
        or _well(by, wanted)
        or DONE
    )


def _apart(instances: Sequence[Instance]) -> Step | None:
    """Refuse to make one of two clusters that both have keys."""
    holding = [each for each in instances if each.slots]
    for at, one in enumerate(holding):
        for other in holding[:at]:
            ids = {each.id for each in one.entries}
            if other.own is not None and other.own.id not in ids:
                reason = f"{one.place} and {other.place} have keys of two clusters"
                return Step(refused=reason)
    return None


def _forget(instances: Sequence[Instance], by: Mapping[str, Instance]) -> Step | None:
    """Let instances forget whoever was where another one is now: it lost all that it had."""
    commands = [
        Command(each.place, f"CLUSTER FORGET {entry.id}")
        for each in instances
        for entry in each.entries
        if _replaced(entry, by)
    ]
    return Step(tuple(commands)) if commands else None


def _replaced(entry: Entry, by: Mapping[str, Instance]) -> bool:
    now = by.get(entry.place)
    own = now.own if now is not None else None
    return own is not None and own.id != entry.id and "fail" in entry.flags and not entry.slots


def _meet(instances: Sequence[Instance]) -> Step | None:
    """Introduce instances to the first that has keys, or to the first of all."""
    centre = next((each for each in instances if each.slots), instances[0])
    strangers = [
        each.place
        for each in instances
        if each is not centre and not (centre.knows(each.place) and each.knows(centre.place))
    ]
    if strangers:
        return Step(tuple(Command(centre.place, _met(each)) for each in strangers))
    for one in instances:
        unknown = [each.place for each in instances if not one.knows(each.place)]
        if unknown:
            return Step(why=f"{one.place} does not know {', '.join(unknown)} yet")
    return None


def _met(place: str) -> str:
    address, _, port = place.rpartition(":")
    return f"CLUSTER MEET {address} {port}"


def _keys(instances: Sequence[Instance], wanted: Sequence[Pair]) -> Step | None:
    """Give slots that nobody has to those whose they are to be."""
    taken = frozenset().union(*(entry.slots for each in instances for entry in each.entries))
    commands = []
    for pair in wanted:
        free = [slot for slot in range(pair.first, pair.last + 1) if slot not in taken]
        if free:
            commands.append(Command(pair.home, f"CLUSTER ADDSLOTSRANGE {_ranges(free)}"))
    return Step(tuple(commands)) if commands else None


def _ranges(slots: Sequence[int]) -> str:
    """Spell slots, which are in order, as pairs of first and last."""
    words: list[int] = []
    for slot in slots:
        if words and words[-1] == slot - 1:
            words[-1] = slot
        else:
            words += [slot, slot]
    return " ".join(map(str, words))


def _copies(by: Mapping[str, Instance], wanted: Sequence[Pair]) -> Step | None:
    """Make who has no slots, and is nobody's replica, the replica of the other of its pair.

    Keys that it may have are of slots that the other has: it was a copy, and its power went before
    that was on its disk. It must be empty to become one again.
    """
    commands = []
    for pair in wanted:
        one, other = by[pair.home], by[pair.copy]
        for idle, holding in ((other, one), (one, other)):
            if idle.primary and not idle.slots and holding.slots and holding.own is not None:
                commands += [
                    Command(idle.place, "FLUSHALL"),
                    Command(idle.place, f"CLUSTER REPLICATE {holding.own.id}"),
                ]
    return Step(tuple(commands)) if commands else None


def _well(by: Mapping[str, Instance], wanted: Sequence[Pair]) -> Step | None:
    for pair in wanted:
        one, other = by[pair.home], by[pair.copy]
        holding, copy = (one, other) if one.primary else (other, one)
        if not holding.slots:
            return Step(why=f"{pair.home} and {pair.copy} have no keys between them")
        if holding.own is None or copy.own is None or copy.own.of != holding.own.id:
            return Step(why=f"{copy.place} is no copy of {holding.place}")
        if not copy.linked:
            return Step(why=f"{copy.place} is not up to date with {holding.place} yet")
    late = [each for each in by.values() if not each.well]
    return Step(why=f"{late[0].place} says that the cluster is not well") if late else None


def leave(head: str, instances: Sequence[Instance], wanted: Sequence[Pair]) -> tuple[Command, ...]:
    """Say what makes a head nobody's primary, so that it can be taken down."""
    by = {each.place: each for each in instances}
    return tuple(
        Command(other, "CLUSTER FAILOVER")
        for pair in wanted
        for one, other in ((pair.home, pair.copy), (pair.copy, pair.home))
        if by[one].head == head and by[one].primary and by[other].head != head
    )


def homewards(instances: Sequence[Instance], wanted: Sequence[Pair]) -> tuple[Command, ...]:
    """Say what spreads primaries over all hosts again."""
    by = {each.place: each for each in instances}
    return tuple(
        Command(pair.home, "CLUSTER FAILOVER") for pair in wanted if not by[pair.home].primary
    )


def instance(head: str, place: str, said: str) -> Instance:
    """Read what an instance said to `QUESTION`."""
    answer = answered(said)
    if answer is not Answer.WELL or "cluster_state:" not in said:
        return Instance(head, place, Answer.SILENT if answer is Answer.WELL else answer)
    lines = [line.strip() for line in said.splitlines()]
    return Instance(
        head,
        place,
        answer,
        well="cluster_state:ok" in lines,
        linked="master_link_status:up" in lines,
        entries=tuple(_entries(lines)),
    )


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        words = line.split()
        if len(words) >= 8 and "@" in words[1]:  # noqa: PLR2004 - what a line of it has at least
            yield Entry(
                words[0],
                words[1].partition("@")[0],
                frozenset(words[2].split(",")),
                "" if words[3] == "-" else words[3],
                frozenset(_slots(words[8:])),
            )


def _slots(words: Iterable[str]) -> Iterator[int]:
    """Yield slots; those in brackets are on their way, and still where they were.

    Those that there cannot be are left out: who says so may say anything.
    """
    for word in words:
        first, _, last = word.partition("-")
        ends = [whole(each) for each in (first, last or first)]
        if None not in ends:
            yield from range(ends[0] or 0, min(ends[1] or 0, SLOTS - 1) + 1)


def slot(key: str) -> int:
    """Return the slot of a key: CRC-16/XMODEM modulo the number of slots."""
    crc = 0
    for byte in key.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (_POLYNOMIAL if crc & 0x8000 else 0)) & 0xFFFF
    return crc % SLOTS


def key_in(pair: Pair, stem: str) -> str:
    """Return a key that begins with `stem` and is one of the pair's."""
    return next(
        name
        for name in (f"{stem}:{number}" for number in range(SLOTS * 64))
        if pair.first <= slot(name) <= pair.last
    )
