"""A real head: systemd runs a release's units, each service with its socket and its own user.

Implements `deploy.head.Head` and, for operators elsewhere, `deploy.session.RemoteHead`. Needs root.
What is done in which order is for `deploy.activate`; here is how.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import (
    accounts,
    certificates,
    durable,
    fit,
    handover,
    health,
    integrity,
    journald,
    keeping,
    ownership,
    rehearsal,
    release_file,
    secrets_head,
    site_url,
    state,
    units,
)
from deploy.audit import Audit
from deploy.care import Care
from deploy.errors import ManagerError
from deploy.journal import Journal
from deploy.layout import Layout
from deploy.lock import HeadLock
from deploy.profile import Profile, Status
from deploy.release import WEB_SERVER, Release
from deploy.relieve import relieve
from deploy.settings import Settings
from deploy.systemd import Systemd
from store.lock import close_to_others

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from deploy.certificates import Expiry
    from deploy.events import Observe
    from deploy.logs import Line
    from deploy.orders import Order
    from deploy.services import Changes
    from deploy.session import Vigil
    from store.local import LocalStore

PATIENT = Settings(settle_seconds=0.5, probe_interval=0.02)
"""A short look; from then on, until it is confirmed, a head goes on looking by `vigil`."""
STATE_MODE = 0o750
COMMAND = Path("/usr/local/bin/sealift")
PERSISTENT = Path("/etc/systemd/system")
WANTED_BY = "multi-user.target.wants"


class SystemdHead:
    """The head that this machine is, under the `var` folder of its store."""

    def __init__(
        self, store: LocalStore, *, manager: Systemd | None = None, settings: Settings = PATIENT
    ) -> None:
        self.store = store
        self.layout = Layout(store.var_dir, Path("/var/lib/sealift"))
        _make(self.layout)
        self.lock = HeadLock(self.layout.lock)
        self.journal = Journal(self.layout.journal)
        self.audit = Audit(self.layout.audit)
        self.profile = Profile(self.layout)
        self.services = manager or Systemd()
        self._patience = settings
        self._read()

    @property
    def name(self) -> str:
        """What the inventory calls it."""
        return self.kept.name

    @property
    def url(self) -> str:
        """Where a browser finds the platform."""
        return self.kept.url

    @property
    def keep(self) -> int:
        """How many generations stay where nothing else is said."""
        return self.kept.keep

    def session(self) -> AbstractContextManager[None]:
        """Keep the store's collector out during the block."""
        return self.store.session()

    def load(self, path: Path) -> Release:
        """Read the part of the release at a store path that this head runs."""
        return units.chosen(release_file.load(path), self.kept.services)

    def take(self, order: Order) -> None:
        """Keep what comes with an order; it holds for good once the change is agreed to."""
        if order.head is not None:
            keeping.keep(self.layout, order.head)
        if order.secrets is not None:
            secrets_head.keep(self.layout, order.secrets)
        self._read()

    def settle(self) -> None:
        """Let hold what came with the order."""
        keeping.settle(self.layout)
        secrets_head.settle(self.layout)

    def drop(self) -> bool:
        """Forget what came with the order; tell whether any of it was new."""
        fresh = _fresh(self.layout)
        secrets_head.drop(self.layout)
        dropped = keeping.drop(self.layout)
        self._read()
        return dropped or fresh

    def prepare(self, wanted: Release, observe: Observe, *, known: bool) -> None:
        """Check system, closure, ports, secrets, units and configuration; provide state.

        Raises:
            Error: what is missing, taken or wrong; nothing that runs was touched.
        """
        del known
        every = units.units(wanted)
        ownership.check_room(self.layout.var_dir)
        fit.check(wanted, fit.glibc(), where=self.name)
        integrity.check(self.store, wanted.path, running=self._running())
        ownership.check_ports(_wanted_ports(wanted), where=self.name)
        accounts.make(wanted.units_dir / units.SYSUSERS)
        secrets_head.check(self.layout, wanted, observe=observe)
        self._provide_state(wanted, observe)
        rehearsal.verify(wanted, every.values(), running=self._running())
        if WEB_SERVER in every:
            rehearsal.try_web_server(wanted, self.layout, every[WEB_SERVER])

    def forecast(self, wanted: Release) -> Changes:
        """Tell what a switch to `wanted` would do."""
        digests = secrets_head.digests(self.layout, wanted)
        return self._plan(wanted, digests, stale=self._care(wanted).is_stale()).changes

    def guard(self, wanted: Release) -> None:
        """Let systemd know the release's units, and look every few seconds whether we live.

        From here on a start of the machine puts an unfinished change right, too.
        """
        self._install(wanted)
        self.services.link(units.files(wanted, units.units(wanted)), wait=self._running() is None)
        self.services.launch(units.TIMER)

    def unguard(self) -> None:
        """Stop looking; a head that nothing is deployed on knows none of our units."""
        self.services.end([units.TIMER], wait=False)
        if self.profile.current() is None:
            self.services.link({})

    def restart(self, wanted: Release, *, reload: bool, observe: Observe) -> Changes:
        """Run what `wanted` says; only what differs from what runs is relieved.

        Raises:
            UnhealthyError: a new instance is not well; the old one still runs.
        """
        return self._run(wanted, stale=reload or self._care(wanted).is_stale(), observe=observe)

    def restart_only(
        self, wanted: Release, names: Collection[str], *, running: bool, observe: Observe
    ) -> Changes:
        """Run `names` as `wanted` says; with `running`, start them anew behind open sockets."""
        anew = names if running else ()
        return self._run(wanted, only=names, anew=anew, observe=observe)

    def renew(self, wanted: Release, observe: Observe) -> None:
        """Start everything anew, behind sockets that stay open."""
        self.restart_only(wanted, units.units(wanted), running=True, observe=observe)

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
        settle = not self._was_good(wanted)
        self._care(wanted).check(names, observe, present, settle=settle)

    def vigil(self, wanted: Release) -> Vigil:
        """Return what raises when a service of `wanted` ends, or answers badly twice."""
        return self._care(wanted).vigil()

    def tidy(self, wanted: Release) -> None:
        """Remove what only earlier releases needed, and note what is known of the units."""
        secrets_head.lay(self.layout, wanted)
        if not COMMAND.exists() or COMMAND.is_symlink():
            durable.link(COMMAND, str(self.layout.profile / "bin" / "sealift"))
        current = self.profile.current()
        if current is not None:
            rehearsal.record(self.layout, current, wanted, units.units(wanted))

    def answers(self, wanted: Release) -> Mapping[str, str | None]:
        """Ask each program of `wanted` once; what is wrong with it, or nothing."""
        return self._care(wanted).answers()

    def expiring(self, wanted: Release) -> tuple[Expiry, ...]:
        """Return which of the release's certificates have run out or soon will."""
        place, files = secrets_head.CREDENTIALS, {}
        for service in wanted.services.values():
            for each in service.certificates:
                files[each.certificate] = place / service.name / each.certificate
        if wanted.systemd is not None and wanted.systemd.certificate is not None:
            name = wanted.systemd.certificate
            files[name] = place / WEB_SERVER / name
        return certificates.ending(wanted, files)

    def lines(self, name: str, count: int) -> Sequence[Line]:
        """Return the last lines that a service wrote."""
        return journald.last_lines(self.layout, name, count)

    def follow(self, name: str, count: int) -> Iterator[Line | None]:
        """Give the last lines of a service, then what it adds."""
        return journald.follow(self.layout, name, count)

    def boot(self, wanted: Release, observe: Observe) -> None:
        """Let systemd start everything, after a start of the machine; does not wait for it.

        What runs meanwhile, because somebody was faster, is left as it is.

        Raises:
            Error: secrets that cannot be laid open; services that need none start all the same.
        """
        every = units.units(wanted)
        self.services.link(units.files(wanted, every))
        fresh = not self.services.alive()
        site_url.tell(self.url)
        try:
            digests = secrets_head.lay(self.layout, wanted, observe=observe)
            if fresh:
                self.services.note_all(every.values(), digests)
        finally:
            self.services.launch(units.TARGET)

    def _read(self) -> None:
        self.kept = keeping.load(self.layout)
        self.layout = Layout(self.store.var_dir, self.kept.state_dir)

    def _run(
        self,
        wanted: Release,
        *,
        only: Collection[str] | None = None,
        anew: Collection[str] = (),
        stale: bool = False,
        observe: Observe,
    ) -> Changes:
        before = self.profile.left()
        kept = None if before is None else self._release(before)
        digests = secrets_head.lay(self.layout, wanted, before=kept, observe=observe)
        site_url.tell(self.url)
        links = units.files(wanted, units.units(wanted))
        self.services.link(links, wait=False)
        plan = self._plan(wanted, digests, only=only, anew=anew, stale=stale)
        care = self._care(wanted)
        try:
            relieve(self.services, plan, digests, care.well)
        except ManagerError as error:
            raise care.explained(error, plan) from error
        self.services.link(links, wait=False, keep=False)
        return plan.changes

    def _plan(
        self,
        wanted: Release,
        digests: Mapping[str, str],
        *,
        only: Collection[str] | None = None,
        anew: Collection[str] = (),
        stale: bool = False,
    ) -> handover.Plan:
        seen = self.services.seen()
        plan = handover.plan(units.units(wanted), seen, digests, anew=anew, stale=stale)
        return plan if only is None else plan.only(only)

    def _release(self, number: int) -> Release | None:
        """Return what a generation ran, if it is still there."""
        known = {each.number: each for each in self.profile.generations()}
        return self.load(known[number].path) if number in known else None

    def _was_good(self, wanted: Release) -> bool:
        """Tell whether the current generation ran well on this head before.

        One that is deployed anew is watched, even if an earlier one had the same release.
        """
        current = self.profile.current()
        found = None if current is None else self.profile.get(current)
        return found is not None and (found.path, found.status) == (wanted.path, Status.GOOD)

    def _running(self) -> Path | None:
        """Return the release of the current generation."""
        current = self.profile.current()
        return None if current is None else self.profile.get(current).path

    def _provide_state(self, wanted: Release, observe: Observe) -> None:
        """Make state folders; what is in them is touched as the service's own user."""
        running = self._running()
        told = frozenset(
            () if running is None else (e.path for e in self.load(running).services.values())
        )
        for service in wanted.services.values():
            if service.unit is not None:
                home = self.layout.state(service.name)
                accounts.home(home, service.unit.user, mode=STATE_MODE)
                with accounts.acting_as(service.unit.user):
                    state.provide(self.layout, [service], observe, told=told)

    def _install(self, wanted: Release) -> None:
        """Let the machine's start bring up what is current then."""
        file, unit = wanted.units_dir / units.BOOT, PERSISTENT / units.BOOT
        text = file.read_bytes()
        if not unit.is_file() or unit.read_bytes() != text:
            durable.write(unit, text)
        link = PERSISTENT / WANTED_BY / units.BOOT
        if not link.is_symlink():
            link.parent.mkdir(exist_ok=True)
            durable.link(link, f"../{units.BOOT}")

    def _care(self, wanted: Release) -> Care:
        return Care(self.services, self.layout, wanted, self._patience)


def _wanted_ports(wanted: Release) -> dict[int, tuple[str, str | None]]:
    """Return which service wants each port, and the socket by which systemd opens it for us."""
    found: dict[int, tuple[str, str | None]] = {}
    every = units.units(wanted)
    for name, service in wanted.services.items():
        found[service.port] = (name, every[name].socket)
    if wanted.systemd is not None:
        for port in (wanted.systemd.http, wanted.systemd.https):
            if port is not None:
                found[port] = (WEB_SERVER, every[WEB_SERVER].socket)
    return found


def _fresh(layout: Layout) -> bool:
    """Tell whether the secrets of the change under way are others than those that hold."""
    links = [layout.sealed_dir / name for name in (secrets_head.NEXT, secrets_head.CURRENT)]
    fresh, held = (os.readlink(e) if e.is_symlink() else None for e in links)  # noqa: PTH115
    return fresh is not None and fresh != held


def _make(layout: Layout) -> None:
    """Make the folders of a head; services read the generations, and nothing of its own."""
    for folder in (layout.head_dir, layout.records_dir, layout.profiles_dir):
        folder.mkdir(parents=True, exist_ok=True)
    close_to_others(layout.head_dir)
