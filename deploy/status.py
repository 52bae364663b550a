"""What a head runs now: per service its process, its health and its store path.

Looks and, where a killed command left something, repairs; also when no service manager runs.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.activate import current_release, repair
from deploy.errors import HeadLockedError
from deploy.events import Observe, ignore
from deploy.release import WEB_SERVER
from deploy.services import Phase, Process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.head import LocalHead
    from deploy.lock import Holder
    from deploy.profile import Generation
    from deploy.release import Release


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service of the current generation.

    `health` is "healthy", or what is wrong; nothing for one that does not run. `since` is in
    seconds since the epoch.
    """

    name: str
    phase: Phase
    pid: int | None
    health: str | None
    generation: int
    path: Path
    since: float | None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.pid is not None

    @property
    def healthy(self) -> bool:
        """Whether it answered as its release says."""
        return self.health == HEALTHY


HEALTHY = "healthy"


@dataclass(frozen=True, slots=True)
class HeadStatus:
    """A head at one moment; `generation` is empty where nothing is deployed."""

    name: str
    url: str
    generation: Generation | None
    alive: bool
    """Whether the service manager runs."""
    holder: Holder | None
    """Who is changing the head just now."""
    services: tuple[ServiceStatus, ...]

    @property
    def healthy(self) -> bool:
        """Whether everything runs and answers."""
        return self.generation is not None and all(each.healthy for each in self.services)


def status(head: LocalHead, *, observe: Observe = ignore) -> HeadStatus:
    """Return what the head runs, after repairing what a killed command may have left."""
    holder = _repaired(head, observe)
    number = head.profile.current()
    generation = None if number is None else head.profile.get(number)
    services = () if generation is None else _services(head, generation)
    alive = head.services.alive()
    return HeadStatus(head.name, head.url, generation, alive, holder, services)


def history(head: LocalHead) -> tuple[Generation, ...]:
    """Return the generations of a head, oldest first."""
    return head.profile.generations()


def _repaired(head: LocalHead, observe: Observe) -> Holder | None:
    """Repair if nobody is at work; otherwise return who is."""
    if head.journal.read() is None:
        return head.lock.holder()
    try:
        with head.lock.hold(getpass.getuser(), "status"):
            repair(head, observe)
    except HeadLockedError:
        return head.lock.holder()
    return None


def _services(head: LocalHead, generation: Generation) -> tuple[ServiceStatus, ...]:
    release = current_release(head)
    processes = head.services.processes()
    answers = head.answers(release) if processes else {}
    return tuple(
        _one(name, path, processes.get(name), answers.get(name), generation.number)
        for name, path in _paths(release).items()
    )


def _paths(release: Release) -> Mapping[str, Path]:
    found = {name: each.path for name, each in sorted(release.services.items())}
    return found if release.web is None else {**found, WEB_SERVER: release.web.path}


def _one(
    name: str, path: Path, process: Process | None, wrong: str | None, generation: int
) -> ServiceStatus:
    seen = process or Process(name, Phase.STOPPED)
    health = (wrong or HEALTHY) if seen.pid else (seen.note or None)
    return ServiceStatus(name, seen.phase, seen.pid, health, generation, path, seen.since)
