"""Phase 2: a MariaDB Galera cluster, brought up so that there is never a second one beside it.

How it comes up is in `deploy.phases.galera_up`, what it takes for databases and users in
`deploy.phases.grants`.
"""

from __future__ import annotations

import secrets as random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deploy.phases import galera, grants, mariadb
from deploy.phases.crew import START_SECONDS
from deploy.phases.errors import CrewError, PhaseError, WrongPasswordError
from deploy.phases.galera import Decision, Do
from deploy.phases.galera_node import DATA, Holds, Node
from deploy.phases.galera_up import STOP_MARGIN, bring_up
from deploy.phases.mariadb import ALIVE, UNIT
from deploy.phases.phase import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deploy.phases.crew import Crew

DATABASES = "databases"
"""The name by which `undo` is told to give up all data."""
WELL_SECONDS = 60.0


def check(crew: Crew) -> Sequence[Finding]:
    """Say who would be the first node, who would join, and what databases and users lack."""
    wish = _wish(crew)
    refused = _misfits(crew, wish)
    try:
        nodes = mariadb.look(crew)
        decision = galera.decide(nodes, crew.missing, waited=False)
        return [*refused, *_told(crew, nodes, decision), *_lacking(crew, nodes, wish)]
    except CrewError as error:
        denied = [each for each in error.failures.values() if isinstance(each, WrongPasswordError)]
        if not denied:
            raise
        return [
            *refused,
            *(
                Finding(each.where or "", each.reason, Kind.REFUSAL, "", each.slug, each.hint)
                for each in denied
            ),
        ]


def apply(crew: Crew) -> None:
    """Bring the cluster up, restart what runs with old settings, see to databases and users.

    Raises:
        DatabaseRefusedError: it is in doubt which head may be the first, or whether one may be.
        PhaseError: a head does not come into the cluster.
    """
    bring_up(crew)
    join = float(crew.parameters["join"])
    limit = max(START_SECONDS, float(crew.parameters["stop"]) + join + STOP_MARGIN)
    crew.roll((UNIT,), partial(mariadb.unwell, crew), join, limit=limit)
    wish = _wish(crew)
    head = crew.members[0]
    rows = mariadb.rows(head, wish)
    if grants.lacking(wish, rows):
        crew.tell("", "make databases and users")
        mariadb.sql(head, grants.create(wish), wish.secrets)
    if left := grants.former(wish, rows):
        crew.tell("", "drop users of hosts that are no longer the cluster's")
        mariadb.sql(head, grants.drop(left))


def verify(crew: Crew) -> Sequence[str]:
    """Write on each head and read it on all; let each user in.

    Raises:
        PhaseError: something of that does not work.
    """
    crew.wait("all heads are in the cluster", partial(mariadb.unwell, crew), WELL_SECONDS)
    wish = _wish(crew)
    count = len(crew.everybody)
    told = [f"{count} of {count + len(crew.missing)} heads are in the cluster, and synced"]
    _written_everywhere(crew)
    told.append("what is written on each head is read on all")
    rows = mariadb.rows(crew.members[0], wish)
    wrong = [f"{each.what} {each.name}" for each in grants.lacking(wish, rows)]
    wrong += [f"user {each.user} of {each.address}" for each in grants.former(wish, rows)]
    if wrong:
        names = ", ".join(wrong)
        raise PhaseError("databases or users are not as they should be", got=names)
    crew.each(partial(mariadb.let_in, wish))
    users = " and ".join(wish.users) or "nobody"
    return [*told, f"{users} can log in on each head"]


def before_undo(crew: Crew, destroy: Collection[str]) -> Sequence[Finding]:
    """Say of each head which databases would be removed; refuse what is not the phase's."""
    if DATABASES not in destroy:
        return []
    found = crew.each(mariadb.databases)
    return [_parted(head, names) for head, names in found.items() if names]


def _parted(head: str, names: Sequence[str]) -> Finding:
    told = ", ".join(names)
    if _ours(names):
        what = f"remove all that lies in {DATA}"
        return Finding(head, what, Kind.IRREVERSIBLE, f"the databases {told}")
    return Finding(
        head,
        f"{DATA} holds {told}, and nothing of this phase",
        Kind.REFUSAL,
        slug="foreign-data",
        hint=f"undo without --yes-destroy {DATABASES}, and look at what lies there",
    )


def _ours(names: Collection[str]) -> bool:
    """Tell whether data are the phase's own: it makes its own database before any other."""
    return not names or grants.OWN in names


def well(crew: Crew) -> str:
    """Say why no head may be taken down now; nothing if one may."""
    return mariadb.unwell(crew)


def undo(crew: Crew, destroy: Collection[str]) -> None:
    """Stop MariaDB, the first head last; with `databases` to destroy, remove all data.

    Raises:
        PhaseError: it does not stop, or data that are to be removed are not the phase's.
    """
    for each in before_undo(crew, destroy):
        if each.kind is Kind.REFUSAL:
            raise PhaseError(f"{each.head}: {each.what}", where=each.head, hint=each.hint)
    seconds = float(crew.parameters["stop"]) + STOP_MARGIN
    for member in reversed(crew.members):
        crew.tell(member.name, f"stop {UNIT}")
        member.run("systemctl", "stop", UNIT, timeout=seconds, check=False)
        if member.units(UNIT)[UNIT].active in ALIVE:
            raise PhaseError(f"MariaDB on {member.name} does not stop", where=member.name)
    if DATABASES in destroy:
        crew.each(mariadb.give_up)
    crew.each(mariadb.forget)


def _wish(crew: Crew) -> grants.Wish:
    known = crew.shared.hosts
    parameters = crew.parameters
    return grants.Wish(
        parameters["databases"],
        parameters["users"],
        grants.hosts(each.address for each in known),
    )


def _misfits(crew: Crew, wish: grants.Wish) -> list[Finding]:
    """Refuse parameters that do not fit together, or lead the data away from their place."""
    ownerless = [
        Finding(
            "",
            f"the database {name} belongs to a user that there is none of",
            Kind.REFUSAL,
            slug="bad-parameter",
            hint="add it to the parameter `users` of the phase database",
        )
        for name in wish.ownerless
    ]
    moved = [name for name in crew.parameters["options"] if name.replace("-", "_") == "datadir"]
    return ownerless + [
        Finding(
            "",
            f"the data of MariaDB lie in {DATA}, and {name} in `options` says otherwise",
            Kind.REFUSAL,
            slug="bad-parameter",
            hint=f"leave it out; mount what is to hold the data at {DATA}, or make that a link",
        )
        for name in moved
    ]


def _told(crew: Crew, nodes: Sequence[Node], decision: Decision) -> list[Finding]:
    """Say of a decision what it means for each head."""
    empty = {each.head for each in nodes if each.disk.holds is not Holds.HISTORY}
    match decision.do:
        case Do.REFUSE:
            refusal = Finding("", decision.reason, Kind.REFUSAL, slug=decision.slug)
            return [replace(refusal, hint=decision.hint)]
        case Do.JOIN:
            return [_joins(head, empty) for head in decision.heads]
        case Do.WAIT:
            return [
                Finding(head, "wait until it is in the cluster", Kind.CHANGE)
                for head in decision.heads
            ]
        case Do.BOOTSTRAP:
            (head,) = decision.heads
            what = f"be the first node of the cluster: {decision.reason}"
            rest = [each.name for each in crew.members if each.name != head]
            return [Finding(head, what, Kind.CHANGE), *(_joins(each, empty) for each in rest)]
        case Do.STOP | Do.RECOVER:
            what = "find the head that has committed most, and bring the cluster up from it"
            stop = decision.heads if decision.do is Do.STOP else ()
            ends = [
                Finding(head, f"stop {UNIT}, which finds no cluster", Kind.CHANGE) for head in stop
            ]
            return [*ends, Finding("", what, Kind.CHANGE)]
        case Do.KEEP:
            return []


def _joins(head: str, empty: Collection[str]) -> Finding:
    consequence = "copies all data from another head" if head in empty else ""
    return Finding(head, "join the cluster", Kind.CHANGE, consequence)


def _lacking(crew: Crew, nodes: Sequence[Node], wish: grants.Wish) -> list[Finding]:
    """Say what a cluster that runs lacks, and has left of hosts that it had before.

    A password that was never ours is nobody's to change.
    """
    serving = next((each.head for each in nodes if each.within), None)
    if serving is None:
        return []
    ours = any(each.recorded is not None for each in crew.states.values())
    found = []
    rows = mariadb.rows(crew.member(serving), wish)
    for each in grants.lacking(wish, rows):
        if each.what == "password":
            found.append(_password(each.name, wish, ours=ours))
        else:
            found.append(Finding("", f"make the {each.what} {each.name}", Kind.CHANGE))
    return found + [_former(each) for each in grants.former(wish, rows)]


def _former(left: grants.Former) -> Finding:
    what = f"drop the user {left.user} of {left.address}, which is no host of the cluster any more"
    return Finding("", what, Kind.CHANGE, "nobody logs in from there any more")


def _password(user: str, wish: grants.Wish, *, ours: bool) -> Finding:
    secret = wish.users[user]
    if ours:
        consequence = "what logs in with the one before has to be deployed again"
        return Finding("", f"give the user {user} the password {secret}", Kind.CHANGE, consequence)
    return Finding(
        "",
        f"the user {user} is there, with another password than {secret}",
        Kind.REFUSAL,
        slug=WrongPasswordError.slug,
        hint=f"sealift secret set {secret}",
    )


def _written_everywhere(crew: Crew) -> None:
    """Write a word on each member, and read all of them on everybody."""
    words = {each.name: random.token_hex(8) for each in crew.members}
    table = f"{grants.OWN}.verified"
    make = f"CREATE TABLE IF NOT EXISTS {table} (head VARCHAR(64) PRIMARY KEY, word CHAR(16))"
    mariadb.sql(crew.members[0], make)
    for member in crew.members:
        # Neither names of hosts nor the words have a quote.
        row = f"'{member.name}', '{words[member.name]}'"
        # A head applies what others did when it comes to it, unless it is told to wait for that.
        wait = "SET SESSION wsrep_sync_wait = 7;"
        write = f"{wait} REPLACE INTO {table} VALUES ({row})"  # noqa: S608
        taken = partial(mariadb.later, member, write)
        crew.wait(f"a write on {member.name} is taken", taken, WELL_SECONDS)
    read = f"SET SESSION wsrep_sync_wait = 7; SELECT head, word FROM {table}"  # noqa: S608
    for head, said in crew.each(lambda each: mariadb.sql(each, read), crew.everybody).items():
        found = dict(line.split("\t", 1) for line in said.splitlines())
        late = [name for name, word in words.items() if found.get(name) != word]
        if late:
            reason = f"{head} does not read what was written on {', '.join(late)}"
            raise PhaseError(reason, where=head)
