"""Phase 4, Slurm: one key for all, accounts on Galera, controllers with one state, nodes.

Who does what is decided in `slurm_roles`, what Slurm says is read in `slurm_answers`, and which
accounts are to be added in `slurm_accounts`. What one tries to see whether it works is in
`slurm_trial`, what undoing gives up in `slurm_undo`.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from deploy.phases import slurm_answers as answers
from deploy.phases import slurm_trial as trial
from deploy.phases import slurm_undo
from deploy.phases.absence import absent
from deploy.phases.errors import CommandError, OtherStateError, PhaseError, PhaseTimeoutError
from deploy.phases.phase import Finding, Kind
from deploy.phases.slurm_accounts import SHOW, Lacking, lacking
from deploy.phases.slurm_heads import apart, refusal
from deploy.phases.slurm_roles import (
    CONSEQUENCES,
    CONTROLLER,
    DATABASE,
    FENCE,
    MUNGE,
    NODE,
    ORDER,
    Roles,
    backups_first,
    touched,
)
from deploy.phases.slurm_undo import CONFIGURATION, QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

name = "slurm"
DATABASE_SECONDS = 90.0
"""How long the first slurmdbd takes to make its tables on a busy Galera cluster, with room."""
CONTROLLER_SECONDS = 60.0
"""How long a controller takes, besides what a stuck one has until it is ended."""
NODE_SECONDS = 60.0
LOG_LINES = "8"
"""A refusal of Slurm itself, which goes over several lines, and what systemd says after it."""


def check(crew: Crew) -> Sequence[Finding]:
    """Say what `apply` would do and what stands against it."""
    roles = _roles(crew)
    found = [*_refusals(crew, roles)]
    if found:
        return found
    asked = _laid(crew, roles)
    return [*_restarts(crew), *(_fresh(roles) if asked is None else _cluster(crew, roles, asked))]


def apply(crew: Crew) -> None:
    """Bring it up in the order in which each part needs those before it."""
    roles = _roles(crew)
    crew.settle(MUNGE)
    _state_folder(crew, roles)
    _databases(crew, roles)
    _account(crew, roles)
    controllers = _among(crew, roles.controllers)
    crew.settle(FENCE, who=controllers)
    _controllers(crew, roles, controllers)
    crew.settle(NODE, who=_among(crew, roles.nodes))
    asker = _asker(crew, roles)
    crew.wait("the nodes are ready", lambda: trial.unready(crew, roles, asker), NODE_SECONDS)
    _keep_accounts(crew, controllers)


def verify(crew: Crew) -> Sequence[str]:
    """Try the key between heads, the controllers, a job on all idle nodes, and its account."""
    roles = _roles(crew)
    return trial.run(crew, roles, _asker(crew, roles))


def well(crew: Crew) -> str:
    """Say why no head may be taken down now: a controller, the accounting or a node is out."""
    roles = _roles(crew)
    asker = _asker(crew, roles)
    return (
        trial.silent(asker, roles.controllers)
        or trial.unaccounted(asker)
        or trial.unready(crew, roles, asker)
    )


def before_undo(crew: Crew, destroy: Collection[str]) -> Sequence[Finding]:
    """Say which jobs stand against it, and what of the state is removed."""
    return slurm_undo.before(crew, destroy)


def undo(crew: Crew, destroy: Collection[str]) -> None:
    """Stop everything; the queue and the accounts stay, but for jobs that are given up."""
    slurm_undo.give_up(crew, destroy)
    for unit in (NODE, FENCE, CONTROLLER, DATABASE, MUNGE):
        crew.each(partial(_stop, crew, unit))
    if QUEUE in destroy:
        slurm_undo.forget(crew)


def _roles(crew: Crew) -> Roles:
    return Roles.of(crew.shared)


def _among(crew: Crew, names: Sequence[str]) -> tuple[Member, ...]:
    """Return those members that are named, in the order of the names."""
    members = {each.name: each for each in crew.members}
    return tuple(members[each] for each in names if each in members)


def _laid(crew: Crew, roles: Roles) -> Member | None:
    """Return a head that has Slurm and a key by which it is heard, controllers first."""
    names = (*roles.controllers, *(each.name for each in crew.everybody))
    heads = {each.name: each for each in crew.everybody}
    for each in names:
        if each in heads and crew.states[each].laid and _runs(crew, each, MUNGE):
            return heads[each]
    return None


def _asker(crew: Crew, roles: Roles) -> Member:
    """Return the head on which Slurm is asked, now that it is laid: a controller if one is there.

    Raises:
        PhaseError: there is none.
    """
    found = (*_among(crew, roles.controllers), *crew.members, *crew.witnesses)
    if not found:
        raise PhaseError("no head is there to ask Slurm on", where=crew.phase)
    return found[0]


def _runs(crew: Crew, head: str, unit: str) -> bool:
    units = crew.states[head].units
    return unit in units and units[unit].running


def _refusals(crew: Crew, roles: Roles) -> Iterator[Finding]:
    yield from apart(crew, roles)
    for found in crew.each(lambda member: tuple(_machine(crew, roles, member))).values():
        yield from found
    yield from _foreign_state(crew, roles)


def _machine(crew: Crew, roles: Roles, member: Member) -> Iterator[Finding]:
    """Refuse a host that calls itself otherwise, or a node smaller than Slurm is to be told."""
    own = member.run("hostname", "--short").stdout.strip()
    if own != member.name:
        yield refusal(
            member.name,
            f"the host calls itself {own!r}; Slurm knows it as {member.name}",
            "hostname-differs",
            f"hostnamectl hostname {member.name}",
        )
    if member.name not in roles.nodes:
        return
    cpus, memory = _promised(crew, member.name)
    has = answers.machine(
        member.run("nproc", "--all").stdout, member.run("cat", "/proc/meminfo").stdout
    )
    if has.cpus < cpus or has.memory < memory:
        yield refusal(
            member.name,
            f"the node has {has.cpus} CPUs and {has.memory} MiB;"
            f" Slurm is to be told {cpus} and {memory}",
            "node-too-small",
            "cluster.phases.slurm: cpus, memory, machines",
        )


def _promised(crew: Crew, head: str) -> tuple[int, int]:
    said = crew.parameters
    own = said["machines"].get(head, said)
    return int(own["cpus"]), int(own["memory"])


def _foreign_state(crew: Crew, roles: Roles) -> Iterator[Finding]:
    """Refuse a state that another cluster left: a controller would not start on it."""
    said = _settings(crew)
    folder, ours = said["StateSaveLocation"], said["ClusterName"]
    for member in _among(crew, roles.controllers)[:1]:
        file = f"{folder}/clustername"
        found = member.run("cat", file, check=False)
        theirs = found.stdout.strip()[:80]
        if absent(found):
            continue
        if found.status:
            # What cannot be read is not absent: no controller would start on it.
            yield refusal(
                member.name,
                f"{file} cannot be read: {found.stderr.strip()[-120:]}",
                OtherStateError.slug,
                f"sealift phase verify storage --host {member.name}",
            )
        elif theirs != ours:
            yield refusal(
                member.name,
                f"the state at {folder} is that of the cluster {theirs!r}, not of {ours!r}",
                OtherStateError.slug,
                "move it away, or give the cluster its name",
            )


def _restarts(crew: Crew) -> Iterator[Finding]:
    """Tell what it costs to restart what runs with what it had before, or will."""
    due: set[str] = set()
    for member in crew.members:
        state = crew.states[member.name]
        will = touched(crew.configuration(member.name), state)
        running = {unit: each for unit, each in state.units.items() if each.running}
        due |= {unit for unit, each in running.items() if each.stale or unit in will}
    for unit in ORDER:
        if unit in due:
            yield Finding("", f"restarting {unit}", Kind.NOTE, CONSEQUENCES[unit])


def _fresh(roles: Roles) -> list[Finding]:
    primary, *backups = roles.controllers
    also = f", {', '.join(backups)} standing by" if backups else ""
    return [
        Finding("", f"bring up Slurm: {primary} controls it{also}", Kind.CHANGE),
        Finding("", f"make the nodes {', '.join(roles.nodes)} run its jobs", Kind.CHANGE),
    ]


def _cluster(crew: Crew, roles: Roles, asked: Member) -> Iterator[Finding]:
    """Say what of a cluster that was brought up before is not as it is to be."""
    pinged = answers.controllers(asked.run("scontrol", "ping", check=False).stdout)
    for each in _among(crew, roles.controllers):
        if not pinged.get(each.name) and _runs(crew, each.name, CONTROLLER):
            yield Finding(
                each.name, "bring back its controller, which does not answer", Kind.CHANGE
            )
    try:
        for text in _lacking(crew, asked).told():
            yield Finding("", text, Kind.CHANGE)
    except CommandError as error:
        yield Finding("", "bring up the accounting", Kind.CHANGE, error.got or "")
    if any(pinged.values()):
        yield from _shut(asked)


def _shut(asked: Member) -> Iterator[Finding]:
    """Tell of nodes that somebody took out of service: they stay so."""
    for node in answers.nodes(asked.run("sinfo", "--json").stdout):
        if node.shut:
            yield Finding(node.name, f"takes no jobs: {node.reason or node.state}", Kind.NOTE)


def _settings(crew: Crew) -> Mapping[str, str]:
    """Return what slurm.conf says, which all heads share."""
    wanted = crew.shared
    file = next(each for each in wanted.files if str(each.path) == CONFIGURATION)
    return answers.settings(wanted.text(file).decode())


def _state_folder(crew: Crew, roles: Roles) -> None:
    """Make the folder of the state, on the volume and nowhere else."""
    folder = _settings(crew)["StateSaveLocation"]
    for member in _among(crew, roles.controllers)[:1]:
        mount = str(PurePosixPath(folder).parent)
        if member.run("mountpoint", "--quiet", mount, check=False).status:
            raise PhaseError(
                f"{mount} is not mounted on {member.name}",
                where=member.name,
                expected="the volume on which the state of Slurm is to lie",
                hint=f"sealift phase verify storage --host {member.name}",
            )
        member.run("install", "-d", "-o", "slurm", "-g", "slurm", "-m", "0700", folder)


def _databases(crew: Crew, roles: Roles) -> None:
    """Bring up slurmdbd: on an empty database two at once would fail over each other's tables."""
    heads = _among(crew, roles.databases)
    if not heads:
        return
    for member in heads:
        if not crew.active(member, DATABASE):
            _start(crew, member, DATABASE)
            ready = partial(trial.unaccounted, member)
            _wait(crew, member, DATABASE, ready, DATABASE_SECONDS)
    order = _among(crew, backups_first(roles.databases))
    well = partial(trial.unaccounted, heads[0])
    # With a password that was changed in the database all of them are out until they are restarted.
    crew.roll((DATABASE,), well, DATABASE_SECONDS, order, regardless=True)


def _account(crew: Crew, roles: Roles) -> None:
    asker = _asker(crew, roles)
    wanted = _lacking(crew, asker)
    for text, command in zip(wanted.told(), wanted.commands(), strict=True):
        crew.tell("", text)
        asker.run(*command)


def _lacking(crew: Crew, asked: Member) -> Lacking:
    ours = _settings(crew)["ClusterName"]
    clusters = asked.run(*SHOW, "cluster", "format=cluster").stdout
    here = ("association", "where", f"cluster={ours}", "format=account,user")
    associations = asked.run(*SHOW, *here).stdout
    wanted = crew.parameters["accounts"]
    return lacking(ours, wanted, answers.rows(clusters), answers.rows(associations))


def _controllers(crew: Crew, roles: Roles, heads: Sequence[Member]) -> None:
    """Bring up the controllers, the primary first; those that run already one after the other."""
    seconds = CONTROLLER_SECONDS + float(crew.parameters["stuck"])
    for member in heads:
        if not crew.active(member, CONTROLLER):
            _start(crew, member, CONTROLLER)
            ready = partial(trial.silent, member, (member.name,))
            _wait(crew, member, CONTROLLER, ready, seconds)
    if heads:
        order = _among(crew, backups_first(roles.controllers))
        well = partial(trial.silent, heads[0], roles.controllers)
        crew.roll((CONTROLLER,), well, seconds, order)


def _keep_accounts(crew: Crew, heads: Sequence[Member]) -> None:
    """Let the controllers write down the accounts that they know, if they have not done so.

    A backup that finds none cannot take over before slurmdbd answers, which itself has to be taken
    over; by themselves they write after five minutes.
    """
    file = f"{_settings(crew)['StateSaveLocation']}/assoc_mgr_state"
    for member in heads[:1]:
        if member.run("test", "-s", file, check=False).status:
            member.run("scontrol", "reconfigure")


def _start(crew: Crew, member: Member, unit: str) -> None:
    """Let a unit start; it may try several times, until what it needs is there."""
    crew.tell(member.name, f"start {unit}")
    member.run("systemctl", "reset-failed", unit, check=False)
    member.run("systemctl", "start", "--no-block", unit)


def _wait(crew: Crew, member: Member, unit: str, ready: Callable[[], str], seconds: float) -> None:
    """Wait for a daemon; if it does not come, tell what it wrote last.

    Raises:
        PhaseTimeoutError: it did not come.
    """
    try:
        crew.wait(f"{unit} answers on {member.name}", ready, seconds)
    except PhaseTimeoutError as error:
        log = member.run(
            "journalctl", f"--unit={unit}", "--output=cat", "--no-pager", "--lines", LOG_LINES
        )
        raise PhaseTimeoutError(
            error.reason,
            where=member.name,
            got=log.stdout.strip() or error.got,
            hint=f"journalctl --unit={unit} on {member.name}",
        ) from error


def _stop(crew: Crew, unit: str, member: Member) -> None:
    found = member.units(unit)[unit]
    if found.sub == "not-found":
        return
    if found.running:
        crew.tell(member.name, f"stop {unit}")
    member.run("systemctl", "stop", unit, timeout=CONTROLLER_SECONDS * 2)
