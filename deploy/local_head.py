"""This machine as a head: supervisor and nginx under one folder, without root, sshd or systemd.

Implements `deploy.head.Head`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy import (
    certificates,
    credentials,
    durable,
    fit,
    health,
    integrity,
    logs,
    nginx,
    orphans,
    probes,
    programs,
    release_file,
    state,
)
from deploy.audit import Audit
from deploy.checks import checks, echo
from deploy.errors import PortTakenError
from deploy.journal import Journal
from deploy.layout import Layout
from deploy.lock import HeadLock
from deploy.orders import KEEP
from deploy.ports import groups, listeners
from deploy.profile import Profile
from deploy.release import WEB_SERVER, Release
from deploy.services import Changes
from deploy.settings import Settings
from deploy.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from deploy.certificates import Expiry
    from deploy.events import Observe
    from deploy.logs import Line
    from deploy.services import Process, Program, ProgramManager
    from store.local import LocalStore

LOG_LINES = 20
FRESH = 60.0
"""Seconds; a log that was not written to for longer has nothing to say about a failure."""
GLANCE = 3.0
"""Seconds that a service gets to answer when it is only looked at."""


class LocalHead:
    """The embedded head under the `var` folder of a store."""

    keep = KEEP

    def __init__(
        self,
        store: LocalStore,
        state_dir: Path,
        settings: Settings | None = None,
        *,
        name: str = "local",
        manager: ProgramManager | None = None,
    ) -> None:
        self.name = name
        self.store = store
        self.settings = settings or Settings()
        self.layout = Layout(store.var_dir, state_dir)
        _make(self.layout)
        self.lock = HeadLock(self.layout.lock)
        self.journal = Journal(self.layout.journal)
        self.audit = Audit(self.layout.audit)
        self.profile = Profile(self.layout)
        self.services: ProgramManager = manager or Supervisor(
            self.layout, stop_seconds=self.settings.stop_seconds
        )

    @property
    def url(self) -> str:
        """Where a browser finds the platform."""
        return f"http://{self.settings.address}:{self.settings.port}/"

    def session(self) -> AbstractContextManager[None]:
        """Keep the store's collector out during the block."""
        return self.store.session()

    def load(self, path: Path) -> Release:
        """Read the release at a store path."""
        return release_file.load(path)

    def prepare(self, wanted: Release, observe: Observe, *, known: bool) -> None:
        """Check system, closure, ports and configuration; provide state, seeds and secrets.

        Raises:
            Error: what is missing, taken or wrong; nothing that runs was touched.
        """
        fit.check(wanted, fit.glibc(), where=self.name)
        integrity.check(self.store, wanted.path, running=self._running())
        self._check_ports(wanted)
        told = self._told()
        state.provide(self.layout, wanted.services.values(), observe, told=told)
        certificates.provide(self.layout, wanted, observe)
        self.services.check(self._programs(wanted, observe), wanted.tools, known=known)
        nginx.check(wanted, self.layout, self.settings)

    def restart(self, wanted: Release, *, reload: bool, observe: Observe) -> Changes:
        """Run what `wanted` says; only what differs from what runs is restarted.

        The web server reads its configuration again when that differs from what it has loaded,
        which it is asked; with `reload` in any case, because a reload may be under way.
        """
        stale = self._write_nginx_conf(wanted)
        changes = self.services.apply(self._programs(wanted, observe), wanted.tools)
        fresh = (*changes.started, *changes.restarted)
        if wanted.web is None or WEB_SERVER in fresh or not (reload or stale):
            return changes
        self.services.reload(WEB_SERVER)
        return Changes(changes.started, changes.restarted, changes.stopped, (WEB_SERVER,))

    def restart_only(
        self, wanted: Release, names: Collection[str], *, running: bool, observe: Observe
    ) -> Changes:
        """Run `names` as `wanted` says, with their state and secrets; leave the others alone.

        One that runs as it should is restarted only with `running`.
        """
        chosen = [each for each in wanted.services.values() if each.name in names]
        state.provide(self.layout, chosen, observe, told=self._told())
        certificates.provide(self.layout, wanted, observe)
        every = self._programs(wanted, observe)
        if running:
            self.services.stop(names)
        return self.services.apply(every, wanted.tools, names)

    def check(
        self,
        wanted: Release,
        names: Collection[str] | None,
        observe: Observe,
        present: Callable[[], None] = health.anyway,
    ) -> None:
        """Return when the services are healthy.

        Raises:
            UnhealthyError: one is not; with the request and its last lines.
        """
        began = time.time() - FRESH
        every = checks(wanted, self.settings, self._revision(wanted))
        health.check(
            self.services,
            [each for each in every if names is None or each.program in names],
            self.settings,
            log=lambda name: self.last_lines(name, LOG_LINES, since=began),
            observe=observe,
            present=present,
        )

    def guard(self, wanted: Release) -> None:
        """Do nothing: whichever command comes next puts an unfinished change right."""

    def unguard(self) -> None:
        """Do nothing, as `guard`."""

    def settle(self) -> None:
        """Do nothing: a change brings a release and no more."""

    def drop(self) -> bool:
        """Do nothing, as `settle`."""
        return False

    def tidy(self, wanted: Release) -> None:
        """Remove copies of secrets that no program of `wanted` may read."""
        found = credentials.provide(self.layout, wanted.services.values(), lambda _: None)
        credentials.collect(self.layout, found.values())

    def renew(self, wanted: Release, observe: Observe) -> None:
        """Start everything anew, the service manager included."""
        self.services.shutdown()
        self.restart(wanted, reload=False, observe=observe)

    def answers(self, wanted: Release) -> Mapping[str, str | None]:
        """Ask each program of `wanted` once; what is wrong with it, or nothing."""
        every = checks(wanted, self.settings, self._revision(wanted))
        wants = programs.ports(wanted, self.settings)
        return {**health.answers(every, GLANCE), **strangers(wants, self.services.processes())}

    def expiring(self, wanted: Release) -> tuple[Expiry, ...]:
        """Return which of the release's certificates have run out or soon will."""
        return certificates.expiring(self.layout, wanted)

    def lines(self, name: str, count: int) -> Sequence[Line]:
        """Return the last `count` lines of each log of a service."""
        return logs.last_lines(self.layout, name, count)

    def follow(self, name: str, count: int) -> Iterator[Line | None]:
        """Give the last lines of a service, then what it adds, until the caller has enough."""
        return logs.follow(self.layout, name, count)

    def last_lines(self, name: str, count: int, *, since: float = 0.0) -> tuple[str, ...]:
        """Return the last lines of the logs of one service, its own output at the end."""
        found = logs.last_lines(self.layout, name, count, since=since)
        return tuple(line.text for line in found)

    def _programs(self, wanted: Release, observe: Observe) -> tuple[Program, ...]:
        folders = credentials.provide(self.layout, wanted.services.values(), observe)
        return programs.programs(wanted, self.layout, self.settings, folders)

    def _running(self) -> Path | None:
        """Return the release of the current generation."""
        current = self.profile.current()
        return None if current is None else self.profile.get(current).path

    def _told(self) -> frozenset[Path]:
        """Return the services of the current generation, whose differing seeds were told."""
        running = self._running()
        if running is None:
            return frozenset()
        return frozenset(each.path for each in self.load(running).services.values())

    def _check_ports(self, wanted: Release) -> None:
        wants = programs.ports(wanted, self.settings)
        ours = self._groups()
        for found in listeners(wants):
            if found.group not in ours:
                raise PortTakenError(
                    f"{wants[found.port]} needs port {found.port}, which is taken",
                    where=self.name,
                    got=str(found),
                    hint="stop that process, or set another port or port_offset",
                )

    def _groups(self) -> frozenset[int]:
        """Return the process groups of this head; a program leads its own."""
        if not self.services.alive():
            return orphans.groups(self.layout)
        return frozenset(each.pid for each in self.services.processes().values() if each.pid)

    def _write_nginx_conf(self, wanted: Release) -> bool:
        """Write the configuration; tell whether the running web server has another one."""
        if wanted.web is None:
            return False
        site = self.layout.profile / "nginx" / "site.conf"
        text = nginx.render(wanted, self.layout, self.settings, site=site).encode()
        conf = self.layout.nginx_conf
        if not conf.is_file() or conf.read_bytes() != text:
            durable.write(conf, text)
            return True
        return probes.ask(echo(self.settings, self._revision(wanted)), GLANCE) is not None

    def _revision(self, wanted: Release) -> str:
        return "" if wanted.web is None else nginx.revision(wanted, self.layout, self.settings)


def strangers(wants: Mapping[int, str], processes: Mapping[str, Process]) -> dict[str, str]:
    """Return who holds the port of a program in its stead, which may well answer for it.

    So do workers that outlive their killed parent for a moment. A program leads its own process
    group, and what it starts is in it.
    """
    held = groups(wants) if processes else {}
    found = {}
    for port, owners in held.items():
        process = processes.get(wants[port])
        if process is not None and process.pid not in owners:
            found[wants[port]] = f"another process holds {next(iter(owners.values()))}"
    return found


def _make(layout: Layout) -> None:
    """Make the folders of a head; its secrets are for the owner alone."""
    for folder in (layout.run_dir, layout.log_dir, layout.records_dir, layout.profiles_dir):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (layout.secrets_dir, layout.known_dir, layout.credentials_dir):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
