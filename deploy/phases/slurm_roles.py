"""Who does what in Slurm: which heads control it, keep its accounts, run its jobs. Pure.

The first heads of the phase control it, in the order in which they take over from each other; the
first two of those keep the accounts, as slurmdbd knows of one backup. Which hosts run jobs is a
parameter of the phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.phases.state import State

MUNGE = "munge.service"
DATABASE = "slurmdbd.service"
CONTROLLER = "slurmctld.service"
FENCE = "sealift-slurm-fence.service"
NODE = "slurmd.service"
DATABASES = 2
ORDER = (MUNGE, DATABASE, FENCE, CONTROLLER, NODE)
"""In this order they are brought up, and made to run newer packages: each needs those before it."""
CONSEQUENCES: Mapping[str, str] = {
    MUNGE: "on all heads at once; for a second no head trusts another's messages, and jobs go on",
    DATABASE: "the backup first; what is to be accounted meanwhile is kept, and sent later",
    FENCE: "nothing notices",
    CONTROLLER: "backups first, then the primary; commands wait for seconds, and jobs go on",
    NODE: "jobs go on",
}
"""What it costs to restart a unit."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of heads: the first of `controllers` is the primary; of `databases`, too."""

    controllers: tuple[str, ...]
    databases: tuple[str, ...]
    nodes: tuple[str, ...]

    @classmethod
    def of(cls, configuration: Configuration) -> Roles:
        """Read them from what the phase wants of any of its heads."""
        names = [each.name for each in configuration.hosts]
        return cls.among(names, configuration.parameters)

    @classmethod
    def among(cls, hosts: Sequence[str], parameters: Mapping[str, Any]) -> Roles:
        """Give out the roles among hosts in their order."""
        controllers = tuple(hosts[: int(parameters["controllers"])])
        nodes = tuple(each for each in hosts if each in parameters["nodes"])
        return cls(controllers, controllers[:DATABASES], nodes)


def touched(configuration: Configuration, state: State) -> tuple[str, ...]:
    """Return the units that laying a configuration over this state will make stale.

    A change of packages is one of all that runs, whichever package it is: they share libraries.
    """
    paths = {each.path for each in state.files}
    changed: set[str] = set(ORDER) if state.packages else set()
    for file in configuration.files:
        if str(file.path) in paths:
            changed.update(file.units)
    return tuple(unit for unit in ORDER if unit in changed)


def backups_first(names: Iterable[str]) -> tuple[str, ...]:
    """Return heads in the order in which their controllers are restarted.

    The primary is the last: while it restarts, a backup that runs the new configuration is there.
    """
    return tuple(reversed(tuple(names)))
