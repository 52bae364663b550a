"""Which toolchain a recipe means by `python: "3.11"` or `node: "20"`.

The one of that language whose version begins so. Naming the recipe itself, as `inputs:` does, is
for sites with several toolchains of one version.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.fields import RecipeError, fail
from builders.recipe import Kind, Recipe
from builders.recipe_checks import said_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.fields import Node

LANGUAGES = ("node", "python")
"""Each is a key of recipes, the role of an input, and the `language` of toolchains."""


def refuse_both(values: Mapping[str, Node], inputs: Mapping[str, str]) -> None:
    """Refuse a recipe that chooses its toolchain twice.

    Raises:
        RecipeError: it has the key, and an input of that role.
    """
    for language in LANGUAGES:
        if language in values and language in inputs:
            raise fail(
                values[language],
                f"the recipe chooses its {language} twice",
                expected=f"`{language}`, or `inputs: {{{language}: …}}`",
            )


def choose_languages(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Fill in the toolchain that each recipe asks for by version.

    Raises:
        RecipeError: there is none, or more than one; says what there is.
    """
    return {name: _chosen(recipe, recipes) for name, recipe in recipes.items()}


def _chosen(recipe: Recipe, recipes: Mapping[str, Recipe]) -> Recipe:
    if recipe.kind is Kind.TOOLCHAIN:
        return recipe
    found = {
        language: _find(recipe, language, recipes)
        for language in LANGUAGES
        if language in recipe.options
    }
    return replace(recipe, inputs=MappingProxyType({**recipe.inputs, **found})) if found else recipe


def _find(recipe: Recipe, language: str, recipes: Mapping[str, Recipe]) -> str:
    wanted: str = recipe.options[language]
    there = {
        name: str(other.options["version"])
        for name, other in recipes.items()
        if other.kind is Kind.TOOLCHAIN and other.options["language"] == language
    }
    fitting = [name for name, version in there.items() if _begins(version, wanted)]
    if len(fitting) != 1:
        raise RecipeError(
            f"{'several toolchains are' if fitting else 'no toolchain is'} {language} {wanted}",
            where=said_at(recipe, language),
            expected=_spelled({name: there[name] for name in fitting} or there),
            hint=f"name the recipe: inputs: {{{language}: NAME}}" if fitting else None,
        )
    return fitting[0]


def _begins(version: str, wanted: str) -> bool:
    parts: Sequence[str] = wanted.split(".")
    return version.split(".")[: len(parts)] == parts


def _spelled(there: Mapping[str, str]) -> str:
    rows = sorted((_parts(version), name, version) for name, version in there.items())
    return ", ".join(f"{version} ({name})" for _, name, version in rows) or "none"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
