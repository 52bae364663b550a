"""How a Galera cluster comes up: step after step, each decided anew from what is true then.

So a run that was cut off goes on where it was. The decisions are `deploy.phases.galera`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deploy.phases import galera, mariadb
from deploy.phases.errors import DatabaseRefusedError, PhaseError, PhaseTimeoutError
from deploy.phases.galera import Decision, Do
from deploy.phases.galera_node import DATA
from deploy.phases.mariadb import UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.galera_node import Disk, Node
    from deploy.phases.member import Member

FIRST = "/etc/mysql/sealift-first"
FIND_SECONDS = 75.0
"""Time for nodes that lost their power together to find each other: Galera tries for 30 s, is
started again, and has to be heard by all of them."""
STOP_MARGIN = 30.0
RESTARTS = 4
"""Starts that end at once, after which a head is not waited for any more."""
STEPS = 12
"""Steps that a head may take at most until it serves: more would go round in a circle."""


def bring_up(crew: Crew) -> None:
    """Take step after step until every member serves."""
    waited = False
    known: dict[str, Disk] = {}
    for _ in range(STEPS * len(crew.everybody)):
        nodes = [_with(each, known) for each in mariadb.look(crew)]
        decision = galera.decide(nodes, crew.missing, waited=waited)
        match decision.do:
            case Do.KEEP:
                return
            case Do.REFUSE:
                raise DatabaseRefusedError(decision.reason, where=crew.phase, hint=decision.hint)
            case Do.WAIT:
                waited = _wait(crew, decision)
            case Do.JOIN:
                _start(crew, crew.member(decision.heads[0]))
            case Do.STOP:
                _stop(crew, decision.heads)
            case Do.RECOVER:
                known |= _recover(crew, decision.heads)
            case Do.BOOTSTRAP:
                _first(crew, decision)
                known, waited = {}, False
    raise PhaseError("the cluster does not come up", where=crew.phase, got=mariadb.unwell(crew))


def _with(node: Node, known: Mapping[str, Disk]) -> Node:
    """Return a node with what was found out of its position, which it does not write down."""
    found = known.get(node.head)
    return node if found is None or node.running else replace(node, disk=found)


def _wait(crew: Crew, decision: Decision) -> bool:
    """Wait for heads on their way; return whether they had their time, and nobody serves."""
    serving = bool([each for each in mariadb.look(crew) if each.primary])
    starts: dict[str, set[str]] = {}
    seconds = float(crew.parameters["join"]) if serving else FIND_SECONDS

    def ready() -> str:
        nodes = mariadb.look(crew)
        if any(each.primary for each in nodes) != serving:
            return ""
        for head in decision.heads:
            _count(crew.member(head), starts, serving=serving)
        late = [each.head for each in nodes if each.head in decision.heads and not each.within]
        return f"{', '.join(late)} on the way" if late else ""

    crew.tell("", f"wait for {', '.join(decision.heads)}")
    try:
        crew.wait("heads come into the cluster", ready, seconds)
    except PhaseTimeoutError:
        if serving:
            raise
        return True
    return False


def _count(member: Member, starts: dict[str, set[str]], *, serving: bool) -> None:
    """Refuse to wait for a head that is started again and again, beside a cluster that serves."""
    unit = member.units(UNIT)[UNIT]
    seen = starts.setdefault(member.name, set())
    seen.add(unit.invocation)
    if serving and (unit.active == "failed" or len(seen) > RESTARTS):
        reason = f"MariaDB on {member.name} does not come into the cluster"
        hint = (
            f"on {member.name}: journalctl -u {UNIT}; if its data are damaged, move what lies in"
            f" {DATA} aside there, and it copies all from another head"
        )
        raise PhaseError(reason, where=member.name, got=mariadb.log(member), hint=hint)


def _start(crew: Crew, member: Member) -> None:
    crew.tell(member.name, f"start {UNIT}: it joins the cluster")
    member.run("systemctl", "reset-failed", UNIT, check=False)
    member.run("systemctl", "start", "--no-block", UNIT)
    crew.wait(
        f"{UNIT} starts on {member.name}",
        lambda: "" if member.units(UNIT)[UNIT].active != "inactive" else "it is inactive",
        STOP_MARGIN,
    )


def _stop(crew: Crew, heads: Sequence[str]) -> None:
    seconds = float(crew.parameters["stop"]) + STOP_MARGIN

    def end(member: Member) -> None:
        crew.tell(member.name, f"stop {UNIT}, which finds no cluster")
        if member.units(UNIT)[UNIT].active == "activating":
            # While it looks for others it does not hear that it is to stop, and has not begun with
            # its data. What is being stopped is not started again.
            member.run("systemctl", "stop", "--no-block", UNIT)
            member.run("systemctl", "kill", "--signal=KILL", UNIT, check=False)
        member.run("systemctl", "stop", UNIT, timeout=seconds)

    crew.each(end, [crew.member(head) for head in heads])


def _recover(crew: Crew, heads: Sequence[str]) -> dict[str, Disk]:
    """Find out how far heads came that did not stop by themselves."""
    for head in heads:
        crew.tell(head, "find out how far its data go")
    return crew.each(mariadb.recovered, [crew.member(head) for head in heads])


def _first(crew: Crew, decision: Decision) -> None:
    """Start the one head that has all data as the first node."""
    member = crew.member(decision.heads[0])
    crew.tell(member.name, f"is the first node: {decision.reason}")
    member.run("systemctl", "reset-failed", UNIT, check=False)
    member.run("/bin/sh", FIRST, timeout=float(crew.parameters["join"]))
