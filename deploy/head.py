"""A head: the machine on which a release runs, as the rollout sees it.

`Head` is what `deploy.activate` needs; `deploy.local_head` and `deploy.systemd_head` implement it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deploy import health

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from deploy.audit import Audit
    from deploy.certificates import Expiry
    from deploy.events import Observe
    from deploy.journal import Journal
    from deploy.lock import HeadLock
    from deploy.logs import Line
    from deploy.profile import Profile
    from deploy.release import Release
    from deploy.services import Changes, ServiceManager
    from store.local import LocalStore


class Head(Protocol):
    """A machine that runs releases. Everything but `prepare` may be called again after a cut."""

    @property
    def name(self) -> str:
        """The name in the inventory."""
        ...

    @property
    def url(self) -> str:
        """Where a browser finds the platform."""
        ...

    @property
    def keep(self) -> int:
        """How many generations stay where nothing else is said."""
        ...

    @property
    def store(self) -> LocalStore:
        """The store that its releases lie in."""
        ...

    @property
    def lock(self) -> HeadLock:
        """The lock for every change."""
        ...

    @property
    def journal(self) -> Journal:
        """The intent of the change under way."""
        ...

    @property
    def profile(self) -> Profile:
        """The generations."""
        ...

    @property
    def audit(self) -> Audit:
        """The log of all changes."""
        ...

    @property
    def services(self) -> ServiceManager:
        """What keeps the services running."""
        ...

    def session(self) -> AbstractContextManager[None]:
        """Keep the store's collector out during the block."""
        ...

    def load(self, path: Path) -> Release:
        """Read the release at a store path."""
        ...

    def prepare(self, wanted: Release, observe: Observe, *, known: bool) -> None:
        """Do all that can fail, without touching what runs; `known` is a generation's release."""
        ...

    def restart(self, wanted: Release, *, reload: bool, observe: Observe) -> Changes:
        """Run what `wanted` says; with `reload`, the web server reads its files in any case."""
        ...

    def restart_only(
        self, wanted: Release, names: Collection[str], *, running: bool, observe: Observe
    ) -> Changes:
        """Run `names` as `wanted` says, and leave the others alone; with `running`, restart all."""
        ...

    def check(
        self,
        wanted: Release,
        names: Collection[str] | None,
        observe: Observe,
        present: Callable[[], None] = health.anyway,
    ) -> None:
        """Return when the services (all, or just `names`) are healthy.

        `present` is asked now and then; what it raises ends the check.
        """
        ...

    def guard(self, wanted: Release) -> None:
        """See to it that an unfinished change is put right also if this process dies."""
        ...

    def unguard(self) -> None:
        """Let go of that: nothing is unfinished, or somebody else will have to look after it."""
        ...

    def settle(self) -> None:
        """Let hold what the change brought besides the release."""
        ...

    def drop(self) -> bool:
        """Forget what an unfinished change brought besides the release; tell if there was any."""
        ...

    def renew(self, wanted: Release, observe: Observe) -> None:
        """Start everything anew."""
        ...

    def tidy(self, wanted: Release) -> None:
        """Remove what only earlier releases needed."""
        ...

    def answers(self, wanted: Release) -> Mapping[str, str | None]:
        """Ask each program of `wanted` once; what is wrong with it, or nothing."""
        ...

    def expiring(self, wanted: Release) -> tuple[Expiry, ...]:
        """Return which of the release's certificates have run out or soon will."""
        ...

    def lines(self, name: str, count: int) -> Sequence[Line]:
        """Return the last `count` lines of each log of a service."""
        ...

    def follow(self, name: str, count: int) -> Iterator[Line | None]:
        """Give the last lines of a service, then what it adds, until the caller has enough."""
        ...
