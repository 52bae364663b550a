"""Carrying out what is to be done about the storage, step by step, each seen before it is done.

Whoever dies in between leaves what the next one finds; no step is taken that was not decided from
what the heads have now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases import storage_look
from deploy.phases.errors import PhaseError, PhaseTimeoutError
from deploy.phases.gluster_voice import Voice
from deploy.phases.storage_look import FULL, GLUSTERD, STATE
from deploy.phases.storage_sight import look, see, unopposed, unsettled, why_not_well
from deploy.phases.storage_values import (
    Adopt,
    Await,
    Create,
    Decision,
    Grow,
    Invite,
    Options,
    Refill,
    Start,
    Wake,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.storage_values import Step, Wish

ROUNDS = 60
"""Looks at most until nothing is left to do; each round does something or waits."""
PEERS = f"{STATE}/peers"
AGREE_SECONDS = 20.0
WELL_SECONDS = 75.0
"""Copies are compared at least each half of a minute, see `storage_terms`."""
# Only a folder that is empty can be removed, and with it goes what a creation that was cut off
# left in its attributes, for which gluster would take it as part of another volume.
FRESH = 'set -e; if [ -d "$0" ]; then rmdir "$0"; fi; mkdir -p "$0"'


def settle(crew: Crew, wish: Wish) -> Decision:
    """Look, do what is to be done, and look again, until nothing is left.

    Raises:
        PhaseError: something stands against it, or it does not come to an end.
    """
    for _ in range(ROUNDS):
        decision = unopposed(see(crew))
        if not decision.steps:
            return decision
        _round(crew, decision.steps, wish)
    raise PhaseError("the storage does not come to rest", got=", ".join(map(str, decision.steps)))


def _round(crew: Crew, steps: Sequence[Step], wish: Wish) -> None:
    """Do the first of the steps, and those of its kind: what comes after is seen anew."""
    first = steps[0]
    for step in steps:
        if type(step) is not type(first):
            break
        _do(crew, step, wish)


def _do(crew: Crew, step: Step, wish: Wish) -> None:  # noqa: C901 - an arm for each kind of step
    head, what, _ = told(step, wish)
    crew.tell(head, what)
    match step:
        case Wake(head):
            crew.settle(GLUSTERD, who=(crew.member(head),))
        case Invite(by, _, address):
            fine = ("already in peer list", "already part of")
            Voice(crew, crew.member(by)).order("peer", "probe", address, fine=fine)
        case Await():
            _await(crew, step)
        case Adopt(by, head, identity):
            _adopt(crew, by, head, identity)
        case Create(by, bricks, heads):
            for head in heads:
                crew.member(head).run("sh", "-c", FRESH, wish.brick)
            copies = ("replica", str(len(bricks))) if len(bricks) > 1 else ()
            words = (*copies, *map(str, bricks))
            order(crew, by, "create", wish, *words, "force", fine=("already exists",))
        case Grow(by, head, brick, copies):
            _grow(crew, by, head, (wish, str(brick), str(copies)))
        case Refill(by, head, brick):
            _refill(crew, by, head, (wish, str(brick)))
        case Options(by, pairs):
            order(crew, by, "set", wish, *(word for pair in pairs for word in pair))
        case Start(by):
            order(crew, by, "start", wish, fine=("already started",))


def order(
    crew: Crew, by: str, word: str, wish: Wish, *words: str, fine: tuple[str, ...] = ()
) -> None:
    """Give an order about the volume through the head `by`.

    Raises:
        GlusterError: it is refused.
    """
    Voice(crew, crew.member(by)).order("volume", word, wish.volume, *words, fine=fine)


def _await(crew: Crew, step: Await) -> None:
    """Wait until two heads have agreed on one another.

    Raises:
        PhaseTimeoutError: they have not, and mending it would take a copy down.
    """

    def waiting() -> str:
        steps = see(crew).steps
        return f"{step.by} has not agreed on {step.head}" if step in steps else ""

    try:
        crew.wait(f"{step.head} is in the pool of {step.by}", waiting, AGREE_SECONDS)
    except PhaseTimeoutError:
        volume = see(crew).volume
        if not step.peer or (volume is not None and volume.started):
            raise
        _mend(crew, step)
        crew.wait(f"{step.head} is in the pool of {step.by}", waiting, AGREE_SECONDS)


def _mend(crew: Crew, step: Await) -> None:
    """Let a head that was cut off while it took another one in believe that it did.

    Its glusterd never asks again by itself, nor when it is told to.
    """
    member = crew.member(step.by)
    crew.tell(step.by, f"was cut off while it took {step.head} in: mend what it wrote down")
    member.run("systemctl", "stop", GLUSTERD)
    member.run("sed", "-i", "-e", "s/^state=.*/state=3/", f"{PEERS}/{step.peer}")
    member.run("systemctl", "start", GLUSTERD)


def _adopt(crew: Crew, by: str, head: str, identity: str) -> None:
    """Give a head the identity that the pool knows, and tell it who else is in it.

    Not by a probe: one that meets a head by a known identity may never come to an end.
    """
    member = crew.member(head)
    voice = Voice(crew, crew.member(by))
    own = (storage_look.LOCALHOST,)
    rows = {
        voice.member.address if peer.names == own else peer.names[0]: peer.uuid
        for peer in voice.pool()
        if peer.uuid != identity
    }
    member.run("systemctl", "stop", GLUSTERD)
    text = f"s/^UUID=.*/UUID={identity}/"
    member.run("sed", "-i", "-e", text, f"{STATE}/glusterd.info")
    for host, peer in rows.items():
        told = f"uuid={peer}\nstate=3\nhostname1={host}\n"
        member.put(f"{PEERS}/{peer}", told, mode="0600", replace=True)
    member.run("systemctl", "start", GLUSTERD)


def _grow(crew: Crew, by: str, head: str, copy: tuple[Wish, str, str]) -> None:
    """Add a copy, when those that are there are equal.

    Raises:
        PhaseTimeoutError: they are not.
    """
    wish, brick, copies = copy
    crew.wait(f"{wish.volume} is well", lambda: why_not_well(crew), WELL_SECONDS, every=1.0)
    crew.member(head).run("sh", "-c", FRESH, wish.brick)
    order(crew, by, "add-brick", wish, "replica", copies, brick, "force")
    Voice(crew, crew.member(by)).heal_all(wish.volume)


def _refill(crew: Crew, by: str, head: str, copy: tuple[Wish, str]) -> None:
    """Fill a copy that is gone from the others, unless it was only not up yet.

    A glusterd that was told of the volume since it started refuses to put a copy in its own place.
    """
    wish, brick = copy
    member = crew.member(head)
    member.run("systemctl", "restart", GLUSTERD)
    crew.wait(f"{head} is back in the pool", lambda: unsettled(crew), AGREE_SECONDS)
    if look(crew, (member,))[head].brick == FULL:
        return
    order(crew, by, "reset-brick", wish, brick, "start")
    member.run("sh", "-c", FRESH, wish.brick)
    order(crew, by, "reset-brick", wish, brick, brick, "commit", "force")
    Voice(crew, crew.member(by)).heal_all(wish.volume)
