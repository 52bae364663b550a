"""Pin the Debian packages that a recipe's sdists are compiled with, by apt's own solver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.apt_solver import solve
from builders.native import question

if TYPE_CHECKING:
    from builders.project import Project
    from builders.recipe import Recipe


def lock(recipe: Recipe, project: Project) -> str:
    """Pin the closure, beside a system on which nothing is installed; return the lock's text.

    Raises:
        InputError: the project has no recipe `compiler`.
        ClosureError: apt finds no way to install the packages together.
        LockError: a package is in no suite.
        BadIndexError: a mirror's index is not what it should be, or not signed.
        FetchError: a mirror does not answer.
    """
    packages, sources = question(recipe, project)
    return str(solve(packages, sources, where=str(recipe.file)))
