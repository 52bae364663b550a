"""Check a service's state paths against its source, before anything is built.

What a recipe alone can tell is checked by `builders.recipe_service`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from builders.recipe import Recipe
    from builders.step import SourceTree


def check_state(recipe: Recipe, source: SourceTree | None, code: Collection[str]) -> None:
    """Refuse state that cannot be laid, or that would hold code back; `code` names files of it.

    Raises:
        InputError: a state path lies below a file of the source, or holds its code.
    """
    files = {file.path for file in source.files if file.link is None} if source else set()
    for path in recipe.service.state if recipe.service else ():
        place = PurePosixPath(path)
        above = [str(parent) for parent in place.parents if str(parent) in files]
        if above:
            reason = f"state {path!r} lies below {above[0]!r}, which is a file of the source"
            raise _error(recipe, reason, "name a file or folder that can lie there")
        held = _code(place, files, code)
        if held:
            reason = f"state {path!r} holds the service's code: {held}"
            hint = "what is state is copied once, and no deploy changes it: name the data alone"
            raise _error(recipe, reason, hint)


def _code(place: PurePosixPath, files: Collection[str], code: Collection[str]) -> str | None:
    """Return the code that a state path would hold back; a folder of data may have scripts."""
    named = [str(place)] if place.suffix == ".py" else []
    inside = [name for name in code if PurePosixPath(name).is_relative_to(place)]
    found = [name for name in (*named, str(place / "__init__.py"), *inside) if name in files]
    return found[0] if found else None


def _error(recipe: Recipe, reason: str, hint: str) -> InputError:
    # Loaded here because only errors need YAML.
    from builders.recipe_checks import said_at  # noqa: PLC0415

    return InputError(reason, where=said_at(recipe, "service", "state"), hint=hint)
