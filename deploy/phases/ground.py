"""What a head is before the phase infrastructure: one script that looks, and what it found.

Nothing is changed by it, and it needs what every Debian has. What the facts mean is for
`deploy.phases.infrastructure`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from deploy.phases.errors import PhaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Arguments: settings of the kernel, as paths below /proc/sys.
SCRIPT = r"""
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
say() { printf '%s %s\n' "$1" "$2"; }
say clock "$(date +%s.%N)"
say bounding "$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/1/status)"
for each; do
    if [ ! -e "/proc/sys/$each" ]; then say absent "$each"; continue; fi
    if [ -w "/proc/sys/$each" ]; then way=set; else way=fixed; fi
    say "$way" "$each $(cat "/proc/sys/$each" 2>/dev/null)"
done
if [ ! -h /etc/hosts ]; then sed -e 's/#.*//' -e '/^[[:space:]]*$/d' -e 's/^/host /' /etc/hosts; fi
# Three tell where sshd listens, and none of them always: its settings, systemd, the sockets.
sshd -T 2>/dev/null | sed -n 's/^port /ssh /p'
systemctl show --property=Listen --value ssh.socket 2>/dev/null | sed 's/^/socket /'
say user "${SSH_CONNECTION:-}"
if command -v ss >/dev/null; then ss -H -l -t -n -p | sed 's/^/listens /'; fi
for each in systemd-timesyncd ntp ntpsec openntpd; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$each" 2>/dev/null)" = installed ]; then
        say keeps "$each"
    fi
done
if ( ulimit -H -l unlimited ) 2>/dev/null; then say memlock yes; else say memlock no; fi
if [ -e /sys/kernel/security/apparmor/profiles ]; then say apparmor on; fi
say end here
"""
_SSH_SOCKET = re.compile(r":(\d+) \(Stream\)")
_LISTENS = re.compile(r"^\S+\s+\S+\s+\S+\s+(\S+):(\d+)\s+\S+(?:\s+users:\(\(\"([^\"]*)\")?")
_LOOPBACK = ("127.", "[::1]", "[::ffff:127.")
_OWN = ("127.", "::1", "::ffff:127.")
"""How addresses of the head itself begin, as sshd spells them."""
_SERVERS = ("sshd", "dropbear")


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a head's kernel; `value` is None where it has none of this name."""

    value: str | None
    writable: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """One head at one moment; `clock` is its seconds since the epoch."""

    clock: float
    bounding: str
    """What programs may be allowed at most, in base 16."""
    settings: Mapping[str, Setting]
    """By path below /proc/sys."""
    names: tuple[tuple[str, str], ...]
    """Names with their addresses, as /etc/hosts has them; nothing where the file is a link."""
    ssh: frozenset[int]
    """Ports on which sshd lets somebody in."""
    listening: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    """TCP ports that others can reach, and who listens there."""
    memlock: bool = True
    """Whether a user can be let lock any memory."""
    apparmor: bool = False
    timekeepers: tuple[str, ...] = ()
    """Packages that keep its clock, and that chrony cannot be beside."""


def path(key: str) -> str:
    """Return where a setting lies below /proc/sys; the name of an interface may have dots.

    As for sysctl(8), a key whose first separator is a slash is a path already.
    """
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return key.translate(str.maketrans("./", "/."))


def parse(text: str, keys: Iterable[str] = ()) -> Ground:
    """Read what the script prints of a head, and of its settings `keys`.

    Raises:
        PhaseError: it is not whole, or something else.
    """
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        said.setdefault(key, []).append(value.strip())
    try:
        found = _ground(said)
    except (LookupError, ValueError) as error:
        raise PhaseError("a head does not tell what it is", got=text[-200:]) from error
    if "end" not in said or not found.settings.keys() >= set(keys):
        raise PhaseError("a head does not tell all that it is", got=text[-200:])
    return found


def _ground(said: Mapping[str, list[str]]) -> Ground:
    listening = dict(_listening(said.get("listens", ())))
    clock, bounding = float(said["clock"][0]), said["bounding"][0] or "0"
    if not math.isfinite(clock) or int(bounding, 16) < 0:
        raise ValueError(clock, bounding)
    return Ground(
        clock=clock,
        bounding=bounding,
        settings=_settings(said),
        names=tuple(_names(said.get("host", ()))),
        ssh=_ssh(said, listening),
        listening=listening,
        memlock=said.get("memlock") == ["yes"],
        apparmor="apparmor" in said,
        timekeepers=tuple(said.get("keeps", ())),
    )


def same(one: str, other: str) -> bool:
    """Tell whether two values are one to the kernel, which puts tabs between numbers."""
    return one.split() == other.split()


def _settings(said: Mapping[str, list[str]]) -> dict[str, Setting]:
    found = {each: Setting(None, writable=False) for each in said.get("absent", ())}
    for way in ("set", "fixed"):
        for line in said.get(way, ()):
            key, _, value = line.partition(" ")
            found[key] = Setting(value, writable=way == "set")
    return found


def _names(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for address, *names in (line.split() for line in lines):
        yield from ((name, address) for name in names)


def _listening(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    """Give what is listened on by port; what only the head itself reaches is left out."""
    for line in lines:
        found = _LISTENS.match(line)
        if found and not found[1].startswith(_LOOPBACK):
            yield int(found[2]), found[3] or "unknown"


def _ssh(said: Mapping[str, list[str]], listening: Mapping[int, str]) -> frozenset[int]:
    """Return the ports of sshd; what it forwards for others is listened on by its children."""
    told = {int(each) for each in said.get("ssh", ()) if each.isdecimal()}
    sockets = {int(port) for each in said.get("socket", ()) for port in _SSH_SOCKET.findall(each)}
    seen = {port for port, who in listening.items() if who in _SERVERS}
    came = {port for each in said.get("user", ()) for port in _came(each)}
    # Settings may name a port that a running sshd does not use: its sockets are what counts.
    return frozenset(seen | came | (sockets or (set() if seen else told)))


def _came(connection: str) -> Iterable[int]:
    """Give the port by which the operator came, whoever listens there, if from another host."""
    match connection.split():
        case [_, _, there, port] if port.isdecimal() and not there.startswith(_OWN):
            yield int(port)
