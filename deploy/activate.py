"""Put a release on a head, or go back: prepare → switch → restart → health → confirm.

This module carries out what the table in `deploy.rollout` says, under the head's lock, with each
stage in the journal before its action. A command that is cut off anywhere is finished or taken
back by whichever command comes next.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from deploy.audit import orderer
from deploy.errors import NoGenerationError, NotGoodError, UnknownServiceError
from deploy.events import Event, Observe, What, forgiving, ignore
from deploy.journal import Intent
from deploy.perform import ALONE, Operator, Rollout
from deploy.profile import Status
from deploy.release import WEB_SERVER, Release
from deploy.rollout import Happening, Stage, advance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from deploy.head import Head
    from deploy.profile import Generation
    from deploy.services import Changes


BAD = frozenset({Status.FAILED, Status.CUT})
"""What became of generations that nobody wants to go back to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a successful change did; `before` is None where nothing ran."""

    generation: int
    before: int | None
    changes: Changes
    seconds: float


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done: which generation is to run, of which release, by whom."""

    action: str
    number: int
    path: Path
    by: str


def deploy(
    head: Head,
    path: Path,
    *,
    by: str | None = None,
    observe: Observe = ignore,
    operator: Operator = ALONE,
) -> Outcome:
    """Run the release at the store path `path` as a new generation, or go back to what ran.

    A release that is current already gets no new number; what is not as it says is restarted.

    Raises:
        DeployFailedError: it was tried and taken back.
        StrandedError: that, and what ran before does not run well either.
        Error: it was refused before anything was touched.
    """
    with _changing(head, "deploy", by, observe, what=str(path)) as (who, tell):
        current = head.profile.current()
        same = current is not None and head.profile.get(current).path == path
        number = current if same and current is not None else head.profile.next_number()
        change = Change("deploy", number, path, who)
        return _roll(head, change, tell, operator)


def rollback(
    head: Head,
    to: int | None = None,
    *,
    by: str | None = None,
    observe: Observe = ignore,
    operator: Operator = ALONE,
) -> Outcome:
    """Run generation `to` again; by default the newest good one before the current.

    Needs nothing but what is on the head.

    Raises:
        NoGenerationError: there is none to go to.
        NotGoodError: it was tried before and was not healthy.
        DeployFailedError: as for `deploy`.
    """
    what = "the generation before" if to is None else f"generation {to}"
    with _changing(head, "rollback", by, observe, what=what) as (who, tell):
        target = _target(head, to)
        change = Change("rollback", target.number, target.path, who)
        return _roll(head, change, tell, operator)


def start(
    head: Head,
    names: Collection[str] = (),
    *,
    by: str | None = None,
    observe: Observe = ignore,
) -> Changes:
    """Run the current generation, or just start `names`; return when they are healthy.

    Raises:
        UnhealthyError: one is not; it is left to the service manager, which tries again.
    """
    with _changing(head, "start", by, observe, what=_all(names)) as (_, tell):
        wanted = current_release(head)
        if names:
            _known(wanted, names)
            changes = head.restart_only(wanted, names, running=False, observe=tell)
        else:
            head.prepare(wanted, tell, known=True)
            changes = head.restart(wanted, reload=False, observe=tell)
        head.check(wanted, names or None, tell)
        return changes


def stop(
    head: Head,
    names: Collection[str] = (),
    *,
    by: str | None = None,
    observe: Observe = ignore,
) -> None:
    """Stop `names`, or everything with the service manager; generations stay."""
    with _changing(head, "stop", by, observe, what=_all(names)) as (_, tell):
        if names:
            _known(current_release(head), names)
            head.services.stop(names)
        else:
            head.services.shutdown()
        for name in names or ("everything",):
            tell(Event(What.STOPPED, name))


def restart(
    head: Head,
    names: Collection[str] = (),
    *,
    by: str | None = None,
    observe: Observe = ignore,
) -> None:
    """Stop and start `names`, or every service; return when they are healthy.

    Raises:
        UnhealthyError: one is not; it is left to the service manager, which tries again.
    """
    with _changing(head, "restart", by, observe, what=_all(names)) as (_, tell):
        wanted = current_release(head)
        _known(wanted, names)
        if not names:
            head.prepare(wanted, tell, known=True)
            head.renew(wanted, tell)
        else:
            head.restart_only(wanted, names, running=True, observe=tell)
        head.check(wanted, names or None, tell)


def prune(head: Head, keep: int, *, by: str | None = None) -> tuple[Generation, ...]:
    """Forget all but the newest `keep` generations; return those that went, oldest first.

    Those that never were healthy go first. The current one and the newest good one before it
    always stay. What only the others needed is then garbage to the store's collector.
    """
    with _changing(head, "gc", by, ignore, what=f"all but {keep} generations"):
        every = head.profile.generations()
        current = head.profile.current()
        back = head.profile.before(current)
        safe = {current, head.profile.left(), None if back is None else back.number}
        ranked = sorted(every, key=lambda each: (each.status in BAD, -each.number))
        old = sorted(each for each in ranked[keep:] if each.number not in safe)
        for each in old:
            head.profile.remove(each.number)
        return tuple(old)


def current_release(head: Head) -> Release:
    """Return what the current generation runs.

    Raises:
        NoGenerationError: nothing was deployed yet.
    """
    current = head.profile.current()
    if current is None:
        raise NoGenerationError(f"nothing is deployed on {head.name}", hint="sealift deploy")
    return head.load(head.profile.get(current).path)


def repair(head: Head, observe: Observe = ignore) -> Intent | None:
    """Finish or take back what a killed command left; return its intent. Needs the lock."""
    intent = head.journal.read()
    head.profile.sweep()
    if intent is None:
        head.drop()
        return None
    rollout = Rollout(head, intent, ignore, live=False)
    end = rollout.run(advance(intent.stage, Happening.CUT))
    current = head.profile.current()
    story = f"{end.value}, generation {current or 'none'}"
    head.audit.note(intent.by, f"repair of {intent.action}", intent.path, end.value, story)
    observe(Event(What.REPAIRED, intent.action, story))
    return intent


@contextmanager
def _changing(
    head: Head, action: str, by: str | None, observe: Observe, *, what: str
) -> Iterator[tuple[str, Observe]]:
    """Hold the head's lock, with everything a killed command left repaired; note it in the log.

    Gives who is at work, and an observer that cannot break what is under way.
    """
    who = by or orderer()
    told = forgiving(observe)
    with head.audit.change(who, action, what), head.lock.hold(who, action), head.session():
        repair(head, told)
        yield who, told


@contextmanager
def _deaf_to_hangup() -> Iterator[None]:
    """Let a change outlive the terminal that it was begun on.

    By a handler, which children do not inherit; what was ignored before stays so.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _all(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "everything"


def _target(head: Head, to: int | None) -> Generation:
    if to is not None:
        return _tried(head.profile.get(to))
    found = head.profile.before(head.profile.current())
    if found is None:
        raise NoGenerationError("there is no good generation to go back to", hint="sealift history")
    return found


def _tried(target: Generation) -> Generation:
    """Refuse a generation that is known not to have been healthy."""
    if target.status in (Status.GOOD, Status.UNKNOWN):
        return target
    raise NotGoodError(
        f"generation {target.number} was never healthy: {target.status.value}",
        where=str(target.path),
        hint=f"to try it again, with the way back kept: sealift deploy --release {target.path}",
    )


def known_service(head: Head, name: str) -> None:
    """Make sure that the current generation has a service of that name.

    Raises:
        UnknownServiceError: it has not.
        NoGenerationError: nothing was deployed yet.
    """
    _known(current_release(head), [name])


def _known(wanted: Release, names: Collection[str]) -> None:
    have = {*wanted.services, *([WEB_SERVER] if wanted.web else [])}
    for name in names:
        if name not in have:
            near = get_close_matches(name, have, 1)
            raise UnknownServiceError(
                f"there is no service {name!r}",
                got=f"there are: {', '.join(sorted(have))}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )


def _roll(head: Head, change: Change, observe: Observe, operator: Operator) -> Outcome:
    began = time.monotonic()
    before = head.profile.current()
    intent = Intent(
        change.action,
        before,
        change.number,
        str(change.path),
        Stage.INTENDED,
        change.by,
        time.time(),
        running=head.services.alive(),
    )
    rollout = Rollout(head, intent, observe, operator)
    with _deaf_to_hangup():
        end = rollout.run(Stage.LOCKED)
    if end is not Stage.CONFIRMED:
        raise rollout.failure(end)
    head.tidy(head.load(change.path))
    return Outcome(change.number, before, rollout.changes, time.monotonic() - began)
