"""Receipts: what a site holds, as it tells the builder.

Values only. Secrets, addresses and people are no part of it. How it is found out is for
`deploy.holding` and the command line, how it travels for `deploy.receipt_file`, and what a bundle
can leave out because of it for `deploy.bundle.base`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.facts import Facts
    from deploy.profile import Generation
    from store.info import PathInfo
    from store.path import StorePath


@dataclass(frozen=True, slots=True)
class System:
    """What a machine's operating system is; `disk` in bytes, free where the store is."""

    title: str
    machine: str
    glibc: str | None
    systemd: int | None
    flags: tuple[str, ...]
    disk: int

    @classmethod
    def of(cls, facts: Facts) -> System:
        """Keep of a machine's facts what the builder can use, and nothing that names anybody."""
        return cls(
            title=facts.system,
            machine=facts.machine,
            glibc=facts.glibc,
            systemd=facts.systemd,
            flags=tuple(sorted(facts.flags)),
            disk=facts.disk,
        )


@dataclass(frozen=True, slots=True)
class Packages:
    """What dpkg has installed: how the system calls itself, and the reduced status file."""

    title: str
    status: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of the site.

    Attributes:
        name: in the inventory.
        system: None where it was not told.
        paths: what its store holds for good; None where its agent is too old to tell.
        generations: oldest first, without who made them.
        packages: None where there is no dpkg.
    """

    name: str
    system: System | None
    paths: tuple[StorePath, ...] | None
    generations: tuple[Generation, ...] = ()
    packages: Packages | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a site holds at one moment.

    Attributes:
        site: its name, as bundles have it.
        store_dir: where its stores lie, which enters the name of each path.
        created: seconds since the epoch.
        number: the highest bundle that was received; None before the first.
        roots: of the transfer host's store, newest first: what its closures are there for.
        infos: every path that a machine holds, references before referrers.
        machines: the transfer host first, then heads.
        digest: SHA-256 of the signed bytes, in base 16; empty where there are none yet.
    """

    site: str
    store_dir: str
    created: int
    number: int | None
    roots: tuple[tuple[str, StorePath], ...]
    infos: tuple[PathInfo, ...]
    machines: tuple[Machine, ...]
    digest: str = field(default="", compare=False)

    @property
    def heads(self) -> tuple[Machine, ...]:
        """The heads that it tells of; without any, the transfer host, which then is the head."""
        return self.machines[1:] or self.machines

    @property
    def held(self) -> tuple[PathInfo, ...]:
        """What the transfer host's store holds; only that can a bundle build on."""
        here = set(self.machines[0].paths or ())
        return tuple(info for info in self.infos if info.path in here)
