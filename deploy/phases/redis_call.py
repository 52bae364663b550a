"""How the Redis of a head is spoken to, and what both modes of phase 3 do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases.absence import look
from deploy.phases.errors import PhaseError, WrongPasswordError
from deploy.phases.phase import Finding, Kind
from deploy.phases.upgrade import upgrades

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

DATA = "/var/lib/redis"
KEYS = "keys"
"""The name by which `undo` is told to give up all data."""
ANSWER_SECONDS = 10.0
STOP_SECONDS = 60.0
START_SECONDS = 120.0
MEND_SECONDS = 30.0
AS_REDIS = ("setpriv", "--reuid", "redis", "--regid", "redis", "--clear-groups")
"""Root writes nothing where redis may have put a link."""
SECOND = f"{DATA}/replica"
"""A folder that is laid, for the second instance of a head."""
KEYLESS = 200
"""Bytes that a dump without any key does not reach."""
MARK = f"{DATA}/sealift"
"""The file by which data are known to be ours, also after the phase was taken back."""


def password(crew: Crew) -> str:
    """Return the name of the secret that is everybody's password."""
    return str(crew.parameters["password"])


def call(
    crew: Crew, member: Member, commands: str, *, port: int, address: str | None = None
) -> str:
    """Log in and give commands, one a line; return what was said to all of that.

    Nothing comes back where nobody answers.
    """
    secret = password(crew)
    argv = ("redis-cli", "-h", address or member.address, "-p", str(port))
    ended = member.run(
        *argv,
        input=f"AUTH @secret:{secret}:word@\n{commands}\n",
        timeout=ANSWER_SECONDS,
        secrets=(secret,),
        check=False,
    )
    return "" if ended.status else ended.stdout


def foreign(crew: Crew) -> list[Finding]:
    """Refuse heads whose Redis has keys and was never ours: they would be lost."""
    strangers = [each for each in crew.members if crew.states[each.name].recorded is None]
    argv = (
        *("find", DATA, "-maxdepth", "1", "(", "-path", MARK, "-o", "-name", "appendonlydir"),
        *("-o", "-name", "dump.rdb", "-size", f"+{KEYLESS}c", ")"),
    )
    found = crew.each(lambda each: look(each, DATA, argv), strangers)
    return [
        Finding(
            head,
            f"Redis here has keys that are not this cluster's ({lines.split()[0]})",
            Kind.REFUSAL,
            slug="foreign-data",
            hint="move them aside, and load them when the phase has run",
        )
        for head, lines in found.items()
        if lines.split() and MARK not in lines.split()
    ]


def locked(crew: Crew, heads: Sequence[str]) -> Finding:
    """Say what another password means: the site's was changed, or this was never the site's."""
    secret = password(crew)
    if any(crew.states[head].recorded is None for head in heads):
        reason = f"Redis on {' and '.join(heads)} wants another password than {secret}"
        hint = f"sealift secret set {secret}"
        return Finding(heads[0], reason, Kind.REFUSAL, "", WrongPasswordError.slug, hint)
    changed = f"the password {secret} was changed"
    if not crew.whole:
        reason = f"{changed}, which every head has to take at once"
        return Finding("", reason, Kind.REFUSAL, slug="head-needed", hint="name all of them")
    if any(upgrades(each) for each in crew.states.values()):
        reason = f"{changed}, and newer packages are taken by one head after the other"
        hint = f"{secret} as it was, or the packages as they were; run the phase, then the other"
        return Finding("", reason, Kind.REFUSAL, "", WrongPasswordError.slug, hint)
    consequence = (
        "restarts Redis on all heads at once; services that log in have to be deployed again"
    )
    return Finding("", f"take the new password {secret}", Kind.CHANGE, consequence)


def mark(member: Member) -> None:
    """Let what is going to be in a head's data directory be known as ours."""
    member.run(*AS_REDIS, "tee", MARK, input="What lies here is of sealift's phase redis.\n")


def losses(crew: Crew) -> list[Finding]:
    """Say what is lost with the keys of each head; refuse what does not bear our mark."""
    argv = ("find", DATA, "-maxdepth", "1", "-mindepth", "1")
    found = crew.each(lambda each: look(each, DATA, argv).splitlines())
    lost = []
    for head, lines in found.items():
        if MARK in lines:
            what = f"destroy all below {DATA}"
            lost.append(Finding(head, what, Kind.IRREVERSIBLE, "it cannot be brought back"))
        elif set(lines) - {SECOND}:
            reason = f"what lies in {DATA} does not bear this phase's mark ({MARK})"
            hint = "look at it, and remove it by hand"
            lost.append(Finding(head, reason, Kind.REFUSAL, slug="foreign-data", hint=hint))
    return lost


def remove(crew: Crew) -> None:
    """Remove all keys; the mark last, so that what was cut off can be gone on with.

    Raises:
        PhaseError: on some head they are not ours; none was touched.
    """
    lost = losses(crew)
    for each in lost:
        if each.kind is Kind.REFUSAL:
            raise PhaseError(each.what, where=each.head, hint=each.hint)
    members = [crew.member(each.head) for each in lost]
    find = ("find", DATA, "-xdev", "-mindepth", "1")
    crew.each(lambda each: each.run(*find, "!", "-path", MARK, "-delete"), members)
    crew.each(lambda each: each.run(*find, "-path", MARK, "-delete"), members)


def start(crew: Crew, member: Member, units: Iterable[str]) -> None:
    """Start what is down on a head, and leave alone what runs, be it with old settings.

    Raises:
        PhaseTimeoutError: it does not start.
    """
    down = tuple(name for name, each in member.units(*units).items() if not each.running)
    if not down:
        return
    crew.tell(member.name, f"start {', '.join(down)}")
    member.run("systemctl", "reset-failed", *down, check=False)
    ended = member.run("systemctl", "start", *down, timeout=START_SECONDS, check=False)
    if ended.status:
        # What a power cut tore is mended after the first start that fails for it.
        crew.wait(
            f"{', '.join(down)} on {member.name}",
            lambda: "" if all(up(member, each) for each in down) else ended.stderr.strip(),
            MEND_SECONDS,
        )


def up(member: Member, *units: str) -> bool:
    """Tell whether all of these run."""
    return all(each.running for each in member.units(*units).values())


def stop(crew: Crew, units: Iterable[str], members: Sequence[Member]) -> None:
    """Stop units on heads, all at once.

    Raises:
        CrewError: one does not stop.
    """
    names = tuple(units)

    def end(member: Member) -> None:
        crew.tell(member.name, f"stop {', '.join(names)}")
        member.run("systemctl", "stop", *names, timeout=STOP_SECONDS, check=False)
        alive = [name for name, each in member.units(*names).items() if each.running]
        if alive:
            raise PhaseError(f"{alive[0]} on {member.name} does not stop", where=member.name)

    crew.each(end, members)
