"""What a crew has of its storage: what is wanted, what each head was seen to have, what is to do.

Nothing is changed. What heads answer is read in `deploy.phases.storage_look`, what follows from it
is decided in `deploy.phases.storage_plan`; here are also the questions whether all is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases import storage_look, storage_plan
from deploy.phases.errors import CrewError, PhaseError
from deploy.phases.gluster_voice import Voice
from deploy.phases.storage_values import Await, Decision, Head, Wish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.gluster import Heal, Volume
    from deploy.phases.member import Member
    from deploy.phases.storage_look import Seen


def wish_of(crew: Crew) -> Wish:
    """Return what the phase's parameters say."""
    known = crew.parameters
    options = {**known["options"]}
    options.setdefault("network.ping-timeout", str(known["ping_timeout"]))
    return Wish(
        known["volume"],
        known["mount"],
        known["brick"],
        known["on_root"],
        options,
        tuple(sorted(known["directories"])),
    )


def look(crew: Crew, who: Sequence[Member]) -> dict[str, Seen]:
    """Return what each of these heads has."""
    wish = wish_of(crew)

    def ask(member: Member) -> Seen:
        words = (wish.volume, wish.brick, wish.mount, member.address, member.name)
        argv = ("sh", "-c", storage_look.SCRIPT, "sh", *words, storage_look.STATE)
        return storage_look.parse(member.run(*argv).stdout, wish.volume)

    return crew.each(ask, who)


def heads_of(crew: Crew, found: Mapping[str, Seen]) -> tuple[Head, ...]:
    """Return all heads of the phase in their order, with what was seen of them."""
    ours = {each.name for each in crew.members}
    hosts = crew.shared.hosts
    return tuple(
        Head(each.name, each.address, found.get(each.name), ours=each.name in ours)
        for each in hosts
    )


def see(crew: Crew) -> Decision:
    """Look at all heads, and decide what is to be done."""
    return storage_plan.decide(wish_of(crew), heads_of(crew, look(crew, crew.everybody)))


def unopposed(decision: Decision) -> Decision:
    """Return a decision that nothing stands against.

    Raises:
        PhaseError: something does.
    """
    for each in decision.objections:
        raise PhaseError(each.reason, where=each.head or None, hint=each.hint)
    return decision


def unsettled(crew: Crew) -> str:
    """Return which heads have not agreed on one another, or do not reach each other yet."""
    waiting = [f"{each.by} for {each.head}" for each in see(crew).steps if isinstance(each, Await)]
    return f"still waiting: {', '.join(waiting)}" if waiting else ""


def why_not_well(crew: Crew) -> str:
    """Return why a head cannot be taken down now: a copy is out, or not equal; else nothing."""
    return _told(crew, rest=False)[1]


def why_not_up(crew: Crew) -> str:
    """Return why the volume does not work as well as it can with the heads that were reached.

    Copies of others that were allowed to be missing do not count, nor what is theirs to be healed.

    Raises:
        PhaseError: something stands against it, and no waiting mends that.
    """
    decision, why = _told(crew, rest=bool(crew.missing))
    unopposed(decision)
    return why


def _told(crew: Crew, *, rest: bool) -> tuple[Decision, str]:
    """Return what is to be done, and why not all is well.

    Raises:
        HeadLostError: a head does not answer any more, nor will it in this run.
        CrewError: the same, of several that were asked at once.
    """
    decision = Decision()
    try:
        found = look(crew, crew.everybody)
        heads = heads_of(crew, found)
        decision = storage_plan.decide(wish_of(crew), heads)
        if decision.objections:
            return decision, str(decision.objections[0])
        if decision.volume is None:
            return decision, _unknown(crew, found)
        return decision, _out(crew, decision.volume, decision.by, heads, rest=rest)
    except CrewError as error:
        if not all(isinstance(each, PhaseError) for each in error.failures.values()):
            # A session that broke does not come back; what a head says may change.
            raise
        return decision, error.got or error.reason
    except PhaseError as error:
        return decision, error.got or error.reason


def _out(crew: Crew, volume: Volume, by: str, heads: Sequence[Head], *, rest: bool) -> str:
    """Return what is wrong with a volume that a head knows."""
    voice = Voice(crew, crew.member(by))
    if rest:
        return _down(voice, volume, [each for each in heads if each.seen is None])
    if crew.missing:
        return f"{', '.join(crew.missing)} cannot be reached"
    return _unwell(voice, volume)


def _down(voice: Voice, volume: Volume, missing: Sequence[Head] = ()) -> str:
    """Return which copies are down, but for those of heads that are missing."""
    up = voice.online(volume.name)
    bricks = [each for each in volume.bricks if storage_plan.owner(each, missing) is None]
    down = [str(each) for each in bricks if each not in up]
    return f"{', '.join(down)} is down" if down else ""


def _unknown(crew: Crew, found: Mapping[str, Seen]) -> str:
    """Return who may know a volume that nobody told of; without one all is well."""
    asleep = [name for name, each in found.items() if not each.runs and not each.blank]
    unsure = [*asleep, *crew.missing]
    return f"{', '.join(unsure)} may know the volume" if unsure else ""


def _unwell(voice: Voice, volume: Volume) -> str:
    """Return what is wrong with a volume: who is out, or else what is not equal."""
    if not volume.started:
        return ""
    out = [peer.names[0] for peer in voice.pool() if not peer.connected]
    if out:
        return f"{', '.join(out)} is not connected"
    down = _down(voice, volume)
    if down or len(volume.bricks) == 1:
        return down
    return next((why for each in voice.heals(volume.name) if (why := _unequal(each))), "")


def _unequal(heal: Heal) -> str:
    if heal.pending is None:
        return f"{heal.brick} does not say what it lacks"
    if not heal.pending:
        return ""
    told = f", {heal.split} of them in split-brain" if heal.split else ""
    return f"{heal.pending} files are to be healed, {heal.brick} tells{told}"
