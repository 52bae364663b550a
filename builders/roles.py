"""The inputs of a recipe that must be of one kind: what fills a role, and a refusal by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from builders.project import Project
    from builders.recipe import Kind, Recipe


def filler(recipe: Recipe, role: str, kind: Kind, project: Project, *, missing: str) -> Recipe:
    """Give the recipe that fills a role: the input of that name, or else the recipe of that name.

    `missing` is what is said if there is none.

    Raises:
        InputError: there is none, or it is of another kind.
    """
    name = recipe.inputs.get(role, role)
    if name not in project.recipes:
        raise InputError(
            f"{missing} {name!r}",
            where=str(recipe.file),
            hint="copy toolchains/ and their locks/ from sealift's own recipes/",
        )
    found = project.recipes[name]
    if found.kind is not kind:
        raise InputError(
            f"{recipe.name}: input {role!r} is {name!r}, a recipe of kind {found.kind.value}",
            where=str(recipe.file),
            expected=f"a recipe of kind {kind.value}",
        )
    return found
