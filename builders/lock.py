"""The locks of a recipe, made anew: one file, or two where sdists are built.

What is asked of which registry is each kind's own matter: see `builders.kinds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders import native_lock
from builders.kinds import LOCKERS
from builders.lock_files import PYTHON, debs_file, lock_file
from builders.python_lock import parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree


def lock(recipe: Recipe, source: SourceTree | None, project: Project) -> Mapping[Path, str | None]:
    """Return the text of each lock file of a recipe; None is for a file that must not be there.

    Nothing for a recipe that has nothing to pin.

    Raises:
        Error: what is asked for cannot be pinned, or a registry cannot be asked.
    """
    if recipe.kind not in LOCKERS:
        return {}
    text = LOCKERS[recipe.kind](recipe, source, project)
    file = lock_file(recipe, project.settings)
    if recipe.kind not in PYTHON:
        return {file: text}
    builds = bool(parse(text, where=str(file)).sdists)
    debs = native_lock.lock(recipe, project) if builds else None
    return {file: text, debs_file(recipe, project.settings): debs}
