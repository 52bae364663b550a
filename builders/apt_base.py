"""The base system that packages are locked beside: a status file, and the lock made for it.

A base system is a file `bases/NAME.status` below the recipes, written by `sealift capture`: what
dpkg said on a head. A lock made for another base, or before it changed, is stale. Making a lock
is for `builders.apt_lock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.deb_pins import Asked, DebLock, LockError, load_closure
from builders.deb_sources import sources
from builders.lock_files import lock_file
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from builders.recipe import Recipe
    from builders.settings import Settings

BASES = "bases"
_COMMENT = "#"


def load(recipe: Recipe, settings: Settings) -> DebLock:
    """Load the lock of a recipe, which must answer what the recipe asks now.

    Raises:
        LockError: if it does not, or the base system has changed since.
    """
    asked = question(recipe, read_base(recipe, settings), settings)
    return load_closure(lock_file(recipe, settings), asked, recipe.name)


def question(recipe: Recipe, status: str, settings: Settings) -> Asked:
    """Make the question that a recipe's lock answers."""
    found = sources(recipe.options.get("suites"), settings)
    base = recipe.options["base"]
    return Asked.of(recipe.options["packages"], found, base=base, status=status)


def read_base(recipe: Recipe, settings: Settings) -> str:
    """Read the status text of a recipe's base system, without the comments at its start.

    Raises:
        LockError: if there is none of that name.
    """
    name = recipe.options["base"]
    file = base_file(name, settings)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LockError(
            f"there is no base system {name!r}",
            where=str(recipe.file),
            expected=f"one of {', '.join(_known(settings)) or 'none yet'}",
            hint=f"sealift capture {name}",
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"the base system cannot be read: {fault}", where=str(file)) from fault
    lines = text.splitlines(keepends=True)
    start = next((n for n, line in enumerate(lines) if not line.startswith(_COMMENT)), len(lines))
    return "".join(lines[start:])


def base_file(name: str, settings: Settings) -> Path:
    """Return the file of a base system, whether it is there or not."""
    return settings.recipes_dir / BASES / f"{name}.status"


def _known(settings: Settings) -> list[str]:
    return sorted(file.stem for file in (settings.recipes_dir / BASES).glob("*.status"))
