"""What one head has of the cluster's storage: one script that looks, and what it found.

Nothing is changed by it, and gluster need not be installed. What is to be done about it is decided
in `deploy.phases.storage_plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.phases import gluster
from deploy.phases.errors import PhaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.phases.gluster import Peer, Volume

GLUSTERD = "glusterd.service"
ABSENT, EMPTY, FULL = "absent", "empty", "full"
FORMS = (ABSENT, EMPTY, FULL)
ASKED = ("pool list", "volume info")
"""What the script asks gluster."""
LOCALHOST = "localhost"
STATE = "/var/lib/glusterd"
# Arguments: the volume, the folder of its brick, where it is mounted, the head's address and name,
# and where glusterd keeps what it knows. Of each brick that is its path below the root of the file
# system that it was made on, so a disk that is not mounted now is missed. A mount whose client died
# would hang or fail whoever looks into it, so nothing but the kernel's table is asked about it.
SCRIPT = r"""
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
volume=$1 brick=$2 mount=$3 address=$4 name=$5 state=$6
say() { printf '%s %s\n' "$1" "$2"; }
if [ ! -c /dev/fuse ] && ! modprobe --dry-run --quiet fuse 2>/dev/null; then say lacks fuse; fi
here=
while read -r source target type rest; do
    if [ "$target" = "$mount" ]; then say mounted "$type $source"; here=yes
    elif [ "$type" = fuse.glusterfs ]; then say other "$source $target"; fi
done </proc/self/mounts
if [ -z "$here" ] && [ -n "$(ls -A "$mount" 2>/dev/null)" ]; then say hidden "$mount"; fi
client=$(systemctl show --property=MainPID --value sealift-mount.service 2>/dev/null)
if [ "${client:-0}" -gt 0 ]; then
    say stood "$(tr '\0' '\n' <"/proc/$client/cmdline" | tail -n 1)"
fi
if [ ! -e "$brick" ]; then say brick absent
elif [ -n "$(ls -A "$brick")" ]; then say brick full
else say brick empty; fi
place=$brick
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
if [ "$(stat -c %d "$place")" = "$(stat -c %d /)" ]; then say root yes; fi
for each in "$state/vols/$volume/bricks"/*; do
    grep -qxF "path=$brick" "$each" 2>/dev/null &&
        grep -qxF -e "hostname=$address" -e "hostname=$name" "$each" || continue
    below=$(sed -n 's/^mount_dir=//p' "$each")
    point=${brick%"${below%/}"}
    [ -n "$below" ] && [ -n "$point" ] || continue
    device=$(stat -Lc %d "$point" 2>/dev/null)
    above=$(stat -Lc %d "$(dirname "$point")" 2>/dev/null)
    if [ -z "$device" ] || [ "$device" = "$above" ]; then say misses "$point"; fi
done
for each in "$state"/vols/*/; do [ -d "$each" ] && say keeps "$(basename "$each")"; done
for each in "$state"/peers/*; do [ -f "$each" ] && say knows "$(basename "$each")"; done
if systemctl is-active --quiet glusterd.service; then
    for words in 'pool list' 'volume info'; do
        say xml "$words"
        # The words are options of this script, not data.
        gluster --mode=script --xml $words
        printf '\n'
        say done "$words"
    done
fi
say end here
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One head at one moment.

    `pool` and `volumes` are None while glusterd does not run; `keeps` are the volumes and `knows`
    the peers of which its disk tells also then.
    """

    brick: str
    on_root: bool
    fuse: bool = True
    mounted: str = ""
    """What is mounted at the mount point, as in `fuse.glusterfs localhost:/shared_data`."""
    elsewhere: tuple[str, ...] = ()
    """Other places where it is mounted from this head; by whom is not known."""
    stood: str = ""
    """Where the client that the mount's unit runs has it mounted, also after the unit changed."""
    hidden: bool = False
    """Whether files lie below the mount point, which a mount would hide."""
    misses: str = ""
    """Where the file system of its copy was mounted when that was made, and none is now."""
    keeps: tuple[str, ...] = ()
    knows: tuple[str, ...] = ()
    pool: tuple[Peer, ...] | None = None
    volumes: Mapping[str, Volume] | None = None

    @property
    def runs(self) -> bool:
        """Whether its glusterd tells what it knows."""
        return self.pool is not None

    @property
    def blank(self) -> bool:
        """Whether it takes part in no pool and has no volume, be it asked or by its disk."""
        if self.pool is not None:
            return len(self.pool) <= 1 and not self.volumes
        return not self.keeps and not self.knows

    @property
    def uuid(self) -> str:
        """By what its pool knows it; empty while glusterd does not run."""
        return next((each.uuid for each in self.pool or () if LOCALHOST in each.names), "")


def parse(text: str, volume: str) -> Seen:
    """Read what the script prints.

    Raises:
        PhaseError: it is not whole.
        GlusterError: gluster refused to answer.
    """
    said: dict[str, list[str]] = {}
    documents: dict[str, str] = {}
    inside = ""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "done" and value == inside:
            inside = ""
        elif inside:
            documents[inside] += f"{line}\n"
        elif key == "xml":
            inside = value
            documents[inside] = ""
        else:
            said.setdefault(key, []).append(value)
    forms = said.get("brick", [])
    if "end" not in said or len(forms) != 1 or forms[0] not in FORMS or not _whole(documents):
        raise PhaseError("a head does not tell what it has of the storage", got=text[-200:])
    others = (each.partition(" ")[::2] for each in said.get("other", ()))
    return Seen(
        brick=forms[0],
        on_root="root" in said,
        fuse="lacks" not in said,
        mounted=said.get("mounted", [""])[-1],
        elsewhere=tuple(place for source, place in others if source == _source(volume)),
        stood=said.get("stood", [""])[-1],
        hidden="hidden" in said,
        misses=said.get("misses", [""])[-1],
        keeps=tuple(said.get("keeps", ())),
        knows=tuple(said.get("knows", ())),
        pool=gluster.pool(documents[ASKED[0]]) if documents else None,
        volumes=gluster.volumes(documents[ASKED[1]]) if documents else None,
    )


def _whole(documents: Mapping[str, str]) -> bool:
    """Tell whether gluster was asked nothing, or all: half of it says nothing of the rest."""
    return not documents or documents.keys() == {*ASKED}


def is_ours(mounted: str, volume: str) -> bool:
    """Tell whether what is mounted is the volume."""
    return mounted == f"fuse.glusterfs {_source(volume)}"


def _source(volume: str) -> str:
    """Return as what the volume is mounted: one of the same name may be another cluster's."""
    return f"{LOCALHOST}:/{volume}"
