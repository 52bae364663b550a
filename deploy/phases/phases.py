"""The modules of the phases, by name; one is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from deploy.phases.errors import NoSuchPhaseError

if TYPE_CHECKING:
    from deploy.phases.phase import Phase

MODULES = {
    "infrastructure": "deploy.phases.infrastructure",
    "storage": "deploy.phases.storage",
    "database": "deploy.phases.database",
    "redis": "deploy.phases.redis",
    "slurm": "deploy.phases.slurm",
}


def module(name: str) -> Phase:
    """Return what does the phase's work.

    Raises:
        NoSuchPhaseError: there is none of this name.
    """
    if name not in MODULES:
        have = ", ".join(MODULES)
        raise NoSuchPhaseError(f"no module does the phase {name!r}", got=f"there are: {have}")
    return cast("Phase", import_module(MODULES[name]))
