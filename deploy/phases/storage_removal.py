"""Deleting the volume with all of its copies, which nobody brings back.

Nothing is removed that is not proven to be a copy of this volume: glusterd has this folder of this
head in it, and the folder bears the volume's identity. A proven copy is marked before the volume
is deleted, so that whoever is cut off in between finds it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.phases import storage_look
from deploy.phases.errors import PhaseError
from deploy.phases.gluster_voice import Voice
from deploy.phases.phase import Finding, Kind
from deploy.phases.storage_look import GLUSTERD, STATE
from deploy.phases.storage_sight import wish_of
from deploy.phases.storage_terms import is_unfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.storage_values import Wish

ABSENT, EMPTY, OURS, FOREIGN = "absent", "empty", "ours", "foreign"
UNPROVEN = "copy-unproven"
REMOVE_SECONDS = 3600.0
"""What removing a copy of many files may take."""
# Arguments of all scripts: the volume, the folder of its copy, the head's address and name, and
# where glusterd keeps what it knows, which it does also while it is down.
PROOF = r"""
volume=$1 brick=$2 address=$3 name=$4 state=$5
export LC_ALL=C
prove() {
    if [ -L "$brick" ]; then echo "foreign it is a link"; return; fi
    if [ ! -e "$brick" ]; then echo absent; return; fi
    if [ ! -d "$brick" ]; then echo "foreign it is no folder"; return; fi
    if [ "$(cd -P "$brick" && pwd -P)" != "$brick" ]; then
        echo "foreign there is a link in its path"
        return
    fi
    while read -r _ target _; do
        case $target in "$brick" | "$brick"/*)
            echo "foreign something is mounted at $target"
            return
        esac
    done </proc/self/mounts
    if [ -z "$(ls -A "$brick")" ]; then echo empty; return; fi
    mark=$(getfattr --absolute-names --only-values -n trusted.sealift.removed "$brick" 2>/dev/null)
    if [ "$mark" = "$volume" ]; then echo ours; return; fi
    bears=$(getfattr --absolute-names -e hex -n trusted.glusterfs.volume-id "$brick" 2>/dev/null |
        sed -n 's/^trusted.glusterfs.volume-id=0x//p')
    known=$(sed -n 's/^volume-id=//p' "$state/vols/$volume/info" 2>/dev/null | tr -d -)
    if [ -z "$known" ] || [ "$bears" != "$known" ]; then
        echo "foreign it does not bear the identity of $volume"
        return
    fi
    for each in "$state/vols/$volume/bricks"/*; do
        if grep -qxF "path=$brick" "$each" &&
            grep -qxF -e "hostname=$address" -e "hostname=$name" "$each"; then
            echo ours
            return
        fi
    done
    echo "foreign $volume has no copy there"
}
"""
PROVE = f"{PROOF}prove\n"
MARK = rf"""{PROOF}
if [ "$(prove)" = ours ]; then setfattr -n trusted.sealift.removed -v "$volume" "$brick"; fi
"""
REMOVE = rf"""{PROOF}
found=$(prove)
case $found in
    absent) ;;
    empty) rmdir "$brick" ;;
    ours) rm -rf --one-file-system -- "$brick" ;;
    *) echo "$brick: ${{found#* }}" >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Copy:
    """What lies at the place of a head's copy: absent, empty, ours or foreign, and then why."""

    head: str
    form: str
    why: str = ""


def copies(crew: Crew, wish: Wish) -> tuple[Copy, ...]:
    """Look what lies on each member at the place of its copy; nothing is changed."""
    if is_unfit(wish.brick):
        return tuple(Copy(each.name, FOREIGN, "it is the system's") for each in crew.members)
    told = crew.each(lambda member: _run(member, PROVE, wish).strip())
    return tuple(Copy(head, *line.split(" ", 1)) for head, line in told.items())


def findings(crew: Crew) -> tuple[Finding, ...]:
    """Tell what goes with the volume, head by head, or why it does not."""
    wish = wish_of(crew)
    return tuple(_finding(each, wish) for each in copies(crew, wish) if each.form != ABSENT)


def condemn(crew: Crew, wish: Wish) -> None:
    """Mark what is proven to be a copy, before the proof is deleted.

    Raises:
        PhaseError: something else lies there.
    """
    for each in copies(crew, wish):
        if each.form not in (ABSENT, EMPTY, OURS):
            raise _unproven(each, wish)
    crew.each(lambda member: _run(member, MARK, wish))


def delete(crew: Crew, wish: Wish) -> None:
    """Delete the volume, its copies and the pool: nothing of the data is left."""
    crew.settle(GLUSTERD)
    voice = Voice(crew, crew.members[0])
    gone = ("does not exist",)
    voice.order("volume", "stop", wish.volume, "force", fine=(*gone, "not in the started state"))
    voice.order("volume", "delete", wish.volume, fine=gone)
    crew.each(lambda member: _run(member, REMOVE, wish))
    for peer in voice.pool():
        if storage_look.LOCALHOST not in peer.names:
            voice.order("peer", "detach", peer.names[0], fine=("is not part of cluster",))
    crew.tell("", f"{wish.volume} and all of its copies are deleted")


def _finding(copy: Copy, wish: Wish) -> Finding:
    if copy.form in (OURS, EMPTY):
        what = f"remove {wish.brick}, its copy of {wish.volume}"
        return Finding(copy.head, what, Kind.IRREVERSIBLE, "it cannot be brought back")
    against = _unproven(copy, wish)
    return Finding(copy.head, against.reason, Kind.REFUSAL, slug=UNPROVEN, hint=against.hint)


def _unproven(copy: Copy, wish: Wish) -> PhaseError:
    return PhaseError(
        f"{wish.brick} is not proven to be a copy of {wish.volume}: {copy.why or copy.form}",
        where=copy.head,
        hint="look what it is, and move it away; undo without --yes-destroy keeps all of it",
    )


def _run(member: Member, script: str, wish: Wish) -> str:
    words: Sequence[str] = (wish.volume, wish.brick, member.address, member.name, STATE)
    return member.run("sh", "-c", script, "sh", *words, timeout=REMOVE_SECONDS).stdout
