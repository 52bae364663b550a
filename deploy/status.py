"""What a head runs now: per service its process, its health and its store path.

Only looks, also when no service manager runs; what a killed command left is told, and is
repaired by the next command that changes the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.activate import current_release
from deploy.phases.standing import read, standings
from deploy.release import NONE, WEB_SERVER
from deploy.services import Phase, Process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.certificates import Expiry
    from deploy.head import Head
    from deploy.journal import Intent
    from deploy.lock import Holder
    from deploy.phases.standing import Standing
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
    interrupted: Intent | None
    """The change that was cut off and not yet finished or taken back."""
    services: tuple[ServiceStatus, ...]
    certificates: tuple[Expiry, ...]
    """Those that have run out or soon will; services may run well all the same."""
    phases: Mapping[str, Standing] = field(default_factory=lambda: NONE)
    """Where it stands with the phases of the current release, by name."""

    @property
    def healthy(self) -> bool:
        """Whether everything runs and answers, and no change is left half done."""
        whole = self.generation is not None and self.interrupted is None
        return whole and all(each.healthy for each in self.services)


def status(head: Head) -> HeadStatus:
    """Return what the head runs."""
    holder = head.lock.holder()
    interrupted = _interrupted(head)
    number = head.profile.current()
    generation = None if number is None else head.profile.get(number)
    services: tuple[ServiceStatus, ...] = ()
    ending: tuple[Expiry, ...] = ()
    phases: Mapping[str, Standing] = NONE
    if generation is not None:
        release = current_release(head)
        services = _services(head, release, generation)
        ending = head.expiring(release)
        phases = standings(release, head.name, read(head.store.var_dir / "head" / "phases"))
    alive = head.services.alive()
    return HeadStatus(
        head.name, head.url, generation, alive, holder, interrupted, services, ending, phases
    )


def history(head: Head) -> tuple[Generation, ...]:
    """Return the generations of a head, oldest first."""
    return head.profile.generations()


def _interrupted(head: Head) -> Intent | None:
    """Return the intent in the journal, unless whoever wrote it is still at work.

    Read before and after looking at the lock: a change may begin or end in between.
    """
    first = head.journal.read()
    if first is None or head.lock.holder() is not None:
        return None
    second = head.journal.read()
    return second if second is not None and second.since == first.since else None


def _services(head: Head, release: Release, generation: Generation) -> tuple[ServiceStatus, ...]:
    processes = head.services.processes()
    answers = head.answers(release) if processes else {}
    return tuple(
        _one(name, path, processes.get(name), answers.get(name), generation)
        for name, path in _paths(release).items()
    )


def _paths(release: Release) -> Mapping[str, Path]:
    found = {name: each.path for name, each in sorted(release.services.items())}
    return found if release.web is None else {**found, WEB_SERVER: release.web.path}


def _one(
    name: str, path: Path, process: Process | None, wrong: str | None, generation: Generation
) -> ServiceStatus:
    seen = process or Process(name, Phase.STOPPED)
    health = (wrong or HEALTHY) if seen.pid else (seen.note or None)
    return ServiceStatus(name, seen.phase, seen.pid, health, generation.number, path, seen.since)
