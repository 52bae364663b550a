"""What a head asks of its service manager, and the values that go between them.

Two implementations: supervisor on the embedded local head, systemd on real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from deploy.release import Tool

    Tools = Mapping[str, Tool]
    """What a release brings besides services, by the executable's name."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running. Secrets are never in it, only the folder that holds them.

    Equal programs are the same program: the manager restarts one only when it differs.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    log: Path
    start_seconds: int
    """Seconds that it must stay up before it counts as running."""
    stop_seconds: int
    """Seconds that it gets to end by itself; then its whole process group is killed."""


class Phase(Enum):
    """What a process is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"

    @property
    def up(self) -> bool:
        """Whether there is a process, or will be without our doing."""
        return self in (Phase.STARTING, Phase.RUNNING)


@dataclass(frozen=True, slots=True)
class Process:
    """One program as the manager sees it; `since` is in seconds since the epoch.

    `restarts` says how often it ended since it was first seen to run, and was started again.
    """

    name: str
    phase: Phase
    pid: int | None = None
    since: float | None = None
    note: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a manager did, by name of program."""

    started: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    reloaded: tuple[str, ...] = ()


class ServiceManager(Protocol):
    """Keeps programs running. A program is known by its name; what is unknown is refused."""

    def alive(self) -> bool:
        """Tell whether the manager runs, or anything of ours under one that always does."""
        ...

    def processes(self) -> Mapping[str, Process]:
        """Return every program by name; nothing if the manager does not run."""
        ...

    def start(self, names: Collection[str]) -> None:
        """Start those that are not up."""
        ...

    def stop(self, names: Collection[str]) -> None:
        """Stop, and return when they have ended."""
        ...

    def reload(self, name: str) -> None:
        """Let one read its configuration again, without stopping."""
        ...

    def shutdown(self) -> None:
        """Stop everything, a manager of our own included, and return when it has ended."""
        ...


class ProgramManager(ServiceManager, Protocol):
    """One that is told programs by us, rather than reading them in the release."""

    def check(self, programs: Sequence[Program], tools: Tools, *, known: bool) -> None:
        """Refuse, before anything is touched, what cannot be run.

        `tools` may hold the manager itself. A release that is `known` may have been made when
        releases brought none; it runs under the manager that runs.
        """
        ...

    def apply(
        self, programs: Sequence[Program], tools: Tools, only: Collection[str] | None = None
    ) -> Changes:
        """Run exactly these: restart what differs, leave alone what does not.

        A manager that does not run is started out of `tools`; one that runs stays. With `only`,
        what has another name is left alone in any case, and the manager must run.
        """
        ...
