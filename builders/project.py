"""A project: one site's settings, all its recipes and its cluster, as loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.cluster import Cluster
    from builders.recipe import Recipe
    from builders.settings import Settings


@dataclass(frozen=True, slots=True)
class Project:
    """Settings, and recipes by name; made once, by the command line."""

    settings: Settings
    recipes: Mapping[str, Recipe]
    cluster: Cluster | None = None
    """None where the settings have no cluster; then no phase takes part."""
