"""Where a head has the volume mounted, and moving that: one head after the other.

Only where the phase itself had it is it ever unmounted. The volume is for `deploy.phases.storage`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.phases import configuration_file, storage_terms
from deploy.phases.phase import Finding, Kind
from deploy.phases.state import VERIFIED
from deploy.phases.storage_look import is_ours
from deploy.phases.storage_sight import look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.storage_look import Seen
    from deploy.phases.storage_values import Wish

MOUNT = "sealift-mount.service"
MOUNT_SECONDS = 60.0


def former(crew: Crew, found: Mapping[str, Seen]) -> dict[str, tuple[str, ...]]:
    """Return by head where the volume is mounted still, as the phase has or had it there."""
    who = [each for each in crew.everybody if each.name in found and found[each.name].elsewhere]
    ours = crew.each(lambda member: _ours(crew, member), who)
    return {
        head: tuple(each for each in found[head].elsewhere if each in {*places, found[head].stood})
        for head, places in ours.items()
    }


def findings(crew: Crew, found: Mapping[str, Seen], wish: Wish) -> Iterator[Finding]:
    """Say what becomes of the mounts of all members, and what stands against it."""
    moving = former(crew, found)
    for member in crew.members:
        before = moving.get(member.name, ())
        fresh = bool(before) or not crew.states[member.name].laid
        yield from _against(member.name, found[member.name], wish, fresh=fresh)
        if not found[member.name].mounted and fresh:
            yield Finding(member.name, f"mount {wish.volume} at {wish.mount}", Kind.CHANGE)
        for place in before:
            what = f"unmount {wish.volume} from {place}"
            costs = "files that are open there are lost; one head after the other"
            yield Finding(member.name, what, Kind.CHANGE, costs)


def mount(crew: Crew, wish: Wish, well: Callable[[], str]) -> None:
    """Mount where it is not, at once; where it is and has changed, one head after the other.

    Raises:
        QuorumError: a head would lose its mount while another one is out.
    """
    down = tuple(each for each in crew.members if not crew.active(each, MOUNT))
    crew.settle(MOUNT, who=down)
    what = f"{wish.volume} is mounted"
    crew.wait(what, lambda: unmounted(crew, wish, crew.members), MOUNT_SECONDS)
    crew.roll((MOUNT,), well, crew.parameters["heal_seconds"])
    _sweep(crew, wish)
    crew.wait(f"{what} at {wish.mount}", lambda: _elsewhere(crew, wish), MOUNT_SECONDS)


def unmounted(crew: Crew, wish: Wish, who: Sequence[Member]) -> str:
    """Return who has the volume neither where it is wanted nor where the phase had it before."""
    found = look(crew, who)
    return _lacking(found, wish, [name for name, places in former(crew, found).items() if places])


def _elsewhere(crew: Crew, wish: Wish) -> str:
    return _lacking(look(crew, crew.members), wish)


def _lacking(found: Mapping[str, Seen], wish: Wish, but: Sequence[str] = ()) -> str:
    out = [name for name, each in found.items() if not is_ours(each.mounted, wish.volume)]
    names = ", ".join(each for each in out if each not in but)
    return f"{wish.volume} is not mounted on {names}" if names else ""


def _against(head: str, seen: Seen, wish: Wish, *, fresh: bool) -> Iterator[Finding]:
    """Say why a head cannot mount the volume; `fresh` is where it had none before."""
    if not seen.fuse:
        yield Finding(
            head,
            "it has no /dev/fuse to mount the volume by",
            Kind.REFUSAL,
            slug="no-fuse",
            hint="let the kernel load the module fuse; let a container have the device",
        )
    if seen.mounted and not is_ours(seen.mounted, wish.volume):
        yield Finding(
            head,
            f"at {wish.mount} something else is mounted: {seen.mounted}",
            Kind.REFUSAL,
            slug="mount-in-use",
            hint=f"unmount it, or choose another mount, at {storage_terms.SETTINGS}",
        )
    elif seen.hidden and fresh:
        yield Finding(
            head,
            f"{wish.mount} is not empty, and the mount would hide what is there",
            Kind.REFUSAL,
            slug="mount-in-use",
            hint=f"move it away, or choose another mount, at {storage_terms.SETTINGS}",
        )


def _sweep(crew: Crew, wish: Wish) -> None:
    """Unmount what a client left behind that could not do so itself when it was ended."""

    def sweep(member: Member, places: tuple[str, ...]) -> None:
        for place in places:
            crew.tell(member.name, f"unmount {wish.volume} from {place}")
            member.run("umount", "--lazy", place)

    left = former(crew, look(crew, crew.members))
    crew.each(lambda member: sweep(member, left.get(member.name, ())))


def _ours(crew: Crew, member: Member) -> frozenset[str]:
    """Return where configurations of the phase had the volume mounted on a head.

    The one before counts until the one that is laid was verified: a move may have been cut off.
    From then on who mounts the volume there is somebody else.
    """
    record = crew.states[member.name].recorded
    if record is None:
        return frozenset()
    paths = [record.path] if record.state == VERIFIED else [record.path, record.before]
    found = [_mount_of(member, each) for each in paths if each is not None]
    return frozenset(found) - {"", crew.parameters["mount"]}


def _mount_of(member: Member, path: str) -> str:
    """Return the mount point of a configuration; nothing if it cannot be read any more."""
    text = member.run("cat", f"{path}/{configuration_file.FILE}", check=False).stdout
    try:
        # Not all of it: it may be of another version of sealift.
        found = json.loads(text)["parameters"]["mount"]
    except (ValueError, LookupError, TypeError):
        return ""
    return found if isinstance(found, str) else ""
