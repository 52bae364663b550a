"""What is to be done about the cluster's storage, from what its heads were seen to have. Pure.

A head that was not reached is never taken for one that has nothing: where it might know the
volume, none is made. A copy is added or filled anew only while all the others are there.
"""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING

from deploy.phases.gluster import Brick
from deploy.phases.storage_look import FULL
from deploy.phases.storage_terms import (
    ROOT_ALONE,
    SETTINGS,
    contradictions,
    later,
    wanted_options,
    wrong,
)
from deploy.phases.storage_values import (
    Adopt,
    Await,
    Create,
    Decision,
    Grow,
    Invite,
    Objection,
    Options,
    Refill,
    Start,
    Wake,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.phases.gluster import Peer, Volume
    from deploy.phases.storage_values import Head, Step, Wish


def decide(wish: Wish, heads: Sequence[Head]) -> Decision:
    """Return what is to be done, in order.

    Only the first of it is certain, and what is of its kind; then it is to be asked again.
    """
    objections = [*_split(wish, heads), *contradictions(wish)]
    if objections:
        return Decision(objections=tuple(objections))
    for head in heads:
        if (volume := _known(head, wish)) is not None:
            return _with_volume(wish, heads, head, volume)
    return _without_volume(wish, heads)


def owner(brick: Brick, heads: Sequence[Head]) -> Head | None:
    """Return the head of the phase that has a brick."""
    return next((head for head in heads if head.is_called(brick.host)), None)


def _known(head: Head, wish: Wish) -> Volume | None:
    """Return what a head that was seen knows of the volume."""
    return (head.seen.volumes or {}).get(wish.volume) if head.seen is not None else None


def _split(wish: Wish, heads: Sequence[Head]) -> Iterator[Objection]:
    """Refuse where heads have different volumes or pools: nobody can tell which one is right."""
    identities: dict[str, list[str]] = {}
    for head in heads:
        if (volume := _known(head, wish)) is not None:
            identities.setdefault(volume.identity, []).append(head.name)
    if len(identities) > 1:
        told = " and ".join(", ".join(names) for names in identities.values())
        yield Objection(
            "",
            f"there are two volumes {wish.volume}: {told} have one each",
            "two-volumes",
            "keep the one with the data, and delete the other: gluster volume delete",
        )
    pooled = [h for h in heads if h.seen is not None and h.seen.pool and len(h.seen.pool) > 1]
    for one, other in combinations(pooled, 2):
        if not _uuids(one) & _uuids(other):
            yield Objection(
                other.name,
                f"it is in another pool of GlusterFS than {one.name}",
                "two-pools",
                f"take it out of the one that it does not belong to: gluster peer detach, "
                f"on another head than {other.name}",
            )


def _uuids(head: Head) -> set[str]:
    return {each.uuid for each in (head.seen.pool or ())} if head.seen is not None else set()


def _without_volume(wish: Wish, heads: Sequence[Head]) -> Decision:
    """Make the volume, if it is certain that there is none."""
    asleep = [h for h in heads if h.ours and h.seen is not None and not h.seen.runs]
    sleeping = tuple(Wake(h.name) for h in asleep if h.seen is not None and not h.seen.blank)
    if sleeping:
        # Whether there is none is not known before these were asked.
        return Decision(steps=sleeping)
    objections = list(_doubts(wish, heads))
    objections += [each for head in heads if head.ours for each in _unfit(wish, head)]
    if objections:
        return Decision(objections=tuple(objections))
    voice = max(heads, key=lambda head: len(head.seen.pool or ()) if head.seen else 0)
    bricks = tuple(Brick(head.address, wish.brick) for head in heads)
    steps = [*(Wake(head.name) for head in asleep), *_joining(voice, heads, heads)]
    steps += [
        Create(voice.name, bricks, tuple(head.name for head in heads)),
        Options(voice.name, tuple(sorted(wanted_options(wish, heads).items()))),
        Start(voice.name),
    ]
    return Decision(tuple(steps), notes=tuple(_pair(heads)), by=voice.name)


def _doubts(wish: Wish, heads: Sequence[Head]) -> Iterator[Objection]:
    """Say who might know a volume and was not, or cannot be, asked."""
    for head in heads:
        if head.seen is None:
            yield Objection(
                head.name,
                f"it was not reached and may have the volume {wish.volume}: none is made",
                "volume-unknown",
                f"bring {head.name} back, or take it out of hosts, at cluster: in sealift.yaml",
            )
        elif not head.ours and not head.seen.runs and not head.seen.blank:
            yield Objection(
                head.name,
                f"its glusterd is down and may know the volume {wish.volume}: none is made",
                "volume-unknown",
                f"systemctl start glusterd, on {head.name}",
            )
        elif not head.ours:
            yield Objection(
                head.name,
                f"the volume {wish.volume} is made on all heads at once",
                "volume-needs-all",
                "run the phase on all heads of the cluster the first time",
            )


def _unfit(wish: Wish, head: Head) -> Iterator[Objection]:
    """Say why a head cannot have a new copy."""
    if head.seen is None:
        return
    if head.seen.brick == FULL:
        yield Objection(
            head.name,
            f"{wish.brick} is not empty, and no copy of the volume {wish.volume} as it is known",
            "brick-in-use",
            f"look what it is; then move it away, or choose another brick, at {SETTINGS}",
        )
    yield from _misplaced(wish, head)


def _misplaced(wish: Wish, head: Head) -> Iterator[Objection]:
    if head.seen is not None and head.seen.on_root and not wish.on_root:
        yield Objection(
            head.name,
            f"{wish.brick} lies on the root file system, which it would fill up",
            "brick-on-root",
            f"mount the disk for it; or on_root: true, at {SETTINGS}",
        )


def _unmounted(wish: Wish, head: Head, brick: Brick) -> tuple[Objection, ...]:
    """Refuse to fill a folder below which the disk with the copy will be mounted again."""
    point = head.seen.misses if head.seen is not None else ""
    if not point:
        return ()
    reset = f"gluster volume reset-brick {wish.volume} {brick}"
    return (
        Objection(
            head.name,
            f"its copy of {wish.volume} lay on a disk of its own, and {point}, where that was "
            "mounted, is no mount point",
            "brick-unmounted",
            f"mount the disk at {point}; if the copy is to lie here from now on: {reset} start, "
            f"mkdir -p {brick.path}, {reset} {brick} commit force",
        ),
    )


def _pair(heads: Sequence[Head]) -> Iterator[tuple[str, str]]:
    if len(heads) == 2:  # noqa: PLR2004 - a pair has no majority
        yield "", f"of two heads {heads[0].name} must be there for the volume to take writes"


def _with_volume(wish: Wish, heads: Sequence[Head], voice: Head, volume: Volume) -> Decision:
    """Bring the volume that is there, and that the voice knows, to what is wanted."""
    members = [head for head in heads if head.ours]
    notes = [*_strangers(volume, heads, voice), *later(wish, volume, heads)]
    objections = [*_other_form(wish, volume, heads), *_left(volume, heads, voice)]
    lacking = [h for h in members if all(not h.is_called(b.host) for b in volume.bricks)]
    for head in lacking:
        objections += _unfit(wish, head)
    gone = [*_gone(volume, members)]
    for head, brick in gone:
        objections += _unmounted(wish, head, brick) or _misplaced(wish, head)
    if lacking or gone:
        objections += _absent(volume, heads)
    if objections:
        return Decision(objections=tuple(objections), notes=tuple(notes), volume=volume)
    awake = [Wake(h.name) for h in members if h.seen is not None and not h.seen.runs]
    steps: list[Step] = [*awake, *_joining(voice, members, heads), *_untold(wish, voice, members)]
    steps += _options(wish, volume, voice, heads)
    if not volume.started:
        steps.append(Start(voice.name))
    steps += [Refill(voice.name, head.name, brick) for head, brick in gone]
    for count, head in enumerate(lacking, len(volume.bricks) + 1):
        steps.append(Grow(voice.name, head.name, Brick(head.address, wish.brick), count))
    return Decision(tuple(steps), notes=tuple(notes), volume=volume, by=voice.name)


def _joining(voice: Head, members: Sequence[Head], heads: Sequence[Head]) -> Iterator[Step]:
    """Say how members come into the pool of the voice, and who of all waits for whom."""
    pool = voice.seen.pool or () if voice.seen is not None else ()
    there = [head for head in members if head.seen is not None]
    for head in there:
        known = _as_known(pool, head)
        if head.name != voice.name and known is None:
            yield Invite(voice.name, head.name, head.address)
    for head in there:
        known = _as_known(pool, head)
        if known is not None and head.name != voice.name and _is_another(head, known):
            yield Adopt(voice.name, head.name, known.uuid)
    for one, other in permutations(heads, 2):
        yield from _at_odds(one, other)


def _is_another(head: Head, known: Peer) -> bool:
    """Tell whether a head is not the one that the pool knows, but was installed anew."""
    if head.seen is None:
        return False
    return head.seen.uuid != known.uuid if head.seen.runs else head.seen.blank


def _at_odds(one: Head, other: Head) -> Iterator[Step]:
    """Say whether one head is still to agree on, or to reach, another one that it knows."""
    known = _as_known((one.seen.pool or ()) if one.seen is not None else (), other)
    if known is None or other.seen is None or not other.seen.runs or _is_another(other, known):
        return
    if not known.agreed:
        yield Await(one.name, other.name, known.uuid)
    elif not known.connected:
        yield Await(one.name, other.name)


def _untold(wish: Wish, voice: Head, members: Sequence[Head]) -> Iterator[Step]:
    """Say which heads run, and have not been told of the volume yet."""
    for head in members:
        if head.seen is not None and head.seen.runs and _known(head, wish) is None:
            yield Await(voice.name, head.name)


def _as_known(pool: Sequence[Peer], head: Head) -> Peer | None:
    """Return as what a pool knows a head: by its identity, or else by its name or address."""
    uuid = head.seen.uuid if head.seen is not None else ""
    for peer in pool:
        if uuid and peer.uuid == uuid:
            return peer
    return next((peer for peer in pool if any(map(head.is_called, peer.names))), None)


def _other_form(wish: Wish, volume: Volume, heads: Sequence[Head]) -> Iterator[Objection]:
    """Refuse a volume of this name that is not what is wanted."""
    if not volume.whole:
        yield Objection(
            "",
            f"there is a volume {volume.name}, which is {volume.kind}: no copy of it is whole",
            "volume-foreign",
            f"choose another volume, at {SETTINGS}",
        )
    for brick in volume.bricks:
        head = owner(brick, heads)
        if head is not None and brick.path != wish.brick:
            yield Objection(
                head.name,
                f"its copy of the volume {volume.name} lies at {brick.path}, not at {wish.brick}",
                "brick-elsewhere",
                f"brick: {brick.path}, at {SETTINGS}",
            )


def _gone(volume: Volume, members: Sequence[Head]) -> Iterator[tuple[Head, Brick]]:
    """Give the heads whose copy is gone, as after a new disk. It has files once it was started."""
    for brick in volume.bricks if volume.started else ():
        head = owner(brick, members)
        if head is not None and head.seen is not None and head.seen.brick != FULL:
            yield head, brick


def _absent(volume: Volume, heads: Sequence[Head]) -> Iterator[Objection]:
    """Refuse to copy everything to one head while another one with a copy is out.

    A member whose glusterd is down is none: that is started first.
    """
    for head in (each for brick in volume.bricks if (each := owner(brick, heads)) is not None):
        if head.seen is None or not (head.seen.runs or head.ours):
            told = "was not reached" if head.seen is None else "has its glusterd down"
            yield Objection(
                head.name,
                f"it {told}: no copy is added or filled while another one is out",
                "copy-out",
                f"bring {head.name} back first",
            )


def _strangers(volume: Volume, heads: Sequence[Head], voice: Head) -> Iterator[tuple[str, str]]:
    for brick in volume.bricks:
        if owner(brick, heads) is None:
            yield "", f"the copy {brick} is on no head of the cluster; it is left as it is"
    for peer in (voice.seen.pool or ()) if voice.seen is not None else ():
        if not any(_as_known((peer,), head) for head in heads):
            yield "", f"{peer.names[0]} is in the pool besides the heads"


def _left(volume: Volume, heads: Sequence[Head], voice: Head) -> Iterator[Objection]:
    """Refuse to wait for a machine that is no head any more, and that the pool still counts.

    No copy is equal to one that is away, and nobody would bring it back.
    """
    for peer in (voice.seen.pool or ()) if voice.seen is not None else ():
        if peer.connected or any(_as_known((peer,), head) for head in heads):
            continue
        bricks = [brick for brick in volume.bricks if brick.host in peer.names]
        left = len(volume.bricks) - len(bricks)
        words = " ".join(map(str, bricks))
        remove = f"gluster volume remove-brick {volume.name} replica {left} {words} force, then "
        yield Objection(
            "",
            f"{peer.names[0]} is no head of the cluster, is away, and the pool counts on it",
            "head-left",
            f"if it is gone for good, on {voice.name}: {remove if bricks else ''}"
            f"gluster peer detach {peer.names[0]} force; else bring it back, or add it to hosts",
        )


def _options(wish: Wish, volume: Volume, voice: Head, heads: Sequence[Head]) -> Iterator[Step]:
    live = tuple(
        each
        for each in wrong(wish, volume, heads)
        if not (volume.started and each[0] in ROOT_ALONE)
    )
    if live:
        yield Options(voice.name, live)
