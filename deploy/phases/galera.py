"""What becomes of a Galera cluster: who joins, who is its first node, and when nobody may be. Pure.

A first node makes a cluster out of what it holds; all others that join later take that over. So
there is one only where it is known of every head that none runs in a cluster, and which of them
has all that was ever committed. A head that was not reached may be running: it is never taken for
one that is off. How heads are looked at and told is for `deploy.phases.database`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from deploy.phases.galera_node import BEGAN, DATA, UNKNOWN, Holds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from deploy.phases.galera_node import Node


class Do(Enum):
    """What comes next."""

    KEEP = "keep"
    """All that may be changed serve."""
    JOIN = "join"
    """`heads` are to be started, one after the other: there is a cluster."""
    WAIT = "wait"
    """`heads` are on their way into a cluster."""
    STOP = "stop"
    """`heads` run without a cluster, and did not find each other: they are to be stopped."""
    RECOVER = "recover"
    """It has to be found out how far `heads` came."""
    BOOTSTRAP = "bootstrap"
    """`heads`, which is one, is to be the first node."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next, on which heads; `reason` says why, of a refusal with its slug and hint."""

    do: Do
    heads: tuple[str, ...] = ()
    reason: str = ""
    slug: str = ""
    hint: str | None = None


def decide(nodes: Sequence[Node], missing: Collection[str] = (), *, waited: bool) -> Decision:
    """Decide what comes next; `nodes` are all heads that were reached, in order.

    `missing` are those that were not. `waited`: nodes that run without a cluster had the time that
    it takes them to find each other.
    """
    foreign = [each.head for each in nodes if each.disk.holds is Holds.FOREIGN]
    if foreign:
        return _foreign(foreign)
    torn = [each.head for each in nodes if each.disk.holds is Holds.TORN and not each.primary]
    if torn:
        return _torn(torn)
    serving = [each for each in nodes if each.primary]
    if serving:
        return _beside(nodes, serving)
    return _alone(nodes, missing, waited=waited)


def _beside(nodes: Sequence[Node], serving: Sequence[Node]) -> Decision:
    """Decide where there is a cluster: nobody else may be a first node."""
    if apart(serving):
        names = _and(each.head for each in serving)
        return Decision(
            Do.REFUSE,
            reason=f"{names} each serve in a cluster of their own",
            slug="two-primaries",
            hint="stop mariadb.service on the heads whose changes can be given up, and look at"
            " them before they join",
        )
    rest = [each for each in nodes if not each.primary]
    refused = _unfit(serving, rest)
    if refused is not None:
        return refused
    # One after the other: two that join at once wait for each other, and for one to copy from.
    coming = tuple(each.head for each in nodes if each.ours and each.running and not each.within)
    if coming:
        return Decision(Do.WAIT, coming)
    down = tuple(each.head for each in rest if each.ours and not each.running)
    return Decision(Do.JOIN, down, f"{serving[0].head} serves") if down else Decision(Do.KEEP)


def _unfit(serving: Sequence[Node], rest: Sequence[Node]) -> Decision | None:
    """Refuse heads that would lose what they hold when they join."""
    lives = [each.live for each in serving if each.live is not None]
    history = lives[0].history
    position = max(each.position for each in lives)
    for node in rest:
        disk = node.disk
        if disk.holds is Holds.HISTORY and disk.history != history:
            return _histories([serving[0], node])
        if disk.holds is Holds.HISTORY and not node.running and disk.position > position >= 0:
            return Decision(
                Do.REFUSE,
                reason=f"{node.head} has committed what the cluster that serves has not"
                f" ({disk.position} against {position})",
                slug="two-histories",
                hint=f"look at its data before it joins: they would be replaced on {node.head}",
            )
    return None


def _alone(nodes: Sequence[Node], missing: Collection[str], *, waited: bool) -> Decision:
    """Decide where nobody serves: there may be a first node if nothing is in doubt."""
    if missing:
        return Decision(
            Do.REFUSE,
            reason=f"no head that was reached serves, and {_and(missing)} may be"
            " running or have committed more",
            slug="unreachable",
            hint="switch it on; a head that is lost for good is taken out of cluster.hosts",
        )
    silent = [each for each in nodes if each.silent]
    if silent:
        return _silent(silent)
    running = tuple(each.head for each in nodes if each.running)
    if running and not waited and any(each.disk.view for each in nodes):
        return Decision(Do.WAIT, running, "they look for each other")
    beyond = [each.head for each in nodes if each.running and not each.ours]
    if beyond:
        return _include(beyond, "runs without a cluster, and is not to be changed")
    if running:
        return Decision(Do.STOP, running, "they do not find each other")
    return _first(nodes)


def _first(nodes: Sequence[Node]) -> Decision:
    """Choose the first node of heads that are all known and all stopped."""
    broken = [each.head for each in nodes if each.disk.holds is Holds.BROKEN]
    holding = [each for each in nodes if each.disk.holds is Holds.HISTORY]
    if not holding:
        return _fresh(nodes, broken)
    doubt = _doubt(nodes, holding)
    if doubt is not None:
        return doubt
    unknown = [each for each in holding if each.disk.position == UNKNOWN]
    beyond = [each.head for each in unknown if not each.ours]
    if beyond:
        return _include(beyond, "did not say how far it came")
    if unknown:
        return Decision(Do.RECOVER, tuple(each.head for each in unknown))
    return _furthest(holding)


def _doubt(nodes: Sequence[Node], holding: Sequence[Node]) -> Decision | None:
    """Refuse where it is not known which of the heads that hold data is to be gone on from."""
    if len({each.disk.history for each in holding}) > 1:
        return _histories(holding)
    last = [each for each in holding if each.disk.last]
    if len(last) > 1:
        return _lasts(last)
    gone = [each for each in nodes if each.began and each.disk.holds is Holds.NOTHING]
    if gone and not last:
        return _gone(gone, "they may have gone further than what the others hold")
    return None


def _fresh(nodes: Sequence[Node], broken: Sequence[str]) -> Decision:
    """Choose where no head has a history."""
    if broken:
        return Decision(
            Do.REFUSE,
            reason=f"{_and(broken)} cannot say how far it came, and no other head holds the data",
            slug="unknown-position",
            hint="restore the data, or take the database down with them: sealift phase undo",
        )
    ours = [each.head for each in nodes if each.ours]
    gone = [each for each in nodes if each.began]
    if gone:
        return _gone(gone, "no head holds any data")
    if not ours:
        return _include([nodes[0].head], "would be the first") if nodes else Decision(Do.KEEP)
    return Decision(Do.BOOTSTRAP, (ours[0],), "no head holds any data")


def _furthest(holding: Sequence[Node]) -> Decision:
    """Choose the one that has all that was committed."""
    top = max(each.disk.position for each in holding)
    left = [each for each in holding if each.disk.last and each.disk.position < top]
    best = [each for each in holding if each.disk.position == top]
    if left:
        return _lasts([*left, *best])
    ours = [each for each in best if each.ours]
    if not ours:
        return _include([best[0].head], "has committed more than the others")
    chosen = next((each for each in ours if each.disk.last), ours[0])
    others = ", ".join(f"{each.head} {each.disk.position}" for each in holding)
    return Decision(Do.BOOTSTRAP, (chosen.head,), f"the most advanced of {others}")


def apart(serving: Sequence[Node]) -> bool:
    """Tell whether nodes that serve are in more than one cluster.

    Two that do not count each other are; while a cluster changes, one of them may do so before the
    other does.
    """
    return any(
        not _counts(one, other) and not _counts(other, one)
        for at, one in enumerate(serving)
        for other in serving[:at]
    )


def _counts(one: Node, other: Node) -> bool:
    return one.live is not None and other.address in one.live.peers


def _histories(nodes: Sequence[Node]) -> Decision:
    told = ", ".join(f"{each.head} has {_history(each)[:8]}" for each in nodes)
    return Decision(
        Do.REFUSE,
        reason=f"heads hold data of two histories: {told}",
        slug="two-histories",
        hint=f"one of them would be replaced: move {DATA} and {BEGAN} of the heads that are wrong"
        " aside, then run the phase again",
    )


def _lasts(nodes: Sequence[Node]) -> Decision:
    """Refuse heads that went on without each other, from the same beginning."""
    told = ", ".join(f"{each.head} ({each.disk.position})" for each in nodes)
    return Decision(
        Do.REFUSE,
        reason=f"heads committed without each other, and only one of them can be right: {told}",
        slug="two-histories",
        hint=f"look at the data of each; move {DATA} and {BEGAN} of those aside whose changes can"
        " be given up, then run the phase again",
    )


def _history(node: Node) -> str:
    return node.live.history if node.live is not None and node.live.primary else node.disk.history


def _foreign(heads: Sequence[str]) -> Decision:
    return Decision(
        Do.REFUSE,
        reason=f"{_and(heads)} has databases that were never in this cluster",
        slug="foreign-data",
        hint=f"dump them, move {DATA} aside, and load them when the cluster runs",
    )


def _torn(heads: Sequence[str]) -> Decision:
    """Refuse data that may go further than those of all others."""
    return Decision(
        Do.REFUSE,
        reason=f"{_and(heads)} was in the cluster, and does not say how far its data go",
        slug="unknown-position",
        hint="`mariadbd --user=mysql --wsrep-recover` says it there; where another head has all of"
        f" that, move {DATA} aside on {_and(heads)}, then run the phase again",
    )


def _gone(nodes: Sequence[Node], why: str) -> Decision:
    """Refuse to begin without what heads held that remember that they were in a cluster."""
    heads = [each.head for each in nodes]
    return Decision(
        Do.REFUSE,
        reason=f"{_and(heads)} was in the cluster, and its data are gone; {why}",
        slug="data-gone",
        hint=f"see whether {DATA} is mounted; where they are gone for good, remove {BEGAN} on"
        f" {_and(heads)}, then run the phase again",
    )


def _silent(nodes: Sequence[Node]) -> Decision:
    """Refuse what clients may be writing to: of a node that does not answer nothing is known."""
    told = "; ".join(f"{each.head}: {each.said or 'nothing'}" for each in nodes)
    heads = _and(each.head for each in nodes)
    return Decision(
        Do.REFUSE,
        reason=f"{heads} runs and does not answer, so it is not known whether it serves ({told})",
        slug="database-silent",
        hint="see on it what `mariadb` says; let it answer, or stop mariadb.service there, then run"
        " the phase again",
    )


def _include(heads: Sequence[str], why: str) -> Decision:
    return Decision(
        Do.REFUSE,
        reason=f"{_and(heads)} {why}",
        slug="head-needed",
        hint=f"name it too: --host {','.join(heads)}",
    )


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
