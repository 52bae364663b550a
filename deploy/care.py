"""Whether what systemd runs of a release is well: asked, watched, and told where it is not.

All questions are about the instances of this release, whatever else of the same services runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from deploy import health, journald, probes, units
from deploy.checks import checks
from deploy.errors import UnhealthyError
from deploy.health import Check
from deploy.nginx import ECHO
from deploy.probes import Request
from deploy.release import WEB_SERVER, Probe, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from deploy.errors import ManagerError
    from deploy.events import Observe
    from deploy.handover import Plan
    from deploy.layout import Layout
    from deploy.services import Process
    from deploy.session import Vigil
    from deploy.settings import Settings
    from deploy.systemd import Systemd
    from deploy.units import Unit

LOG_LINES = 20
FRESH = 60.0
"""Seconds; what was written earlier has nothing to say about a failure."""
GLANCE = 3.0
"""Seconds that a service gets to answer when it is only looked at."""
LOOK = 0.5
"""Seconds between two looks at what waits for its operator to agree."""


@dataclass(frozen=True)
class Care:
    """A release as a head with systemd looks after it."""

    manager: Systemd
    layout: Layout
    release: Release
    patience: Settings

    @cached_property
    def units(self) -> Mapping[str, Unit]:
        """What runs, by service."""
        return units.units(self.release)

    @cached_property
    def checks(self) -> Mapping[str, Check]:
        """What each service must answer, through its port and through the web server."""
        managed = self.release.systemd
        asked, revision = self.patience, ""
        if managed is not None:
            port, tls = managed.https or managed.http, managed.https is not None
            asked, revision = replace(asked, port=port, tls=tls), managed.revision
        return {each.program: each for each in checks(self.release, asked, revision)}

    def check(
        self,
        names: Collection[str] | None,
        observe: Observe,
        present: Callable[[], None],
        *,
        settle: bool,
    ) -> None:
        """Return when the services, all or just `names`, are healthy.

        With `settle`, what has just begun must go on answering for a moment.

        Raises:
            UnhealthyError: one is not; with the request and its last lines.
            Error: what `present` raises.
        """
        seconds = self.patience.settle_seconds if settle else 0.0
        health.check(
            _Instances(self.manager, self.units.values()),
            [each for name, each in self.checks.items() if names is None or name in names],
            replace(self.patience, settle_seconds=seconds),
            log=self.log,
            observe=observe,
            present=present,
        )

    def well(self, fresh: Sequence[Unit]) -> None:
        """Return when new instances answer at their own sockets, where the old ones do not.

        Raises:
            UnhealthyError: one does not.
        """
        health.check(
            _Instances(self.manager, fresh),
            [_at(unit, self.checks[unit.name]) for unit in fresh],
            replace(self.patience, settle_seconds=0.0),
            log=self.log,
            observe=lambda _: None,
        )

    def answers(self) -> Mapping[str, str | None]:
        """Ask each service once; what is wrong with it, or nothing."""
        return health.answers(list(self.checks.values()), GLANCE)

    def is_stale(self) -> bool:
        """Ask the web server that runs whether it has loaded something else than it should."""
        managed, web = self.release.systemd, self.units.get(WEB_SERVER)
        if managed is None or web is None or web.address is None or not web.address.exists():
            return False
        echo = Request(Probe.HTTP, "localhost", 0, ECHO, managed.revision, socket=web.address)
        return probes.ask(echo, GLANCE) is not None

    def vigil(self) -> Vigil:
        """Return what raises when a service ends, or answers badly twice."""
        first = {name: each.pid for name, each in self._processes().items()}
        ailing: dict[str, str] = {}
        latest = [time.monotonic()]

        def glance() -> None:
            # A process that ended says all; an answer may fail once for reasons of the moment.
            ended = _wrong(self._processes(), first)
            wrong = {n: w for n, w in self.answers().items() if w is not None}
            for name, what in (*ended.items(), *wrong.items()):
                if name in ended or name in ailing:
                    raise self.unhealthy(name, f"it was healthy first, and then: {what}")
            ailing.clear()
            ailing.update(wrong)
            latest[0] = time.monotonic()

        def look(*, last: bool = False) -> None:
            if last or time.monotonic() - latest[0] >= LOOK:
                glance()
            if last and ailing:
                glance()

        return look

    def explained(self, error: ManagerError, plan: Plan) -> Exception:
        """Return what is wrong with the first service that did not start."""
        for name, process in sorted(self._processes().items()):
            if name in plan.moves and plan.moves[name].begins and not process.phase.up:
                what = process.note or "it did not become ready"
                return self.unhealthy(name, f"{what}; {error.got}" if error.got else what)
        return error

    def unhealthy(self, name: str, what: str) -> UnhealthyError:
        """Return the error for a service of which `what` is wrong."""
        return UnhealthyError(
            f"{name} is not healthy",
            service=name,
            request=str(self.checks[name].requests[0]),
            got=what,
            log=self.log(name),
        )

    def log(self, name: str) -> list[str]:
        """Return what a service's instance wrote in this last while."""
        of, since = self.units[name].instance, time.time() - FRESH
        found = journald.last_lines(self.layout, name, LOG_LINES, instance=of, since=since)
        return [line.text for line in found]

    def _processes(self) -> Mapping[str, Process]:
        return self.manager.of(self.units.values())


class _Instances:
    """Just the instances that are meant."""

    def __init__(self, manager: Systemd, wanted: Collection[Unit]) -> None:
        self._manager, self._wanted = manager, wanted

    def processes(self) -> Mapping[str, Process]:
        """Return them by service."""
        return self._manager.of(self._wanted)


def _at(unit: Unit, check: Check) -> Check:
    """Return the first of a check's questions, asked of one instance alone."""
    asked = replace(check.requests[0], socket=unit.address, tls=False)
    return Check(check.program, (asked,), check.timeout)


def _wrong(now: Mapping[str, Process], first: Mapping[str, int | None]) -> dict[str, str]:
    """Return the services that are not the process that they were."""
    return {
        name: "the process ended" if process.pid is None else "the process was started again"
        for name, process in now.items()
        if process.pid != first[name] or process.restarts
    }
