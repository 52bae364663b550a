"""Bring the heads of phases together: reach them, push what they need, begin a session with each.

What they are then told is for `deploy.phases.run`. Nothing is changed here but what lies in the
heads' stores.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy import amounts
from deploy.heartbeat import repeating
from deploy.phases.remote import RemoteMember
from deploy.phases.session import Session
from deploy.place import AGENT, agent_of
from deploy.planning import Absent, Load
from deploy.preflight import Needs, Row, examine, machines
from deploy.survey import SILENT
from deploy.team import Team, TeamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.phases.wish import Wish
    from deploy.remote import RemoteHead
    from deploy.stopping import Stopping
    from store.path import StorePath
    from store.send import Progress

    Tell = Callable[[str, str, str], None]

QUESTIONS = ("system", "login", "disk", "clock")
"""What `deploy.preflight` asks that matters to phases."""
OPEN_MARGIN = 60.0
"""Seconds beyond the wait for a lock until a head is given up that does not open its session."""
ROOT = "phases"
"""The collector's root on a head for what was pushed for phases, until they are laid."""


@dataclass(frozen=True, slots=True)
class Company:
    """The heads that are there, by name and in order; `rows` is what was asked of each."""

    members: Mapping[str, RemoteMember]
    absent: tuple[Absent, ...]
    rows: Mapping[str, tuple[Row, ...]]
    seconds: float
    """How long it took until all of them were there."""


@contextmanager
def mustered(
    heads: Sequence[RemoteHead], wish: Wish, stopping: Stopping, tell: Tell
) -> Iterator[Company]:
    """Give the heads with a session each; on exit all are let go of.

    `tell` hears which phase (none), which head, and what is done there.

    Raises:
        TeamError: heads cannot be reached, cannot be pushed to, or do not open a session.
    """
    began = time.monotonic()
    team = Team(wish.parallel, stopping)
    absent, rows = _look(heads, wish, team)
    here = tuple(head for head in heads if head.name in rows)
    if any(row.refusal for each in rows.values() for row in each):
        # There is no use in a session with a head that takes nothing.
        yield Company({}, absent, rows, time.monotonic() - began)
        return
    team.each(here, lambda head: _push(head, wish, tell), together=True)
    sessions: dict[str, Session] = {}
    try:
        _open(here, wish, team, sessions, tell)
        members = {head.name: _member(head, wish, sessions[head.name]) for head in here}
        with repeating(lambda: _beat(sessions), wish.deadline):
            yield Company(members, absent, rows, time.monotonic() - began)
    finally:
        _close(sessions)


def _look(
    heads: Sequence[RemoteHead], wish: Wish, team: Team
) -> tuple[tuple[Absent, ...], dict[str, tuple[Row, ...]]]:
    """Ask all heads what they are; those that do not answer may be allowed to be missing."""
    absent: tuple[Absent, ...] = ()
    try:
        found: Mapping[str, Any] = team.each(heads, lambda head: _rows(head, wish))
    except TeamError as error:
        silent = all(isinstance(each, SILENT) for each in error.failures.values())
        if not (wish.allow_missing and silent) or len(error.failures) == len(heads):
            raise
        absent = tuple(
            Absent(name, str(each), getattr(each, "hint", None))
            for name, each in error.failures.items()
        )
        found = error.done
    order = [head for head in heads if head.name in found]
    identities = {h.name: h.facts.identity for h in order if h.facts is not None}
    twins = machines(identities)
    return absent, {h.name: (*found[h.name], *twins.get(h.name, ())) for h in order}


def _rows(head: RemoteHead, wish: Wish) -> tuple[Row, ...]:
    head.expect_push()
    facts = head.look(wish.release)
    size = 0 if facts.agent else _size(head, wish)
    needs = Needs(None, str(head.place.store_dir), {}, Load(0, size, 0))
    return examine(head.name, facts, needs, QUESTIONS)


def _size(head: RemoteHead, wish: Wish) -> int:
    """Return the bytes of what a head may lack, unpacked."""
    return sum(info.nar_size for info in wish.store.closure(_tops(head, wish)))


def _tops(head: RemoteHead, wish: Wish) -> list[StorePath]:
    """Return what a head needs: the agent, and what is wanted of it, with the packages of that."""
    wanted = [each.path for each in _wanted(head, wish).values()]
    agent = wish.release.tools[AGENT].path if AGENT in wish.release.tools else None
    paths = [*([] if agent is None else [agent]), *wanted]
    return [wish.store.parse(each) for each in paths]


def _wanted(head: RemoteHead, wish: Wish) -> Mapping[str, Configuration]:
    """Return what is wanted of a head, by phase; nothing where it goes by what is laid there."""
    return {} if wish.laid else wish.of(head.name)


def _push(head: RemoteHead, wish: Wish, tell: Tell) -> None:
    agent_of(wish.release)

    def observe(amount: str) -> None:
        tell("", head.name, f"sending {amount}")

    watching: Callable[[Progress], None] = amounts.watching(observe)
    sent = head.push(wish.store, wish.release, watching, _tops(head, wish))
    if sent.paths:
        tell("", head.name, f"sent {amounts.moved(sent)}")


def _open(
    heads: Sequence[RemoteHead],
    wish: Wish,
    team: Team,
    sessions: dict[str, Session],
    tell: Tell,
) -> None:
    """Open a session everywhere; the first head by name is locked before the others.

    Of two operators who begin at once one gets that lock, and no head is left to the other.
    """
    agent = agent_of(wish.release)

    def begin(head: RemoteHead) -> None:
        channel = head.channel(agent, "agent", "phases")
        sessions[head.name] = Session(head.name, channel, _hearing(head.name, tell))

    def open_(head: RemoteHead) -> None:
        sessions[head.name].ask("open", wish.wait + OPEN_MARGIN, **_opening(head, wish))

    first, *others = sorted(heads, key=lambda head: head.name)
    team.each(heads, begin)
    team.each([first], open_)
    team.each(others, open_)


def _opening(head: RemoteHead, wish: Wish) -> dict[str, Any]:
    secrets = wish.secrets.get(head.name, {})
    return {
        "by": wish.by,
        "deadline": wish.deadline,
        "wait": wish.wait,
        "paths": {phase: str(each.path) for phase, each in _wanted(head, wish).items()},
        "secrets": {name: sealed.decode() for name, sealed in secrets.items()},
        **({"look": True} if wish.look else {}),
    }


def _hearing(head: str, tell: Tell) -> Callable[[Mapping[str, Any]], None]:
    """Return what passes on that a head tells besides answers."""

    def hear(record: Mapping[str, Any]) -> None:
        text = record.get("text") or record.get("detail") or record.get("what")
        if text:
            tell(str(record.get("phase") or ""), head, str(text))

    return hear


def _member(head: RemoteHead, wish: Wish, session: Session) -> RemoteMember:
    wanted = next(iter(wish.of(head.name).values()))
    return RemoteMember(head.name, wanted.peer.address, session, head.knock)


def _beat(sessions: Mapping[str, Session]) -> None:
    for session in sessions.values():
        session.alive()


def _close(sessions: Mapping[str, Session]) -> None:
    """Let go of all heads at once: each takes a moment to end its agent."""
    if not sessions:
        return
    with ThreadPoolExecutor(len(sessions), thread_name_prefix="part") as pool:
        list(pool.map(Session.close, sessions.values()))
