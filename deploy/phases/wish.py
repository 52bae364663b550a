"""What an operator wants of the phases of a cluster: values, and what follows from the release."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.phases import configuration_file
from deploy.phases.state import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.release import Release
    from store.local import LocalStore

DEADLINE = 60.0
"""Seconds without a word from the operator after which a head begins nothing new."""
WAIT = 300.0
"""Seconds that a head waits while one ends what it does whose operator is gone."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of several heads.

    `phases` are those that were asked for, in order; `heads` those that may be changed. With
    `look` nothing is, and a head's lock is not taken; with `laid` heads go by what is laid there,
    whatever the release says. `secrets` are sealed, by head and name.
    """

    store: LocalStore
    release: Release
    phases: tuple[str, ...]
    heads: tuple[str, ...]
    by: str
    configurations: Mapping[str, Mapping[str, Configuration]]
    """By phase and host; those that the phases come after are among them."""
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=lambda: NONE, repr=False)
    parallel: int = 16
    deadline: float = DEADLINE
    wait: float = WAIT
    allow_missing: bool = False
    look: bool = False
    laid: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts of the phases that were asked for, in their order."""
        return tuple(
            dict.fromkeys(
                each.name
                for phase in self.phases
                for wanted in list(self.configurations[phase].values())[:1]
                for each in wanted.hosts
            )
        )

    def of(self, host: str) -> dict[str, Configuration]:
        """Return what is wanted of one host, by phase."""
        return {phase: hosts[host] for phase, hosts in self.configurations.items() if host in hosts}


def configurations(release: Release, phases: Sequence[str]) -> dict[str, dict[str, Configuration]]:
    """Read what a release wants of its hosts, for phases and all that they come after.

    Raises:
        BadReleaseError: one cannot be used.
    """
    found: dict[str, dict[str, Configuration]] = {}
    left = list(phases)
    while left:
        phase = left.pop()
        if phase in found or phase not in release.phases:
            continue
        found[phase] = _read(release, phase)
        left += [name for each in found[phase].values() for name in each.after]
    return {phase: found[phase] for phase in release.phases if phase in found}


def _read(release: Release, phase: str) -> dict[str, Configuration]:
    """Read the configurations of one phase, in the order of its hosts."""
    hosts = release.phases[phase].hosts
    found = {host: configuration_file.load(path) for host, path in hosts.items()}
    order = next((each.hosts for each in found.values()), ())
    return {peer.name: found[peer.name] for peer in order if peer.name in found}
