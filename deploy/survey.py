"""The first look at all heads: what they are, what they lack, and what is going to be done.

Nothing is changed. `deploy.planning` says what a plan is, `deploy.preflight` what speaks against.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from deploy import planning, preflight, secrets_head
from deploy.errors import NoGenerationError
from deploy.node_sets import fold
from deploy.orders import KEEP, STATE
from deploy.planning import Absent, HeadPlan, Load, Plan
from deploy.preflight import QUESTIONS, Needs, examine
from deploy.release import WEB_SERVER
from deploy.release_file import load, parse
from deploy.ssh_errors import LostError, OverdueError, UnreachableError
from deploy.team import TeamError
from deploy.units import chosen
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.facts import Facts
    from deploy.profile import Generation
    from deploy.release import Release
    from deploy.remote import RemoteHead
    from deploy.team import Team
    from store.local import LocalStore

DEADLINE = 60.0
"""Seconds without a word from the operator after which a head goes back."""
SILENT = (UnreachableError, LostError, OverdueError)
"""What a head does that is missing: it does not answer. One that answers wrongly is not missing."""
STANDING = ("login", "lock", "generation")
"""The questions that matter when nothing comes to the head."""
NOTHING = Load(0, 0, 0)
NONE: Mapping[str, Mapping[str, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator wants of several heads.

    `release` is None for a rollback, which goes to generation `to`, or each head's one before.
    `secrets` are sealed, by head and name. `batch` heads switch at once after the canary;
    `parallel` connections are open at once.
    """

    store: LocalStore
    by: str
    release: Release | None = None
    to: int | None = None
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=lambda: NONE, repr=False)
    state_dir: Path = STATE
    canary: str | None = None
    batch: int = 16
    parallel: int = 16
    deadline: float = DEADLINE
    keep: int = KEEP
    allow_missing: bool = False

    @property
    def action(self) -> str:
        """The word for it."""
        return "rollback" if self.release is None else "deploy"


def survey(
    heads: Sequence[RemoteHead],
    wish: Wish,
    team: Team,
    begin: Callable[[RemoteHead], None] = lambda _: None,
) -> Plan:
    """Look at all heads; `begin` is called of each first, and must change nothing there.

    Raises:
        TeamError: heads cannot be reached, and that is not allowed.
        InputError: the canary is none of the heads.
    """
    if wish.canary is not None and wish.canary not in {head.name for head in heads}:
        raise no_canary(wish.canary, [head.name for head in heads])
    absent: tuple[Absent, ...] = ()
    try:
        found = team.each(heads, lambda head: _look(head, wish, begin))
    except TeamError as error:
        silent = all(isinstance(each, SILENT) for each in error.failures.values())
        if not (wish.allow_missing and silent) or len(error.failures) == len(heads):
            raise
        absent = tuple(map(_absent, error.failures, error.failures.values()))
        found = {name: each for name, each in error.done.items() if isinstance(each, HeadPlan)}
    names = [head.name for head in heads if head.name in found]
    identities = {head.name: head.facts.identity for head in heads if head.facts is not None}
    twins = preflight.machines({name: identities.get(name, "") for name in names})
    return Plan(
        action=wish.action,
        release=None if wish.release is None else str(wish.release.path),
        heads=tuple(
            replace(found[name], rows=(*found[name].rows, *twins.get(name, ()))) for name in names
        ),
        absent=absent,
        canary=wish.canary if wish.canary in names else next(iter(names), None),
        batches=planning.batches(names, wish.canary if wish.canary in names else None, wish.batch),
        deadline=wish.deadline,
    )


def no_canary(name: str, heads: Sequence[str]) -> InputError:
    """Make the error that a canary is none of the heads, to be raised."""
    near = get_close_matches(name, heads, 1)
    return InputError(
        f"the canary {name!r} is none of the heads",
        got=f"the heads are {fold(heads)}",
        hint=f"did you mean {near[0]!r}?" if near else f"--canary {heads[0]}",
    )


def ports(release: Release | None) -> Mapping[int, str]:
    """Return what a release listens on: port → service."""
    if release is None:
        return {}
    found = {each.port: each.name for each in release.services.values()}
    web = release.systemd
    if web is not None:
        found |= {port: WEB_SERVER for port in (web.http, web.https) if port is not None}
    return found


def url(release: Release, address: str) -> str:
    """Return where browsers find the platform on the head at `address`."""
    web = release.systemd
    if web is None or release.web is None:
        return ""
    scheme, port, usual = ("http", web.http, 80) if web.https is None else ("https", web.https, 443)
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}{'' if port == usual else f':{port}'}/"


def _look(head: RemoteHead, wish: Wish, begin: Callable[[RemoteHead], None]) -> HeadPlan:
    begin(head)
    facts = head.look(wish.release, ports(wish.release))
    lacks = NOTHING if wish.release is None else head.lacks(wish.store, wish.release)
    needs = Needs(wish.release, str(head.place.store_dir), ports(wish.release), lacks)
    questions = STANDING if wish.release is None else tuple(QUESTIONS)
    rows = examine(head.name, facts, needs, questions)
    plan = HeadPlan(head.name, facts.current, facts.path, lacks, (), rows)
    if wish.release is None:
        return _back(plan, head, facts, wish)
    steps = planning.steps(running(facts), wish.release, head.host.services)
    secrets = secrets_head.needs(chosen(wish.release, head.host.services))
    coming = wish.secrets.get(head.name, {})
    needed = {name for names in secrets.values() for name in names}
    of_phases = preflight.phases(head.name, facts, wish.release)
    return replace(
        plan,
        steps=(*steps, *planning.rotated(steps, secrets, preflight.fresh(facts, coming))),
        rows=(
            *rows,
            preflight.secrets(facts, needed, coming),
            *(() if of_phases is None else (of_phases,)),
        ),
    )


def _back(plan: HeadPlan, head: RemoteHead, facts: Facts, wish: Wish) -> HeadPlan:
    """Return the plan of a head that goes back."""
    if facts.current is None:
        raise NoGenerationError(
            f"nothing is deployed on {head.name}",
            where=head.name,
            hint=f"sealift deploy --host {head.name}",
        )
    target, row = preflight.target(head.name, facts, wish.to)
    release = None if target is None else _known(wish.store, target)
    old = running(facts)
    steps = planning.steps(old, release, head.host.services) if old and release else ()
    return replace(plan, steps=steps, rows=(*plan.rows, row), target=target)


def _known(store: LocalStore, target: Generation) -> Release | None:
    """Return a generation's release, if this machine still has it."""
    try:
        return load(store.real(store.parse(target.path)))
    except Error:
        return None


def running(facts: Facts) -> Release | None:
    """Return the release that a head runs, as far as this version can read it."""
    if facts.release is None or facts.path is None:
        return None
    try:
        return parse(facts.release, Path(os.path.normpath(facts.path)))
    except Error:
        return None


def _absent(head: str, error: BaseException) -> Absent:
    return Absent(head, str(error), getattr(error, "hint", None))
