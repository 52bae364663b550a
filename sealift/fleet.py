"""Several heads as commands and `fab` tasks see them: who is meant, and how they are reached.

What is done with them is for `deploy.rolling` and `deploy.remote`; how it looks for the commands.
"""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builders.settings import Settings
    from deploy.events import Event
    from deploy.host import Host
    from deploy.planning import Plan
    from deploy.release import Release
    from deploy.remote import RemoteHead
    from deploy.rolling import Outcome
    from deploy.survey import Wish
    from deploy.transport import Connection
    from sealift.site import Site

    Tell = Callable[[str, Event], None]


def chosen(site: Site, wanted: str | None) -> tuple[Host, ...] | None:
    """Return the heads that are meant and reached by SSH; None means this machine.

    Nothing is never everything: a site with several heads must say which.

    Raises:
        InputError: nobody, or both kinds at once, or the set cannot be read.
    """
    from deploy.inventory import DEFAULT, load

    if site.on_head:
        return None
    inventory = load(site.settings)
    every = inventory.hosts
    if wanted is None:
        if DEFAULT in every or any(host.local for host in every.values()):
            return None
        if len(every) > 1:
            from deploy.node_sets import fold

            hint = f"--host {fold(every)}"
            raise InputError("which heads are meant is not said", hint=hint)
        return tuple(every.values())
    hosts = inventory.select(wanted)
    if not any(host.local for host in hosts):
        return hosts
    if len(hosts) > 1:
        raise InputError("this machine cannot be changed together with others", got=wanted)
    return None


@contextmanager
def reaching(
    settings: Settings, hosts: Sequence[Host], *, root: str | None = None
) -> Iterator[tuple[RemoteHead, ...]]:
    """Give the heads, each connected when it is first asked, and hang up in the end.

    `root` keeps there what is pushed to them; by default it is a release.
    """
    from deploy.place import Place
    from deploy.remote import ROOT, RemoteHead
    from sealift.hosts import ssh

    how = ssh(settings)

    def dial(host: Host) -> Connection:
        # Fabric takes a third of a second to load, and a first question of everybody goes here.
        from deploy.transport import connect

        return connect(host, how)

    place = Place(settings.store_dir)
    heads = tuple(RemoteHead(host, dial, place, root=root or ROOT) for host in hosts)
    for head in heads:
        head.by = operator()
    try:
        yield heads
    finally:
        for head in heads:
            head.close()


def operator() -> str:
    """Return who is at work, as heads write it down."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def release(site: Site, named: str | None) -> Release:
    """Return the release that is meant, by default the newest that was built.

    Raises:
        InputError: it was not built, or is none.
    """
    from deploy.release_file import load

    return load(site.store.real(site.path(named or site.release())))


def behind(site: Site, wanted: Release) -> tuple[str, ...]:
    """Return the recipes in a release that were built anew after it, and are not in it so; sorted.

    Building one recipe makes no release: what is deployed then is the one from before.
    """
    roots = site.store.var_dir / "gcroots"
    parts = {each.name: each.path for each in wanted.services.values()}
    parts |= {each.name: each.path for each in wanted.frontends.values()}
    made = _made(roots / site.release())
    return tuple(
        name
        for name, path in sorted(parts.items())
        if made is not None
        and (_made(roots / name) or 0.0) > made
        and os.readlink(roots / name) != str(path)  # noqa: PTH115 (text)
    )


def _made(root: Path) -> float | None:
    return root.lstat().st_mtime if root.is_symlink() else None


def wish(
    site: Site, hosts: Sequence[Host], wanted: Release | None, options: Mapping[str, Any]
) -> Wish:
    """Return what is wanted of the heads; `options` are fields of `deploy.survey.Wish`.

    Raises:
        InputError: the canary is none of the heads.
    """
    from deploy.survey import Wish, no_canary
    from sealift.keyring import sealed

    said = {name: value for name, value in options.items() if value is not None}
    canary, names = said.get("canary"), [host.name for host in hosts]
    if canary is not None and canary not in names:
        raise no_canary(canary, names)
    settings = site.settings
    return Wish(
        store=site.store,
        by=operator(),
        release=wanted,
        secrets={} if wanted is None else sealed(settings, hosts, wanted),
        state_dir=settings.state_dir,
        parallel=settings.parallel,
        keep=settings.keep,
        **{"batch": settings.parallel, **said},
    )


def roll(
    heads: Sequence[RemoteHead],
    wanted: Wish,
    *,
    show: Callable[[Plan], None],
    agree: Callable[[], bool],
    tell: Tell,
    between: Callable[[], None] | None = None,
) -> Outcome:
    """Put a release on heads, or take them back, as `deploy.rolling` does it.

    `between` is called when the release is pushed and no service was touched.

    Raises:
        FleetError: it did not come to its end; says what each head runs.
    """
    from deploy.rolling import Rolling, nothing

    return Rolling(heads, wanted, show, agree, tell, between or nothing).run()


def plan(heads: Sequence[RemoteHead], wanted: Wish) -> Plan:
    """Look at heads and say what a deploy would do; changes nothing.

    Raises:
        Error: a head cannot be reached, and none may be missing.
    """
    from deploy.ssh_errors import UnreachableError
    from deploy.stopping import Stopping
    from deploy.survey import survey
    from deploy.team import Team, TeamError

    try:
        return survey(heads, wanted, Team(wanted.parallel, Stopping()))
    except TeamError as error:
        cause = first(error.failures)
        if isinstance(cause, UnreachableError) and error.done:
            cause.hint = f"{cause.hint or 'is it up?'}; to go on without it: --allow-missing"
        raise cause from error


def gather(
    heads: Sequence[RemoteHead], ask: Callable[[RemoteHead], Any], parallel: int
) -> tuple[dict[str, Any], dict[str, Error]]:
    """Ask all heads the same; return answers and failures, each by name."""
    from deploy.stopping import Stopping
    from deploy.team import Team, TeamError

    try:
        return Team(parallel, Stopping()).each(heads, ask), {}
    except TeamError as error:
        bug = next((e for e in error.failures.values() if not isinstance(e, Error)), None)
        if bug is not None:
            raise bug from error
        failures = {n: e for n, e in error.failures.items() if isinstance(e, Error)}
        return dict(error.done), failures


def first(failures: Mapping[str, BaseException]) -> BaseException:
    """Return what went wrong first; a bug goes before what an operator can act on."""
    found = sorted(failures.values(), key=lambda each: isinstance(each, Error))
    return found[0]
