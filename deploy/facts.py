"""What a head is before anything is done to it, as one POSIX shell script tells.

The script changes nothing and needs what every Debian and RHEL system has. `parse` is its inverse;
what the facts mean for a release is for `deploy.preflight`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from deploy.profile import Generation, Status, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Arguments: the store directory, the var directory, an executable of the agent (or nothing), and
# ports as four hexadecimal digits. Prints `key value` lines. The lock is looked up in /proc/locks
# and not tried, because trying would for a moment refuse it to others.
SCRIPT = r"""
LC_ALL=C; export LC_ALL
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
store=$1; var=$2; agent=$3; shift 3
say() { printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
say clock "$(date +%s.%N)"
say uid "$(id -u)"
say machine "$(uname -m)"
say identity "$(cat /etc/machine-id /proc/sys/kernel/random/boot_id 2>/dev/null)"
if [ -r /etc/os-release ]; then
    while IFS= read -r line; do
        case $line in ID=*|PRETTY_NAME=*) say "os.${line%%=*}" "${line#*=}";; esac
    done </etc/os-release
fi
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say flags "$(grep -m 1 '^flags' /proc/cpuinfo)"
say systemd "$(systemctl --version 2>/dev/null | head -n 1)"
place=$store
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
say disk "$(df -Pk "$place" | tail -n 1)"
say inodes "$(df -Pi "$place" | tail -n 1)"
if [ ! -w "$place" ]; then say readonly "$place"; fi
for tool in tar sha256sum mkdir mv; do
    command -v "$tool" >/dev/null || say lacks "$tool"
done
if [ -n "$agent" ] && [ -x "$agent" ]; then say agent new; fi
if [ -x "$var/profiles/system/bin/sealift" ]; then say agent old; fi
for link in "$var"/profiles/system-*-link; do
    [ -h "$link" ] || continue
    number=${link%-link}
    say generation "${number##*/system-} $(readlink "$link")"
done
for record in "$var"/head/generations/*.json; do
    [ -f "$record" ] || continue
    number=${record##*/}
    say record "${number%.json} $(cat "$record")"
done
for file in "$var"/head/secrets.age/current/*.age; do
    [ -f "$file" ] || continue
    name=${file##*/}
    say sealed "${name%.age} $(sha256sum <"$file")"
done
for file in "$var"/head/phases/*.json; do
    [ -f "$file" ] || continue
    name=${file##*/}
    say phase "${name%.json} $(cat "$file")"
done
if [ -h "$var/profiles/system" ]; then
    say current "$(readlink "$var/profiles/system")"
    say release "$(cat "$var/profiles/system/release.json" 2>/dev/null)"
fi
[ -f "$var/head/journal.json" ] && say journal "$(cat "$var/head/journal.json")"
if [ -f "$var/head/lock" ]; then
    both=$(stat -c '%d %i' "$var/head/lock")
    device=${both% *}
    # As makedev(3) puts a device together.
    file=$(printf '%02x:%02x:%s' $((device >> 8 & 0xfff | device >> 32 & ~0xfff)) \
        $((device & 0xff | device >> 12 & 0xffffff00)) "${both#* }")
    if grep -q ": FLOCK .* $file " /proc/locks; then say lock "$(cat "$var/head/lock")"; fi
fi
ours=
for word in $(systemctl show -p Listen --value 'sealift-*.socket' 2>/dev/null); do
    ours="$ours $(printf '%04X' "${word##*:}" 2>/dev/null)"
done
wanted=" $* "
taken=
for table in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$table" ] || continue
    while read -r _ address _ state _ _ _ _ _ inode _; do
        [ "$state" = 0A ] || continue
        case "$wanted" in *" ${address##*:} "*) ;; *) continue;; esac
        case "$ours " in *" ${address##*:} "*) continue;; esac
        case "${address%:*}" in
            0100007F|00000000|00000000000000000000000000000000) ;;
            *) continue;;
        esac
        taken="$taken $inode:${address##*:}"
    done <"$table"
done
for each in $taken; do
    fd=$(find /proc/[0-9]*/fd -lname "socket:\[${each%%:*}\]" 2>/dev/null | head -n 1)
    pid=${fd#/proc/}; pid=${pid%%/*}
    [ -n "$pid" ] && grep -q '/sealift-' "/proc/$pid/cgroup" 2>/dev/null && continue
    command=$([ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)
    say taken "${each##*:} ${pid:--} $command"
done
say end here
"""

Taken = tuple[int, str]
"""A port that a stranger listens on, and who it is."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One head at one moment. Sizes in bytes, times in seconds."""

    skew: float
    """How far the head's clock is ahead of ours, as well as one question can tell."""
    uid: int
    machine: str
    system: str
    """As in `Debian GNU/Linux 12 (bookworm)`."""
    glibc: str | None
    """Its version; None where nothing tells it."""
    flags: frozenset[str]
    """What the processor can do, as the kernel names it."""
    systemd: int | None
    disk: int
    """Free where the store is or will be."""
    inodes: int | None
    """Free there; None where the file system makes them as it needs them."""
    readonly: str | None
    """The folder that cannot be written to."""
    lacks: tuple[str, ...]
    """Tools that are missing."""
    agent: bool
    """Whether the new release's agent is there."""
    settled: bool
    """Whether the agent of the current release is there."""
    generations: Mapping[int, str]
    """Number → release."""
    current: int | None
    release: str | None
    """`release.json` of the current generation."""
    unfinished: Mapping[str, Any] | None
    """The journal of a change that is under way or was cut off."""
    holder: str | None
    """Who changes the head just now."""
    taken: tuple[Taken, ...]
    identity: str = ""
    """What no other running machine has; empty where nothing tells it."""
    made: tuple[Generation, ...] = ()
    """The generations with what is recorded of them."""
    sealed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Secrets that the head keeps: name → SHA-256 of the file as it is sealed, in base 16."""
    phases: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    """Phases of the cluster that were laid there: name → what is recorded."""

    @property
    def path(self) -> str | None:
        """The release that is current."""
        return None if self.current is None else self.generations.get(self.current)


class BadFactsError(ValueError):
    """What the head answered is not what the script prints."""


def ask(store_dir: str, var_dir: str, agent: str, ports: Sequence[int]) -> tuple[str, ...]:
    """Return the script's arguments."""
    return (store_dir, var_dir, agent, *(f"{port:04X}" for port in ports))


def parse(text: str, *, began: float, ended: float) -> Facts:
    """Read what the script printed; it was asked at `began` and had answered at `ended`.

    Both are seconds since the epoch on our clock.

    Raises:
        BadFactsError: it is not whole, or not what the script prints.
    """
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        said.setdefault(key, []).append(value.strip())
    if "end" not in said:
        raise BadFactsError(text[-200:])
    try:
        return _facts(said, began=began, ended=ended)
    except (LookupError, ValueError) as error:
        raise BadFactsError(f"{error!r}") from error


def _facts(said: Mapping[str, list[str]], *, began: float, ended: float) -> Facts:
    generations = dict(_generation(each) for each in said.get("generation", ()))
    return Facts(
        skew=_skew(float(said["clock"][0]), began, ended),
        uid=int(said["uid"][0]),
        machine=said["machine"][0],
        system=_first(said, "os.PRETTY_NAME", "unknown").strip("\"'"),
        glibc=_first(said, "glibc").rpartition(" ")[2] or None,
        flags=frozenset(_first(said, "flags").partition(":")[2].split()),
        systemd=_version(_first(said, "systemd")),
        disk=_free(said["disk"][0]) * 1024,
        inodes=_inodes(said["inodes"][0]),
        readonly=_first(said, "readonly") or None,
        lacks=tuple(said.get("lacks", ())),
        agent="new" in said.get("agent", ()),
        settled="old" in said.get("agent", ()),
        generations=generations,
        current=_current(_first(said, "current"), generations),
        release=_first(said, "release") or None,
        unfinished=_record(_first(said, "journal")) if "journal" in said else None,
        holder=_holder(_first(said, "lock")) if "lock" in said else None,
        taken=tuple(dict.fromkeys(_taken(each) for each in said.get("taken", ()))),
        identity=_identity(_first(said, "identity")),
        made=tuple(_made(generations, said.get("record", ()))),
        sealed=dict(_sealed(each) for each in said.get("sealed", ())),
        phases=dict(_phase(each) for each in said.get("phase", ())),
    )


def _identity(text: str) -> str:
    """Return both numbers: a copied machine has the first of its model, containers the second."""
    words = text.split()
    return " ".join(words) if len(words) == 2 else ""  # noqa: PLR2004


def _first(said: Mapping[str, list[str]], key: str, default: str = "") -> str:
    return said.get(key, [default])[0]


def _skew(there: float, began: float, ended: float) -> float:
    """Return what is certain of the difference: the head looked at its clock in between."""
    if began <= there <= ended:
        return 0.0
    return there - (began if there < began else ended)


def _version(line: str) -> int | None:
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def _free(line: str) -> int:
    """Return the fourth column of a line of df: what is available."""
    return int(line.split()[3])


def _inodes(line: str) -> int | None:
    """Return free inodes; btrfs and some others say that there are none at all."""
    words = line.split()
    return None if words[1] in ("0", "-") else int(words[3])


def _generation(text: str) -> tuple[int, str]:
    number, path = text.split()
    return int(number), path


def _made(generations: Mapping[int, str], records: Sequence[str]) -> Iterator[Generation]:
    """Give generations as they are recorded; one whose record cannot be read is as good as any."""
    found = {number: _record(text) for number, _, text in (r.partition(" ") for r in records)}
    for number, path in sorted(generations.items()):
        plain = Generation(number, Path(path), 0.0, Status.UNKNOWN, "")
        with suppress(KeyError, ValueError):
            plain = told(plain, found[str(number)])
        yield plain


def _sealed(text: str) -> tuple[str, str]:
    name, digest, *_ = text.split()
    return name, digest


def _phase(text: str) -> tuple[str, dict[str, Any]]:
    name, _, record = text.partition(" ")
    return name, _record(record)


def _current(link: str, generations: Mapping[int, str]) -> int | None:
    number = link.removeprefix("system-").removesuffix("-link")
    return int(number) if number.isdigit() and int(number) in generations else None


def _record(text: str) -> dict[str, Any]:
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}


def _holder(text: str) -> str:
    found = _record(text)
    return f"{found.get('who', 'somebody')}, {found.get('action', 'a change')}"


def _taken(text: str) -> Taken:
    port, pid, *command = text.split()
    who = "a process that cannot be seen" if pid == "-" else f"pid {pid}"
    return int(port, 16), " ".join([who, *command])
