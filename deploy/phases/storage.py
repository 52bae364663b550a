"""Phase 1, storage: one GlusterFS volume with a whole copy on every head, mounted on each.

What is to be done is decided by `deploy.phases.storage_plan` from what the heads are seen to have,
and carried out by `deploy.phases.storage_steps`; here it is told, mounted and tried.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from deploy.phases import (
    storage_mount,
    storage_plan,
    storage_removal,
    storage_steps,
    storage_terms,
)
from deploy.phases.errors import PhaseError
from deploy.phases.gluster_voice import Voice
from deploy.phases.phase import Finding, Kind
from deploy.phases.storage_look import GLUSTERD
from deploy.phases.storage_mount import MOUNT
from deploy.phases.storage_sight import (
    heads_of,
    look,
    see,
    unopposed,
    why_not_up,
    why_not_well,
    wish_of,
)
from deploy.phases.storage_values import Wake, told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.storage_values import Decision, Step, Wish

name = "storage"
LOOK_SECONDS = 75.0
"""Twice what passes until copies are compared again, and some: a head may just have come back."""
# Arguments: the mount point, then path, owner, group and mode of each folder.
FOLDERS = r"""
set -e
cd -P "$1"
root=$(pwd -P)
shift
while [ $# -gt 3 ]; do
    cd "$root"
    left=$1/ want=$root
    while [ -n "$left" ]; do
        part=${left%%/*} left=${left#*/}
        [ -n "$part" ] || continue
        want=$want/$part
        [ -d "./$part" ] || mkdir "./$part"
        cd -P "./$part"
        # Who owns the folder above may have put a link here; from now on it is this one alone.
        if [ "$(pwd -P)" != "$want" ]; then echo "$want is a link or no folder" >&2; exit 1; fi
    done
    [ "$(stat -c %U:%G .)" = "$2:$3" ] || chown -- "$2:$3" .
    [ "$(stat -c %a .)" = "${4#0}" ] || chmod -- "$4" .
    shift 4
done
"""
WRITE = 'set -e; printf %s "$2" >"$1.new"; sync "$1.new"; mv "$1.new" "$1"'
"""Argument 1 is a file, 2 its text."""


def check(crew: Crew) -> Sequence[Finding]:
    """Say what becomes of the volume, and what stands against it."""
    found = look(crew, crew.everybody)
    wish = wish_of(crew)
    decision = storage_plan.decide(wish, heads_of(crew, found))
    findings = [
        Finding(each.head, each.reason, Kind.REFUSAL, slug=each.slug, hint=each.hint)
        for each in decision.objections
    ]
    findings += [Finding(head, text, Kind.NOTE) for head, text in decision.notes]
    findings += [_change(each, wish) for each in decision.steps if not _is_told(crew, each)]
    findings += storage_mount.findings(crew, found, wish)
    if decision.volume is not None and not decision.steps and not decision.objections:
        findings += _bricks_down(crew, decision)
    return findings


def apply(crew: Crew) -> None:
    """Bring pool, volume and mounts to what is wanted, step by step."""
    wish = wish_of(crew)
    unopposed(see(crew))
    crew.roll((GLUSTERD,), lambda: why_not_well(crew), crew.parameters["heal_seconds"])
    decision = storage_steps.settle(crew, wish)
    _raise_bricks(crew, decision, wish)
    storage_mount.mount(crew, wish, lambda: well(crew))
    _make_folders(crew, wish)
    crew.wait(
        f"all copies of {wish.volume} are equal",
        lambda: why_not_up(crew),
        crew.parameters["heal_seconds"],
        every=1.0,
    )


def verify(crew: Crew) -> Sequence[str]:
    """Write on each head and read it on all others; ask whether all copies are there, and equal."""
    wish = wish_of(crew)
    crew.wait(f"{wish.volume} is well", lambda: why_not_up(crew), LOOK_SECONDS, every=1.0)
    _check_quorum(crew, wish)
    _write_and_read(crew, wish)
    names = ", ".join(each.name for each in crew.members)
    without = f"; {', '.join(crew.missing)} was not reached" if crew.missing else " and equal"
    return [
        f"all copies of {wish.volume} are up{without}",
        "quorum is on",
        f"what {names} write at {wish.mount} is read on all heads",
    ]


def undo(crew: Crew, destroy: Collection[str]) -> None:
    """Unmount, and stop GlusterFS; the volume with its data is deleted only by its name.

    Raises:
        PhaseError: heads would lose what they still use, or what lies there is not ours.
    """
    wish = wish_of(crew)
    deleted = wish.volume in destroy
    if not crew.whole:
        raise PhaseError(
            f"{wish.volume} is taken from all heads or from none",
            where=", ".join((*crew.missing, *(each.name for each in crew.witnesses))),
            hint="undo the phase on all heads of the cluster at once",
        )
    if deleted:
        storage_removal.condemn(crew, wish)
    crew.each(lambda member: _stop(crew, member, MOUNT))
    if deleted:
        storage_removal.delete(crew, wish)
    crew.each(lambda member: _stop(crew, member, GLUSTERD))


def before_undo(crew: Crew, destroy: Collection[str]) -> Sequence[Finding]:
    """Say which copies go, if the volume is named."""
    if crew.parameters["volume"] not in destroy:
        return ()
    return storage_removal.findings(crew)


def well(crew: Crew) -> str:
    """Return why no head may be taken down now: a copy or a mount is out, or not equal."""
    if why := why_not_well(crew):
        return why
    return storage_mount.unmounted(crew, wish_of(crew), crew.everybody)


def _change(step: Step, wish: Wish) -> Finding:
    head, what, costs = told(step, wish)
    return Finding(head, what, Kind.CHANGE, costs)


def _is_told(crew: Crew, step: Step) -> bool:
    """Tell whether a plan has a step anyhow, as that of a unit which is down."""
    return isinstance(step, Wake) and crew.states[step.head].laid


def _bricks_down(crew: Crew, decision: Decision) -> Iterator[Finding]:
    """Tell of copies that are down although their heads are there."""
    volume = decision.volume
    if volume is None or not volume.started:
        return
    up = Voice(crew, crew.member(decision.by)).online(volume.name)
    at_hand = {each.address: each.name for each in crew.members}
    at_hand |= {each.name: each.name for each in crew.members}
    for brick in volume.bricks:
        if brick not in up and brick.host in at_hand:
            yield Finding(at_hand[brick.host], f"start its copy of {volume.name}", Kind.CHANGE)


def _raise_bricks(crew: Crew, decision: Decision, wish: Wish) -> None:
    """Start the copies that are down; those of the volume that run are let be."""
    if [*_bricks_down(crew, decision)]:
        storage_steps.order(crew, decision.by, "start", wish, "force")


def _make_folders(crew: Crew, wish: Wish) -> None:
    wanted = crew.parameters["directories"]
    words = [
        word
        for path, each in sorted(wanted.items())
        for word in (path.strip("/"), each["owner"], each["group"], each["mode"])
    ]
    if words:
        crew.members[0].run("sh", "-c", FOLDERS, "sh", wish.mount, *words)


def _check_quorum(crew: Crew, wish: Wish) -> None:
    decision = see(crew)
    known = {} if decision.volume is None else decision.volume.options
    for key, value in storage_terms.QUORUM.items():
        if known.get(key) != value:
            raise PhaseError(
                f"{wish.volume} may fall apart: {key} is off",
                expected=value,
                got=known.get(key, "not set"),
                hint="sealift phase run storage",
            )


def _write_and_read(crew: Crew, wish: Wish) -> None:
    """Write a file on each member at once, and read each on all; they are gone afterwards.

    Raises:
        PhaseError: one is read otherwise than it was written.
    """
    token = uuid.uuid4().hex
    files = {m.name: f"{wish.mount}/.sealift-verify-{token}-{m.name}" for m in crew.members}
    try:
        crew.each(lambda m: m.run("sh", "-c", WRITE, "sh", files[m.name], f"{token} {m.name}"))
        wanted = "".join(f"{token} {name}" for name in files)
        crew.wait(
            "what one head wrote is read on the others",
            lambda: _unread(crew, tuple(files.values()), wanted),
            LOOK_SECONDS,
        )
    finally:
        crew.members[0].run("rm", "-f", *files.values(), check=False)


def _unread(crew: Crew, files: Sequence[str], wanted: str) -> str:
    read = crew.each(lambda member: member.run("cat", *files, check=False), crew.everybody)
    left = [head for head, ended in read.items() if ended.stdout != wanted]
    return f"{', '.join(left)} reads something else" if left else ""


def _stop(crew: Crew, member: Member, unit: str) -> None:
    if member.units(unit)[unit].active not in ("inactive", "failed"):
        crew.tell(member.name, f"stop {unit}")
        member.run("systemctl", "stop", unit)
