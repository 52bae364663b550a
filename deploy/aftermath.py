"""What one head is to run, and what it runs in the end: by its session, or asked when it was lost.

How that of all heads is told is for `deploy.ending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dialogue import Phase
from deploy.ending import End, Kind

if TYPE_CHECKING:
    from deploy.release import Release
    from deploy.remote import RemoteHead


def target(head: RemoteHead, release: Release | None) -> str | None:
    """Return the release that a head was to run; without `release`, that of what it prepared."""
    if release is not None:
        return str(release.path)
    number = _number(head)
    return head.facts.generations.get(number) if head.facts and number is not None else None


def told(head: RemoteHead) -> End:
    """Say what a head runs, from where its session ended."""
    if head.facts is None:
        return End(Kind.ABSENT)
    before = head.facts.current
    session = head.session
    if session is None or session.untouched:
        return End(Kind.UNTOUCHED, before)
    was = session.prepared.before if session.prepared else before
    match session.phase:
        case Phase.CONFIRMED:
            return End(Kind.KEPT, _number(head))
        case Phase.REVERTED:
            return End(Kind.BACK, was, session.error)
        case Phase.STRANDED:
            return End(Kind.STRANDED, was, session.error)
    return End(Kind.UNKNOWN, error=session.error)


def asked(head: RemoteHead, release: Release | None, *, deadline: float, same: Kind) -> End:
    """Ask a head that was lost what it runs, when it has made up its mind.

    `same` is what it means if the release that was to come ran before, too.
    """
    found = head.settle(deadline)
    if found is None:
        return End(Kind.UNKNOWN)
    prepared = head.session.prepared if head.session else None
    new = found.generation == _number(head) and found.release == target(head, release)
    twice = prepared is not None and prepared.before == prepared.generation
    kind = (same if twice else Kind.KEPT) if new else Kind.BACK
    return End(kind, found.generation)


def _number(head: RemoteHead) -> int | None:
    """Return the generation that a head prepared."""
    prepared = head.session.prepared if head.session else None
    return None if prepared is None else prepared.generation
