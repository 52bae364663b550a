"""The firewall of one head: loaded on trial, and kept only when a new connection was let in.

The rules are a text of the phase's configuration. What is in force at boot is a copy that was
confirmed, never that text itself; whoever loads others arms a timer of systemd's first, which puts
the confirmed ones back. So neither a rule too many nor a dead operator locks anybody out for long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.phases.errors import PhaseError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.phases.configuration import Configuration
    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

WANTED = "/etc/sealift/firewall.nft"
STATE = "/var/lib/sealift-firewall"
SERVICE = "sealift-firewall.service"
TRIAL_SECONDS = 30
"""After so long without a confirmation the confirmed rules are back."""
SAME, OTHER, NONE = "same", "other", "none"
KEPT, LATE = "kept", "late"

_COMMON = f"""\
set -eu
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
wanted={WANTED} kept={STATE}/rules.nft listing={STATE}/listing
loaded() {{ nft --stateless list table inet sealift 2>/dev/null; }}
trial={STATE}/trial.nft revert=sealift-firewall-revert
waits() {{ [ "$(systemctl show --property=SubState --value $revert.timer)" = waiting ]; }}
disarm() {{ systemctl stop $revert.timer $revert.service 2>/dev/null || :; }}
same() {{ loaded >$trial.now || :; cmp -s $trial.listing $trial.now; }}
"""
# What is loaded is compared with what the kernel listed when it was confirmed: rules read back
# are spelled otherwise than they were written.
LOOK = f"""\
{_COMMON}
rules=none table=none armed=no
if [ -e $kept ]; then rules=other; fi
if cmp -s $wanted $kept; then rules=same; fi
if loaded >/dev/null; then
  table=other
  if [ -e $listing ] && loaded | cmp -s - $listing; then table=same; fi
elif [ -e $listing ] && [ ! -s $listing ]; then table=same; fi
if systemctl is-active --quiet $revert.timer; then armed=yes; fi
echo "$rules $table $armed"
"""
# A trial that nobody confirmed is ended first: its timer is not taken away from under it. What is
# loaded is listed while the timer still waits, so that the listing is that of the rules on trial.
TRY = f"""\
{_COMMON}
umask 077
mkdir -p {STATE}
if [ ! -e $kept ]; then
  printf 'table inet sealift\\ndelete table inet sealift\\n' >$kept.new
  sync $kept.new
  mv $kept.new $kept
fi
if systemctl is-active --quiet $revert.timer; then nft -f $kept; fi
disarm
rm -f $trial $trial.listing
cat $wanted >$trial.new
mv $trial.new $trial
nft --check -f $trial
systemd-run --quiet --collect --unit=$revert --on-active="$1" \\
  --timer-property=AccuracySec=100ms nft -f $kept
nft -f $trial
loaded >$trial.listing || :
waits
"""
# Only rules that are on trial still, and by which whoever confirms came in, are kept: had the timer
# put the others back, a new connection would have been let in by those.
KEEP = f"""\
{_COMMON}
umask 077
late() {{ nft -f $kept; disarm; echo {LATE}; exit 0; }}
waits || late
disarm
same || late
sync $trial $trial.listing
mv $trial.listing $listing
mv $trial $kept
sync {STATE}
echo {KEPT}
"""
REVERT = f"""\
{_COMMON}
nft -f $kept
disarm
"""
REMOVE = f"""\
{_COMMON}
disarm
systemctl disable --now {SERVICE} 2>/dev/null || :
if command -v nft >/dev/null; then
  printf 'table inet sealift\\ndelete table inet sealift\\n' | nft -f -
fi
rm -rf {STATE}
"""
_INPUT = re.compile(r"^\s*chain input \{\n(.*?)^\s*\}$", re.MULTILINE | re.DOTALL)
_OPENED = re.compile(r"^\s*(tcp|udp) dport (\d+)(?:-(\d+))? accept\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a head's firewall stands to what is wanted.

    `rules` says how the confirmed ones are: the same as wanted, others, or none; `table` how what
    is loaded is to what was confirmed. `trial` tells that others are loaded on trial just now.
    """

    rules: str
    table: str
    trial: bool

    @property
    def settled(self) -> bool:
        """Whether what is wanted is confirmed and loaded."""
        return self.rules == SAME and self.table == SAME and not self.trial


def parse(text: str) -> Standing:
    """Read what `LOOK` prints.

    Raises:
        PhaseError: it is something else.
    """
    words = text.split()
    known = {SAME, OTHER, NONE}
    if len(words) != 3 or not known.issuperset(words[:2]):  # noqa: PLR2004 - as it prints
        raise PhaseError("a head does not tell how its firewall stands", got=text[:200])
    return Standing(words[0], words[1], words[2] == "yes")


def look(member: Member) -> Standing:
    """Return how a head's firewall stands; nothing is changed."""
    return parse(member.run("sh", "-c", LOOK).stdout)


def rules(configuration: Configuration) -> str:
    """Return the text of the rules that a configuration wants."""
    for file in configuration.files:
        if str(file.path) == WANTED:
            return configuration.text(file).decode()
    return ""


def open_to_anyone(text: str, protocol: str = "tcp") -> tuple[range, ...]:
    """Return the ports that the rules open to everybody: where all that comes in begins."""
    begun = _INPUT.search(text)
    return tuple(
        range(int(first), int(last or first) + 1)
        for found, first, last in _OPENED.findall(begun[1] if begun else "")
        if found == protocol
    )


def closed(ports: Iterable[int], text: str) -> tuple[int, ...]:
    """Return those of `ports` that the rules do not open to everybody; without rules, none."""
    if not text or "policy drop" not in text:
        return ()
    opened = open_to_anyone(text)
    return tuple(sorted(port for port in set(ports) if not any(port in each for each in opened)))


def settle(crew: Crew, member: Member) -> None:
    """Load the rules that are wanted, and keep them if a new connection is let in.

    Raises:
        PhaseError: none is, or not in time; the rules that were confirmed before are back, or
            will be shortly.
    """
    if look(member).settled:
        return
    crew.tell(member.name, "load the firewall's rules on trial")
    member.run("sh", "-c", TRY, "sh", str(TRIAL_SECONDS))
    try:
        crew.reconnect(member)
    except Error as error:
        _revert(member)
        raise PhaseError(
            f"with its new rules the firewall of {member.name} lets no connection in; "
            "those from before are back",
            where=member.name,
            got=error.reason,
            hint="look at ssh_ports of the phase infrastructure",
        ) from error
    _keep(member)
    crew.tell(member.name, "a new connection was let in: the firewall's rules are kept")


def remove(member: Member) -> None:
    """Take the table away, and all that is kept of it."""
    member.run("sh", "-c", REMOVE)


def _keep(member: Member) -> None:
    """Confirm the rules that are on trial.

    Raises:
        PhaseError: they are not any more, or the head does not say that it kept them.
    """
    said = member.run("sh", "-c", KEEP).stdout.strip()
    if said == KEPT:
        return
    _revert(member)
    raise PhaseError(
        f"no new connection to {member.name} was let in while the firewall's new rules were on "
        "trial; those from before are back",
        where=member.name,
        expected=f"one within {TRIAL_SECONDS} s",
        got="one by the rules from before" if said == LATE else said[:200] or "no answer",
        hint="look at ssh_ports of the phase infrastructure, or run it from a place nearer by",
    )


def _revert(member: Member) -> None:
    """Put the confirmed rules back over the connection that still stands; else the timer does."""
    try:
        member.run("sh", "-c", REVERT)
    except Error:
        return
