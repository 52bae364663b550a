"""A Redis Cluster that is no machine: instances do what they are told, and all know it at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.phases.replication import Answer
from deploy.phases.slots import DONE, Command, Entry, Instance, pairs, step

ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
WANTED = pairs(ADDRESSES)
PLACES = [place for pair in WANTED for place in (pair.home, pair.copy)]


@dataclass
class Cluster:
    """Instances that do what they are told, and have heard of it at once."""

    known: dict[str, set[str]] = field(default_factory=lambda: {e: {e} for e in PLACES})
    slots: dict[str, set[int]] = field(default_factory=lambda: {e: set() for e in PLACES})
    of: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    """Places that hold keys, whoever's."""
    behind: set[str] = field(default_factory=set)
    """Copies that are not up to date."""
    slow: int = 0
    """How often somebody has to be asked until a failover that it was told has come about."""
    _due: dict[str, int] = field(default_factory=dict)

    def look(self) -> tuple[Instance, ...]:
        return tuple(self._one(place) for place in PLACES)

    def _one(self, place: str) -> Instance:
        return Instance(
            head_of(place),
            place,
            Answer.WELL,
            well=True,
            linked=True,
            entries=tuple(self._entry(each, place) for each in sorted(self.known[place])),
        )

    def _entry(self, place: str, viewer: str) -> Entry:
        flags = {"slave" if place in self.of else "master"}
        mine = {"myself"} if place == viewer else set()
        of = self.of.get(place)
        return Entry(
            f"id-{place}",
            place,
            frozenset(flags | mine),
            f"id-{of}" if of else "",
            frozenset(self.slots[place]),
        )

    def do(self, command: Command) -> None:
        match command.text.split():
            case ["CLUSTER", "MEET", address, port]:
                both = self.known[command.place] | self.known[f"{address}:{port}"]
                for each in both:
                    self.known[each] = both
            case ["CLUSTER", "ADDSLOTSRANGE", *ends]:
                numbers = list(map(int, ends))
                for first, last in zip(numbers[::2], numbers[1::2], strict=True):
                    self.slots[command.place] |= set(range(first, last + 1))
            case ["FLUSHALL"]:
                assert not self.slots[command.place], "keys of slots are gone"
                self.keys.discard(command.place)
            case ["CLUSTER", "REPLICATE", other]:
                assert command.place not in self.keys, "it must be empty"
                self.of[command.place] = other.removeprefix("id-")
            case ["CLUSTER", "FAILOVER"]:
                self._due[command.place] = self.slow
                self._pass(0)

    def fail_over(self, place: str) -> None:
        """Let a copy be the primary of its pair."""
        before = self.of.pop(place)
        self.of[before] = place
        self.slots[place], self.slots[before] = self.slots[before], set()

    def _pass(self, times: int) -> None:
        self._due = {place: left - times for place, left in self._due.items()}
        for place in [each for each, left in self._due.items() if left <= 0]:
            del self._due[place]
            self.fail_over(place)

    def leads(self, head: str) -> bool:
        """Tell whether somebody needs a head: an instance there is a primary with slots."""
        return any(each and head_of(place) == head for place, each in self.slots.items())

    def said(self, place: str) -> str:
        """Return what an instance says to `QUESTION`."""
        self._pass(1)
        link = "down" if place in self.behind else "up"
        lines = ["OK", "cluster_state:ok", f"master_link_status:{link}"]
        for each in sorted(self.known[place]):
            flags = ("myself," if each == place else "") + (
                "slave" if each in self.of else "master"
            )
            of = f"id-{self.of[each]}" if each in self.of else "-"
            ends = f"{min(self.slots[each])}-{max(self.slots[each])}" if self.slots[each] else ""
            lines.append(f"id-{each} {each}@1 {flags} {of} 0 0 1 connected {ends}".rstrip())
        return "\n".join(lines) + "\n"

    def come_together(self, *, at_most: int = 1000) -> int:
        """Take steps until it is done, or that many commands are; return how many those were."""
        done = 0
        while (now := step(self.look(), WANTED)) != DONE:
            assert not now.refused, now.refused
            assert now.commands, now.why
            for command in now.commands:
                if done >= at_most:
                    return done
                self.do(command)
                done += 1
        return done


def head_of(place: str) -> str:
    """Name the head of an instance."""
    return f"head{ADDRESSES.index(place.rpartition(':')[0]) + 1}"
