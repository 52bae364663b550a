"""Locking what a head installs: the closure of packages beside the base system it has.

A base system is a file `bases/NAME.status` below the recipes: what dpkg said on a head, made by
`sealift capture`. A lock made for another base, or before it changed, is stale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from builders.apt_solver import SOURCE, solve
from builders.deb_lock import ARCHITECTURE, sources
from builders.deb_pins import Asked, DebLock, LockError, load_closure
from builders.dpkg_status import RELATIONS
from builders.lock_files import lock_file
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from builders.project import Project
    from builders.recipe import Recipe
    from builders.settings import Settings
    from builders.step import SourceTree

BASES = "bases"
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
_COMMENT = "#"


def lock(recipe: Recipe, _source: SourceTree | None, project: Project) -> str:
    """Pin the packages and all that they need beside the recipe's base system.

    Raises:
        LockError: if there is no such base, a package is in no suite, or nothing fits.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
    """
    settings = project.settings
    base = recipe.options["base"]
    status = read_base(base, recipe, settings)
    found = solve(
        recipe.options["packages"],
        sources(recipe.options.get("suites"), settings),
        status=status,
        architecture=ARCHITECTURE,
        fields=FIELDS,
        where=str(recipe.file),
    )
    asked = _asked(recipe, status, settings)
    present = found.asked.present if found.asked else {}
    return str(replace(found, asked=replace(asked, present=present)))


def load(recipe: Recipe, settings: Settings) -> DebLock:
    """Load the lock of a recipe, which must answer what the recipe asks now.

    Raises:
        LockError: if it does not, or the base system has changed since.
    """
    status = read_base(recipe.options["base"], recipe, settings)
    return load_closure(lock_file(recipe, settings), _asked(recipe, status, settings), recipe.name)


def read_base(name: str, recipe: Recipe, settings: Settings) -> str:
    """Read the status text of a base system, without the comments at its start.

    Raises:
        LockError: if there is none of that name.
    """
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


def _asked(recipe: Recipe, status: str, settings: Settings) -> Asked:
    found = sources(recipe.options.get("suites"), settings)
    base = recipe.options["base"]
    return Asked.of(recipe.options["packages"], found, base=base, status=status)
