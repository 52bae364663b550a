"""A cluster as phases are planned for it: its hosts, and what the site says of each phase.

Values only. Who the hosts are is decided from the inventory, by who makes the project.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builders.recipe import EMPTY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ClusterHost:
    """One host: its IP address within the cluster; the highest `priority` comes first."""

    name: str
    address: str
    priority: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """The hosts of a site in their order, and the settings of phases.

    `phases` are kept nodes (`builders.kept_node`) of `file` by the name of the phase. `select`
    gives the names of the cluster's hosts that a set means, in their order, and raises an
    `InputError` for one that the cluster has not.
    """

    name: str
    hosts: tuple[ClusterHost, ...]
    file: Path
    select: Callable[[str], tuple[str, ...]]
    phases: Mapping[str, dict[str, Any]] = field(default_factory=lambda: EMPTY)
