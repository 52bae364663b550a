"""Phase 0, infrastructure: time, names, the firewall, settings of the kernel, the journal.

Users, packages and files are laid by the head itself; here is what must be true before, what has
to be put in force, and how it is tried.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy.phases import clocks, firewall, ground
from deploy.phases.errors import PhaseError
from deploy.phases.phase import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.ground import Ground
    from deploy.phases.member import Member

name = "infrastructure"
CHRONY, JOURNALD = "chrony.service", "systemd-journald.service"
APPARMOR = "/etc/apparmor.d/usr.sbin.chronyd"
SOURCE_SECONDS = 40.0
"""How long the other heads' chrony may take to answer; it is asked every 16 s at least."""
CLOSED_PORT = 9
"""RFC 863's discard, on which nobody listens: refused without a firewall, silent behind one."""
CLOSED_SECONDS = 1
OWN = frozenset({"localhost", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters"})
# Arguments: pairs of a path below /proc/sys and its value. Prints what could not be set.
SET = r"""
while [ $# -gt 1 ]; do
    printf '%s\n' "$2" 2>/dev/null >"/proc/sys/$1" || echo "$1"
    shift 2
done 2>/dev/null
"""
READ = 'if [ -e "$1" ]; then cat "$1"; fi'
BEFORE = "/var/lib/sealift-firewall/sysctl.before"
# A connection that is made at once, refused at once, or not answered at all.
CONNECT = 'exec 3<>"/dev/tcp/$0/$1"'
_TIMED_OUT = 124


def check(crew: Crew) -> Sequence[Finding]:
    """Say what is put in force, and what stands against it."""
    found, readings = _look(crew, crew.everybody)
    findings = [
        *_clocks(crew, found, readings),
        *(each for member in crew.members for each in _one(crew, member, found[member.name])),
    ]
    laid = [each for each in crew.members if crew.states[each.name].laid]
    walls = crew.each(firewall.look, laid)
    for member in crew.members:
        wall = walls.get(member.name)
        if wall is None or not wall.settled:
            what = "load the firewall's rules" if crew.parameters["firewall"] else "no firewall"
            told = f"back after {firewall.TRIAL_SECONDS} s unless a new connection is let in"
            findings.append(Finding(member.name, what, Kind.CHANGE, told))
    return findings


def apply(crew: Crew) -> None:
    """Put in force what is not: kernel, journal, clock, and last the firewall."""
    found, _ = _look(crew, crew.members)
    crew.each(lambda member: _set(crew, member, found[member.name]))
    crew.settle(JOURNALD)
    confined = [each for each in crew.members if found[each.name].apparmor]
    crew.each(_admit_chrony, confined)
    crew.settle(CHRONY)
    crew.each(lambda member: firewall.settle(crew, member))
    crew.settle(firewall.SERVICE)


def verify(crew: Crew) -> Sequence[str]:
    """Try names, users, time and the firewall."""
    crew.each(lambda member: _names(crew, member))
    crew.wait("the clocks agree", lambda: _unheard(crew), SOURCE_SECONDS, every=2.0)
    told = [f"every head knows {_listed(crew)}", "chrony answers from every head to every other"]
    if crew.parameters["firewall"]:
        crew.each(_loaded)
        tried = crew.each(lambda member: _closed(crew, member))
        told.append("the firewall's rules are loaded and confirmed")
        if any(tried.values()):
            told.append(f"port {CLOSED_PORT}, which nobody declared, is closed to the other heads")
    return told


def undo(crew: Crew, destroy: Collection[str]) -> None:
    """Take the firewall away, put back what the kernel had, and stop chrony."""
    del destroy
    crew.each(_restore)
    crew.each(firewall.remove)
    crew.each(lambda member: _stop(member, CHRONY))


def _look(
    crew: Crew, who: Sequence[Member]
) -> tuple[Mapping[str, Ground], Mapping[str, clocks.Reading]]:
    keys = [ground.path(key) for key in sorted(crew.parameters["sysctl"])]

    def ask(member: Member) -> tuple[Ground, clocks.Reading]:
        began = time.time()
        text = member.run("sh", "-c", ground.SCRIPT, "sh", *keys).stdout
        found = ground.parse(text, keys)
        return found, clocks.Reading(found.clock, began, time.time())

    both = crew.each(ask, who)
    return {n: each[0] for n, each in both.items()}, {n: each[1] for n, each in both.items()}


def _clocks(
    crew: Crew, found: Mapping[str, Ground], readings: Mapping[str, clocks.Reading]
) -> Iterator[Finding]:
    for head, ahead in clocks.apart(readings).items():
        way = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            head,
            f"its clock is {abs(ahead):.0f} s {way} those of the other heads",
            Kind.REFUSAL,
            slug="clock-off",
            hint=f"set it on {head}, as by date --set, and run the phase again",
        )
    if crew.parameters["clock"] != "set":
        return
    for member in crew.members:
        if not clocks.may_set(found[member.name].bounding):
            yield Finding(
                member.name,
                "its programs may not set its clock, as in a container",
                Kind.REFUSAL,
                slug="clock-fixed",
                hint="clock: measure, at cluster: phases: infrastructure: in sealift.yaml",
            )


def _one(crew: Crew, member: Member, found: Ground) -> Iterator[Finding]:
    yield from _timekeepers(member, found)
    yield from _settings(crew, member.name, found)
    yield from _foreign_names(crew, member.name, found)
    if crew.parameters["locked_memory"] == "unlimited" and not found.memlock:
        yield Finding(
            member.name,
            "its kernel lets no user lock unlimited memory: nobody could log in any more",
            Kind.REFUSAL,
            slug="limit-fixed",
            hint="locked_memory: keep, at cluster: phases: infrastructure: in sealift.yaml",
        )
    text = firewall.rules(crew.configuration(member.name))
    shut = firewall.closed(found.ssh, text)
    if shut:
        ports = ", ".join(map(str, shut))
        yield Finding(
            member.name,
            f"the firewall would close port {ports}, where sshd lets operators in",
            Kind.REFUSAL,
            slug="ssh-port-closed",
            hint="name all of them: ssh_ports, at cluster: phases: infrastructure: in sealift.yaml",
        )
    if not crew.states[member.name].laid:
        for port in firewall.closed(set(found.listening) - found.ssh, text):
            who = found.listening[port]
            yield Finding(member.name, f"port {port} ({who}) is closed to others", Kind.NOTE)


def _timekeepers(member: Member, found: Ground) -> Iterator[Finding]:
    """Refuse what Debian installs to keep the clock: apt would have to remove it, and may not."""
    for package in found.timekeepers:
        yield Finding(
            member.name,
            f"{package} keeps its clock, and chrony cannot be installed beside it",
            Kind.REFUSAL,
            slug="package-conflict",
            hint=f"apt-get purge {package}, on {member.name}",
        )


def _settings(crew: Crew, head: str, found: Ground) -> Iterator[Finding]:
    for key, value in _wrong(crew, found).items():
        there = found.settings[ground.path(key)]
        if there.writable:
            yield Finding(head, f"set {key} to {value}: it is {there.value}", Kind.CHANGE)
        else:
            told = "not known to its kernel" if there.value is None else "fixed there"
            yield Finding(head, f"{key} stays as it is: {told}", Kind.NOTE)


def _wrong(crew: Crew, found: Ground) -> dict[str, str]:
    """Return the settings of the kernel that are others than wanted."""
    return {
        key: value
        for key, value in sorted(crew.parameters["sysctl"].items())
        if (there := found.settings[ground.path(key)]).value is None
        or not ground.same(there.value, value)
    }


def _foreign_names(crew: Crew, head: str, found: Ground) -> Iterator[Finding]:
    """Tell which names a head knows that it will know no more."""
    hosts = crew.configuration(head).hosts
    domain = crew.parameters["domain"]
    ours = {each.name: each.address for each in hosts} | dict(crew.parameters["names"])
    full = {f"{each.name}.{domain}": each.address for each in hosts} if domain else {}
    lost = [
        f"{name} ({address})"
        for name, address in found.names
        if name not in OWN and name not in ours and name not in full
    ]
    if lost:
        hint = "names, at cluster: phases: infrastructure: in sealift.yaml"
        what = f"/etc/hosts is kept aside, and with it {', '.join(lost)}"
        yield Finding(head, what, Kind.NOTE, hint=hint)


def _set(crew: Crew, member: Member, found: Ground) -> None:
    """Set what can be; what cannot is told. What a key had at first is kept, for `undo`."""
    wrong = _wrong(crew, found)
    there = {key: found.settings[ground.path(key)] for key in wrong}
    able = {key: value for key, value in wrong.items() if there[key].writable}
    if able:
        _keep_before(member, {ground.path(key): there[key].value or "" for key in able})
        pairs = [word for key, value in able.items() for word in (ground.path(key), value)]
        refused = member.run("sh", "-c", SET, "sh", *pairs).stdout.split()
        for each in refused:
            crew.tell(member.name, f"its kernel does not let {each} be set")
    for key in sorted(set(wrong) - set(able)):
        crew.tell(member.name, f"{key} stays as it is: it cannot be set there")


def _keep_before(member: Member, found: Mapping[str, str]) -> None:
    """Add to what is kept what settings have that are set for the first time, by their paths."""
    kept = _before(member)
    if not found.keys() <= kept.keys():
        lines = [f"{path}\t{value}\n" for path, value in {**found, **kept}.items()]
        member.put(BEFORE, "".join(lines), mode="0600", replace=True)


def _before(member: Member) -> dict[str, str]:
    lines = member.run("sh", "-c", READ, "sh", BEFORE).stdout.splitlines()
    return {path: value for path, tab, value in (line.partition("\t") for line in lines) if tab}


def _restore(member: Member) -> None:
    pairs = [word for pair in _before(member).items() for word in pair]
    if pairs:
        member.run("sh", "-c", SET, "sh", *pairs)


def _admit_chrony(member: Member) -> None:
    """Let AppArmor know of the rule for the store; a cache by time would not see that it is new."""
    if member.run("test", "-e", APPARMOR, check=False).status == 0:
        argv = ("apparmor_parser", "--replace", "--skip-read-cache", "--write-cache", APPARMOR)
        member.run(*argv)


def _names(crew: Crew, member: Member) -> None:
    """Make sure that a head knows all heads and users.

    Raises:
        PhaseError: it does not.
    """
    configuration = crew.configuration(member.name)
    for host in configuration.hosts:
        text = member.run("getent", "ahosts", host.name, check=False).stdout
        if host.address not in text.split():
            raise PhaseError(
                f"{member.name} does not know {host.name} by its address",
                where=member.name,
                expected=host.address,
                got=" ".join(text.split()[:1]) or "nothing",
            )
    for user in configuration.users:
        uid = member.run("id", "-u", user.name, check=False).stdout.strip()
        if uid != str(user.uid):
            raise PhaseError(
                f"the user {user.name} has another number",
                where=member.name,
                expected=str(user.uid),
                got=uid or "no such user",
            )


def _unheard(crew: Crew) -> str:
    """Return which heads' chrony follows nobody, or has not heard of which other; else nothing.

    A head that has not heard of another asks again.
    """
    reached = {each.name: each.address for each in crew.everybody}

    def ask(member: Member) -> str:
        if clocks.follows(member.run("chronyc", "-n", "-c", "tracking").stdout) is None:
            return f"{member.name} follows no clock"
        others = [address for other, address in reached.items() if other != member.name]
        found = clocks.sources(member.run("chronyc", "-n", "-c", "sources").stdout)
        left = clocks.silent(found, others)
        if not left:
            return ""
        # By itself it asks again after 16 seconds, and those may not have run when it asked first.
        member.run("chronyc", "-n", "burst", "4/4", check=False)
        return f"{member.name} has not heard of {', '.join(left)}"

    return "; ".join(why for why in crew.each(ask).values() if why)


def _loaded(member: Member) -> None:
    standing = firewall.look(member)
    if not standing.settled:
        raise PhaseError(
            "the firewall's rules are not those that were confirmed",
            where=member.name,
            expected="rules that are the same, loaded, and not on trial",
            got=f"rules {standing.rules}, loaded {standing.table}",
        )


def _closed(crew: Crew, member: Member) -> bool:
    """Try from another head whether a port that nobody declared is closed on this one.

    Returns whether there is another one to try it from.

    Raises:
        PhaseError: it is not.
    """
    other = next((each for each in crew.everybody if each.name != member.name), None)
    if other is None:
        return False
    port = str(CLOSED_PORT)
    ended = other.run(
        *("timeout", str(CLOSED_SECONDS), "bash", "-c", CONNECT, member.address, port), check=False
    )
    if ended.status != _TIMED_OUT:
        raise PhaseError(
            f"port {port} of {member.name} is not closed to {other.name}",
            where=member.name,
            expected="no answer",
            got="a connection" if ended.status == 0 else "a refusal, as without a firewall",
        )
    return True


def _stop(member: Member, *units: str) -> None:
    member.run("systemctl", "stop", *units, check=False)


def _listed(crew: Crew) -> str:
    hosts: Iterable[str] = (each.name for each in crew.configuration(crew.members[0].name).hosts)
    return ", ".join(hosts)
