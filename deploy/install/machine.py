"""The head as phases see it: where things lie there, and how its system is asked and told.

Values and doors; what goes through them is for the other modules of this package.
"""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deploy import audit, command, secrets_head
from deploy.install.listening import Listening, listening
from deploy.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from deploy.command import Answer
    from deploy.layout import Layout

MEMORY = Path("/run/sealift/phases")
STALE, RELOAD, INSTALLING = "stale", "reload-units", "installing"
ENVIRONMENT = {
    "PATH": PATH,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
}
APT_SECONDS = 3600.0
QUICK = 60.0
"""Seconds that a program of the system gets that has little to do."""


class Runner(Protocol):
    """Runs a command: the system's, and that of a test."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float = QUICK,
        env: Mapping[str, str] = ENVIRONMENT,
        log: Path | None = None,
    ) -> Answer:
        """Run it to its end; with `log` it writes there, and outlives us if it must."""
        ...


@dataclass(frozen=True, slots=True)
class User:
    """What the system knows of a user."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Group:
    """What the system knows of a group."""

    name: str
    gid: int
    members: frozenset[str]


class People(Protocol):
    """The users and groups of a system; keys are names or numbers."""

    def user(self, key: str | int) -> User | None:
        """Return a user."""
        ...

    def group(self, key: str | int) -> Group | None:
        """Return a group."""
        ...


class Known:
    """The users and groups of this machine, wherever it knows them from."""

    def user(self, key: str | int) -> User | None:
        """Return a user."""
        try:
            found = pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key)
        except KeyError:
            return None
        return User(found.pw_name, found.pw_uid, found.pw_gid)

    def group(self, key: str | int) -> Group | None:
        """Return a group."""
        try:
            found = grp.getgrnam(key) if isinstance(key, str) else grp.getgrgid(key)
        except KeyError:
            return None
        return Group(found.gr_name, found.gr_gid, frozenset(found.gr_mem))


def run(
    argv: Sequence[str],
    *,
    input: bytes = b"",  # noqa: A002 - as subprocess calls it
    timeout: float = QUICK,
    env: Mapping[str, str] = ENVIRONMENT,
    log: Path | None = None,
) -> Answer:
    """Run a command of this machine; it knows by which connection the operator came."""
    came = audit.connection()
    env = {**env, audit.CONNECTION: came} if came else env
    if log is not None:
        return command.logged(argv, env=env, timeout=timeout, log=log)
    return command.attempt(argv, input=input, env=env, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Machine:
    """One head. Only tests have another `root`; all that is below `memory` a power cut forgets.

    `agent` is the store path of the program that works here, where it lies in a store.
    """

    layout: Layout
    store_dir: Path
    agent: Path | None = None
    root: Path = Path("/")
    memory: Path = MEMORY
    run: Runner = run
    people: People = field(default_factory=Known)
    identities: Callable[[], list[Path]] = secrets_head.host_keys
    listening: Callable[[Collection[int], Collection[int]], Mapping[int, Listening]] = listening

    def at(self, path: Path | str) -> Path:
        """Return where an absolute path of the head lies."""
        return self.root / Path(path).relative_to("/")

    @property
    def home(self) -> Path:
        """The folder of all that is kept for phases."""
        return self.layout.head_dir / "phases"

    @property
    def sealed(self) -> Path:
        """Secrets of the phases that are laid, encrypted to the head's host keys."""
        return self.home / "sealed"

    def aside(self, phase: str) -> Path:
        """Return the folder of what lay in /etc before the phase did."""
        return self.home / "aside" / phase

    def record(self, phase: str) -> Path:
        """Return the file that says what became of a phase."""
        return self.home / f"{phase}.json"

    def profile(self, phase: str) -> Path:
        """Return the link to the configuration that is laid; a root of the collector."""
        return self.layout.profiles_dir / f"phase-{phase}"

    def before(self, phase: str) -> Path:
        """Return the link to the configuration before that."""
        return self.layout.profiles_dir / f"phase-{phase}-before"

    @property
    def agent_link(self) -> Path:
        """The link to the agent that opens secrets when the machine starts."""
        return self.layout.profiles_dir / "phases-agent"

    @property
    def stale(self) -> Path:
        """A file for each unit whose files changed since it was started."""
        return self.memory / STALE

    @property
    def installing(self) -> Path:
        """Is there since apt began, until all that it brought is on the disk, or power is lost."""
        return self.memory / INSTALLING

    @property
    def unread(self) -> Path:
        """Is there while systemd may not have read units that changed."""
        return self.memory / RELOAD
