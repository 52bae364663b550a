"""Phase 3 with `mode: cluster`: a Redis Cluster of two instances on each head.

The next step is decided in `deploy.phases.slots`, anew after each, so a run that was cut off goes
on from what is true.
"""

from __future__ import annotations

import secrets as random
from functools import partial
from typing import TYPE_CHECKING

from deploy.phases import slots
from deploy.phases.errors import PhaseError
from deploy.phases.phase import Finding, Kind
from deploy.phases.redis_call import DATA, call, locked, start, up
from deploy.phases.replication import Answer
from deploy.phases.state import RESTART

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.slots import Command, Instance, Pair

UNITS = ("redis-server.service", "redis-server@replica.service")
WELL_SECONDS = 90.0
STEPS = 40
SETTLE_SECONDS = 0.5
"""How long a command takes until all have heard of it, about."""


def check(crew: Crew) -> Sequence[Finding]:
    """Say what is not well, and whether there are hosts enough."""
    count = len(_hosts(crew))
    if count < slots.LEAST:
        reason = f"a Redis Cluster needs {slots.LEAST} hosts, and there are {count}"
        hint = "take mode: sentinel"
        return [Finding("", reason, Kind.REFUSAL, slug="bad-parameter", hint=hint)]
    if not any(each.laid for each in crew.states.values()):
        return [Finding("", "spread the keys over all heads, each with a copy", Kind.CHANGE)]
    if crew.missing or not any(up(each, UNITS[0]) for each in crew.everybody):
        return []
    return _running(crew, _look(crew))


def _running(crew: Crew, found: Sequence[Instance]) -> Sequence[Finding]:
    """Say what is not well with what runs."""
    behind = list(dict.fromkeys(each.head for each in found if each.answer is Answer.LOCKED))
    if behind:
        return [locked(crew, behind)]
    now = slots.step(found, _pairs(crew))
    if now.refused:
        return [Finding("", now.refused, Kind.REFUSAL, slug="two-clusters")]
    if now.commands:
        told = "; ".join(f"{each.place}: {each.text}"[:80] for each in now.commands[:3])
        return [Finding("", f"put the cluster together ({told})", Kind.CHANGE)]
    return [Finding("", f"wait until this is over: {now.why}", Kind.CHANGE)] if now.why else []


def apply(crew: Crew) -> None:
    """Start what is down, put the cluster together, restart what runs with old settings.

    Raises:
        PhaseError: it does not come together.
    """
    if any(each.answer is Answer.LOCKED for each in _look(crew)):
        _renew(crew)
    # What runs with old settings waits its turn: it may be somebody's only primary.
    crew.each(lambda each: start(crew, each, UNITS))
    _assemble(crew)
    _roll(crew)


def verify(crew: Crew) -> Sequence[str]:
    """Write a key of each pair of instances, and read it from the copy.

    Raises:
        PhaseError: something of that does not work.
    """
    crew.wait("the cluster is well", partial(unwell, crew), WELL_SECONDS)
    found = {each.place: each for each in _look(crew)}
    for pair in _pairs(crew):
        one, other = pair.home, pair.copy
        first, copy = (one, other) if found[one].primary else (other, one)
        _written(crew, pair, first, copy)
    count = len(_pairs(crew))
    return [
        f"{count} primaries have all keys, each with a copy on another head",
        "what is written to each is read from its copy",
    ]


def _renew(crew: Crew) -> None:
    """Let all take another password at once: with two of them they do not let each other in."""
    crew.tell("", "take the new password")
    crew.settle(*UNITS)
    behind = {each.head for each in _look(crew) if each.answer is Answer.LOCKED}
    who = [each for each in crew.members if each.name in behind]
    crew.each(lambda each: each.run("systemctl", "restart", *UNITS), who)


def _assemble(crew: Crew) -> None:
    """Take step after step until each has its keys and its copy."""
    wanted = _pairs(crew)
    told = False
    for _ in range(STEPS):
        crew.wait(
            "all instances have heard of each other",
            lambda: slots.step(_look(crew), wanted).why,
            WELL_SECONDS,
        )
        now = slots.step(_look(crew), wanted)
        if now.refused:
            raise PhaseError(now.refused, where=crew.phase)
        if now == slots.DONE:
            if told:
                # Redis leaves it to the kernel when what it was told gets to the disk.
                crew.each(lambda each: each.run("sync", "--file-system", DATA))
            return
        _tell(crew, now.commands)
        told = True
        crew.clock.sleep(SETTLE_SECONDS)
    raise PhaseError("the cluster does not come together", where=crew.phase, got=unwell(crew))


def _roll(crew: Crew) -> None:
    """Restart what is stale, each head when it is nobody's primary; then spread them again.

    The cluster is together when this begins, and again after each restart.
    """
    well = partial(unwell, crew)
    moved = False
    for member in crew.members:
        units = member.units(*UNITS)
        if any(each.stale == RESTART for each in units.values()):
            _tell(crew, slots.leave(member.name, _look(crew), _pairs(crew)))
            crew.wait("other heads took over", partial(_leads, crew, member), WELL_SECONDS)
            moved = True
        crew.roll(UNITS, well, WELL_SECONDS, [member])
    if moved:
        _tell(crew, slots.homewards(_look(crew), _pairs(crew)))
        crew.wait("the cluster is well", well, WELL_SECONDS)


def _leads(crew: Crew, member: Member) -> str:
    found = _look(crew)
    left = slots.leave(member.name, found, _pairs(crew))
    if left:
        return f"{member.name} still is the primary of {left[0].place}"
    return slots.step(found, _pairs(crew)).why


def unwell(crew: Crew) -> str:
    """Say why the cluster is not well; nothing if it is."""
    now = slots.step(_look(crew), _pairs(crew))
    if now.commands:
        return f"{now.commands[0].place} is not where it belongs"
    return now.why or now.refused


def _tell(crew: Crew, commands: Sequence[Command]) -> None:
    for each in commands:
        member = _at(crew, each.place)
        crew.tell(member.name, each.text[:60])
        said = call(crew, member, each.text, port=_port(each.place)).strip()
        if said.rpartition("\n")[2] != "OK":
            reason = f"Redis on {member.name} refuses: {each.text[:60]}"
            raise PhaseError(reason, where=each.place, got=said[-200:])


def _written(crew: Crew, pair: Pair, first: str, copy: str) -> None:
    key, word = slots.key_in(pair, "sealift"), random.token_hex(8)
    write = f"SET {key} {word} EX 3600\nWAIT 1 5000"
    call(crew, _at(crew, first), write, port=_port(first))
    said = call(crew, _at(crew, copy), f"READONLY\nGET {key}", port=_port(copy))
    if word not in said:
        reason = f"what is written to {first} is not read from {copy}"
        raise PhaseError(reason, where=first, got=said.strip()[-200:])


def _look(crew: Crew) -> tuple[Instance, ...]:
    found = crew.each(partial(_instances, crew), crew.everybody)
    return tuple(each for head in found.values() for each in head)


def _instances(crew: Crew, member: Member) -> tuple[Instance, ...]:
    return tuple(
        slots.instance(
            member.name,
            f"{member.address}:{port}",
            call(crew, member, slots.QUESTION, port=port),
        )
        for port in slots.PORTS
    )


def _pairs(crew: Crew) -> tuple[Pair, ...]:
    return slots.pairs(_hosts(crew))


def _hosts(crew: Crew) -> list[str]:
    return [each.address for each in crew.shared.hosts]


def _at(crew: Crew, place: str) -> Member:
    address = place.rpartition(":")[0]
    return next(each for each in crew.everybody if each.address == address)


def _port(place: str) -> int:
    return int(place.rpartition(":")[2])
