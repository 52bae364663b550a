"""Locking what a head installs: the closure of packages beside the base system it has.

What a base system is, and whether a lock still fits it, is for `builders.apt_base`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from builders.apt_base import base_file, question, read_base
from builders.apt_solver import SOURCE, solve
from builders.deb_sources import ARCHITECTURE, sources
from builders.dpkg_status import RELATIONS

if TYPE_CHECKING:
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

FIELDS = (
    SOURCE,
    "Essential",
    "Important",
    "Installed-Size",
    "Multi-Arch",
    "Priority",
    "Protected",
    "Section",
    *RELATIONS,
)
"""Of each package's stanza, what a head's apt reads; Recommends and Suggests are not followed."""


def lock(recipe: Recipe, _source: SourceTree | None, project: Project) -> str:
    """Pin the packages and all that they need beside the recipe's base system.

    Raises:
        LockError: if there is no such base, a package is in no suite, or nothing fits.
        StatusError: if the base system's file makes no sense.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
    """
    settings = project.settings
    status = read_base(recipe, settings)
    found = solve(
        recipe.options["packages"],
        sources(recipe.options.get("suites"), settings),
        status=status,
        architecture=ARCHITECTURE,
        fields=FIELDS,
        where=str(recipe.file),
        status_file=str(base_file(recipe.options["base"], settings)),
    )
    asked = question(recipe, status, settings)
    present = found.asked.present if found.asked else {}
    return str(replace(found, asked=replace(asked, present=present)))
