"""Phase 3: Redis on every head, behind Sentinels that choose the primary, or as a Redis Cluster.

This module does the first; `deploy.phases.redis_cluster` the second, when the parameter `mode` says
so. What is well and what is not, `deploy.phases.replication` decides.
"""

from __future__ import annotations

import secrets as random
from functools import partial
from typing import TYPE_CHECKING

from deploy.node_sets import fold
from deploy.phases import redis_cluster, replication
from deploy.phases.absence import there
from deploy.phases.errors import PhaseError, PhaseTimeoutError
from deploy.phases.phase import Finding, Kind
from deploy.phases.redis_call import (
    DATA,
    KEYS,
    call,
    foreign,
    locked,
    losses,
    mark,
    remove,
    start,
    stop,
    up,
)
from deploy.phases.replication import Answer, View
from deploy.phases.state import RESTART

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

SERVER, SENTINEL, PROXY = "redis-server.service", "redis-sentinel.service", "haproxy.service"
UNITS = (SERVER, SENTINEL, PROXY)
PORT, SENTINEL_PORT = 6379, 26379
LOCAL = "127.0.0.1"
"""Where services of a head find the primary, whichever head that is."""
CLUSTER = "cluster"
WELL_SECONDS = 90.0
"""Sentinels hear of each other within seconds, and of replicas once in ten."""
FAILOVER_SECONDS = 60.0
PAUSE = 10_000
"""Milliseconds that writers wait at most for another primary."""
CAUGHT_UP = 2.0
ASK = f"SENTINEL MASTER {replication.SERVICE}"


def check(crew: Crew) -> Sequence[Finding]:
    """Say what is not well, and whether what runs is another's."""
    found = [*_mode(crew), *foreign(crew)]
    if found:
        return found
    if crew.parameters["mode"] == CLUSTER:
        return redis_cluster.check(crew)
    if not any(each.laid for each in crew.states.values()):
        return _unmade(crew)
    if not _running(crew):
        return []
    view = _look(crew)
    if view.locked:
        return [locked(crew, view.locked)]
    told = replication.fault(view)
    return [Finding("", f"wait until this is over: {told}", Kind.CHANGE)] if told else []


def apply(crew: Crew) -> None:
    """Start what is down and restart what runs with old settings, the primary last.

    Raises:
        PhaseError: it does not get well.
    """
    crew.each(mark)
    if crew.parameters["mode"] == CLUSTER:
        redis_cluster.apply(crew)
        return
    if _running(crew) and _look(crew).locked:
        _renew(crew)
    else:
        _roll(crew)
    crew.wait("Redis is well", partial(well, crew), WELL_SECONDS)


def verify(crew: Crew) -> Sequence[str]:
    """Write where services do on each head, and read it from every Redis.

    Raises:
        PhaseError: something of that does not work.
    """
    if crew.parameters["mode"] == CLUSTER:
        return redis_cluster.verify(crew)
    crew.wait("Redis is well", partial(well, crew), WELL_SECONDS)
    view = _look(crew)
    first = next(each.head for each in view.servers if each.primary)
    replicas = [each.head for each in view.servers if not each.primary]
    crew.each(_closed)
    for member in crew.members:
        _through(crew, member, len(replicas))
    crew.each(partial(_quorum, crew))
    followers = f", {' and '.join(replicas)} follow it" if replicas else ""
    return [
        f"{first} is the primary{followers}",
        f"what is written to {LOCAL}:{PORT} on each head is read on all",
        "nobody gets in without the password",
        "the Sentinels have a majority to choose another primary",
    ]


def well(crew: Crew) -> str:
    """Say why not all is well, so that no head may be taken down; nothing if it is."""
    if crew.parameters["mode"] == CLUSTER:
        return redis_cluster.unwell(crew)
    down = [
        f"{unit} on {member.name} is {state.active}"
        for member in crew.members
        for unit, state in member.units(*UNITS).items()
        if not state.running
    ]
    return down[0] if down else replication.fault(_look(crew))


def before_undo(crew: Crew, destroy: Collection[str]) -> Sequence[Finding]:
    """Say what would be destroyed; refuse keys that are not known to be ours."""
    return losses(crew) if KEYS in destroy else []


def undo(crew: Crew, destroy: Collection[str]) -> None:
    """Stop all, the primary last; with `keys` to destroy, remove all data.

    Raises:
        PhaseError: something does not stop.
    """
    if crew.parameters["mode"] == CLUSTER:
        stop(crew, redis_cluster.UNITS, crew.members)
    else:
        view = _look(crew)
        stop(crew, (PROXY, SENTINEL), crew.members)
        for head in replication.order([each.name for each in crew.members], view):
            stop(crew, (SERVER,), [crew.member(head)])
    if KEYS in destroy:
        remove(crew)


def _mode(crew: Crew) -> list[Finding]:
    """Refuse to make the one of the other: each keeps its keys in another way."""
    wanted = crew.parameters["mode"]
    other = "sentinel.conf" if wanted == CLUSTER else "nodes.conf"
    found = crew.each(lambda each: there(each, f"{DATA}/{other}"), crew.everybody)
    return [
        Finding(
            head,
            f"Redis here has keys of another mode than {wanted}",
            Kind.REFUSAL,
            slug="redis-mode",
            hint=_way_out(crew, head, other),
        )
        for head, is_there in found.items()
        if is_there
    ]


def _way_out(crew: Crew, head: str, other: str) -> str:
    """Say what to do about keys of another mode: only what is laid can be undone."""
    laid = crew.member(head).laid(crew.phase)
    if laid is None:
        return f"move what lies in {DATA} aside there, then run it again"
    before = laid.parameters["mode"]
    if before == crew.parameters["mode"]:
        return f"{other} is none of this mode's: move {DATA}/{other} aside there"
    undo_ = f"sealift phase undo redis --yes-destroy {KEYS} --host {fold(crew.configurations)}"
    return f"{undo_}, then run it again; if that is refused, first run it with mode: {before}"


def _unmade(crew: Crew) -> list[Finding]:
    """Say what making it takes: of a head that was not reached nobody knows whether it has keys."""
    if crew.missing:
        reason = f"{' and '.join(crew.missing)} may have a Redis with keys"
        hint = "switch it on; a head that is lost for good is taken out of cluster.hosts"
        return [Finding("", reason, Kind.REFUSAL, slug="unreachable", hint=hint)]
    head = crew.shared.hosts[0].name
    return [Finding(head, "be the first primary", Kind.CHANGE)]


def _renew(crew: Crew) -> None:
    """Let all take another password: until the last one has it, they do not let each other in."""
    crew.tell("", "take the new password")
    stop(crew, (SENTINEL,), crew.members)
    crew.settle(SENTINEL, SERVER)
    behind = [crew.member(each.head) for each in _servers(crew) if each.answer is Answer.LOCKED]
    crew.each(lambda each: each.run("systemctl", "restart", SERVER), behind)
    crew.settle(*UNITS)


def _roll(crew: Crew) -> None:
    """Start and restart what has to be, replicas before the primary, which gives that up first."""
    down = [each for each in crew.members if not up(each, *UNITS)]
    crew.each(lambda each: start(crew, each, UNITS), down)
    heads = replication.order([each.name for each in crew.members], _look(crew))
    for member in map(crew.member, heads):
        if member.units(SERVER)[SERVER].stale == RESTART:
            _give_up(crew, member)
        crew.roll(UNITS, partial(well, crew), WELL_SECONDS, [member])


def _give_up(crew: Crew, member: Member) -> None:
    """Let another head be the primary, if this one is it and there is another."""
    if len(crew.everybody) == 1 or _look(crew).primary != member.address:
        return
    crew.wait("Redis is well", partial(well, crew), WELL_SECONDS)
    crew.tell(member.name, "let another head be the primary")
    # A replica that was just restarted does not count for a Sentinel until it has asked it.
    ask = partial(_handed_over, crew, member)
    crew.wait("a replica is fit to be the primary", ask, FAILOVER_SECONDS, 1.0)

    def moved() -> str:
        view = _look(crew)
        if view.primary in ("", member.address):
            return f"{member.name} is still the primary"
        return replication.fault(view)

    crew.wait("another head is the primary", moved, FAILOVER_SECONDS)


def _handed_over(crew: Crew, member: Member) -> str:
    """Begin a failover that loses nothing; return why it could not be.

    A primary goes on taking writes until it hears of its end, and those that only another replica
    got by then are gone. So writers wait, and whoever is to follow has all.
    """
    call(crew, member, f"CLIENT PAUSE {PAUSE} WRITE", port=PORT)
    try:
        crew.wait("replicas have all", lambda: replication.behind(_servers(crew)), CAUGHT_UP, 0.05)
    except PhaseTimeoutError as error:
        call(crew, member, "CLIENT UNPAUSE", port=PORT)
        return error.got or ""
    said = call(crew, member, f"SENTINEL FAILOVER {replication.SERVICE}", port=SENTINEL_PORT)
    last = said.strip().rpartition("\n")[2]
    if last == "OK" or last.startswith("INPROG"):
        return ""
    call(crew, member, "CLIENT UNPAUSE", port=PORT)
    return last or "no answer"


def _running(crew: Crew) -> bool:
    return any(crew.each(lambda each: up(each, SERVER), crew.everybody).values())


def _look(crew: Crew) -> View:
    """Ask every Redis and every Sentinel that was reached."""
    hosts = crew.shared.hosts
    watches = crew.each(
        lambda each: replication.watch(each.name, call(crew, each, ASK, port=SENTINEL_PORT)),
        crew.everybody,
    )
    return View(
        _servers(crew),
        tuple(watches.values()),
        expected=len(hosts),
        names={each.address: each.name for each in hosts},
    )


def _servers(crew: Crew) -> tuple[replication.Server, ...]:
    found = crew.each(
        lambda each: replication.server(
            each.name, each.address, call(crew, each, "INFO replication", port=PORT)
        ),
        crew.everybody,
    )
    return tuple(found.values())


def _closed(member: Member) -> None:
    """Refuse a Redis that lets in whoever comes."""
    argv = ("redis-cli", "-h", member.address, "-p", str(PORT))
    said = member.run(*argv, input="PING\n", check=False).stdout
    if "NOAUTH" not in said:
        reason = f"Redis on {member.name} asks for no password"
        raise PhaseError(reason, where=member.name, got=said.strip()[:80])


def _through(crew: Crew, member: Member, replicas: int) -> None:
    """Write as a service on this head does, and look for it on all."""
    key, word = f"sealift:{member.name}", random.token_hex(8)
    crew.wait(
        f"what is written on {member.name} reaches the primary",
        lambda: _refused(crew, member, f"SET {key} {word} EX 3600\nWAIT {replicas} 5000"),
        WELL_SECONDS,
    )
    read = crew.each(lambda each: call(crew, each, f"GET {key}", port=PORT), crew.everybody)
    late = [head for head, said in read.items() if word not in said]
    if late:
        reason = f"what is written on {member.name} is not read on {', '.join(late)}"
        raise PhaseError(reason, where=member.name)


def _refused(crew: Crew, member: Member, commands: str) -> str:
    """Say why a command through the head's own port is not taken; nothing if it is."""
    said = call(crew, member, commands, port=PORT, address=LOCAL).strip()
    lines = said.splitlines()
    return "" if lines[:2] == ["OK", "OK"] else said[-200:] or "no answer"


def _quorum(crew: Crew, member: Member) -> None:
    said = call(crew, member, f"SENTINEL CKQUORUM {replication.SERVICE}", port=SENTINEL_PORT)
    if not said.strip().rpartition("\n")[2].startswith("OK"):
        raise PhaseError("the Sentinels have no majority", where=member.name, got=said.strip())
