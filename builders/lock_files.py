"""Where a recipe's lock lies: the name that it gives, or one made of its own and its kind.

A frontend's lock, and a Node service's, is npm's own and stands beside its `package.json`, unless
the recipe names one.

A recipe that builds sdists has a second lock: of the Debian packages that these are built with.

What stands in a lock is each kind's own matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.recipe import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from builders.recipe import Recipe
    from builders.settings import Settings

NPM = "package-lock.json"
PYTHON = frozenset({Kind.PEX, Kind.SHIV, Kind.ENV, Kind.EXECUTABLE})
NODE = frozenset({Kind.DIST, Kind.NODE})


def lock_file(recipe: Recipe, settings: Settings) -> Path:
    """Return the path of a recipe's lock, whether it is there or not."""
    if recipe.kind in NODE and recipe.lock is None and recipe.source is not None:
        base = settings.source_base(recipe.source)
        return base / recipe.source.path / recipe.source.subdir / NPM
    suffix = "pylock.toml" if recipe.kind in PYTHON else "json"
    return settings.locks_dir / (recipe.lock or f"{recipe.name}.{suffix}")


def debs_file(recipe: Recipe, settings: Settings) -> Path:
    """Return the path of the lock of what a recipe's sdists are compiled with."""
    name = (recipe.lock or recipe.name).removesuffix(".toml").removesuffix(".pylock")
    return settings.locks_dir / f"{name}.debs.json"
