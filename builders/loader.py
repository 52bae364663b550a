"""Load recipes: each file on its own, then all of them against each other.

What a recipe turns into is for its kind's module; order and closure are for `builders.plan`.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.document import load
from builders.fields import RecipeError, fail, mapping, string, strings
from builders.recipe import EMPTY, Recipe, SourceSpec
from builders.recipe_checks import check
from builders.recipe_kinds import KindRules, kind_rules, read_options
from builders.recipe_languages import choose_languages, refuse_both
from builders.recipe_service import service
from builders.recipe_words import (
    environment,
    file_pattern,
    folder,
    missing,
    name_fault,
    recipe_name,
    relative,
    role,
    routes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builders.fields import Node

LOCKS = "locks"
"""The folder of locks below the recipes; its files are no recipes."""

BESIDE = "recipes"
"""What a source may lie beside, other than below the sources folder."""
_PATTERNS = ("include", "exclude", "allow_secrets")
_COMMON = ("kind", "description", "lock", "inputs")


def load_recipe(file: Path) -> Recipe:
    """Load one recipe; its name is the file's.

    Raises:
        RecipeError: something in it is wrong; says what, where, and what was expected.
    """
    _check_file(file)
    node = load(file)
    values = mapping(node)
    kind, rules = kind_rules(node, values)
    mapping(node, _keys(rules))
    if rules.source and "source" not in values:
        raise missing(node, "source")
    ran = service(values["service"]) if "service" in values else None
    options = read_options(node, values, rules)
    inputs = _inputs(values.get("inputs"))
    refuse_both(values, inputs)
    return Recipe(
        name=file.stem,
        kind=kind,
        file=file,
        description=string(values["description"]) if "description" in values else "",
        source=_source(values["source"]) if "source" in values else None,
        lock=relative(values["lock"]) if "lock" in values else None,
        inputs=MappingProxyType({**rules.inputs, **inputs}),
        env=environment(values["env"]) if "env" in values else EMPTY,
        options=MappingProxyType(options),
        service=ran,
        routes=routes(values, web=True) if rules.web else (),
    )


def load_recipes(recipes_dir: Path) -> Mapping[str, Recipe]:
    """Load every recipe below a folder, sorted by name, and check them against each other.

    Raises:
        RecipeError: a recipe is wrong, two have one name, an input does not exist, inputs go
            round in a circle, or two members of a release claim the same port or route.
    """
    found: dict[str, Recipe] = {}
    for file in sorted(recipe_files(recipes_dir)):
        recipe = load_recipe(file)
        if recipe.name in found:
            raise RecipeError(
                f"two recipes are named {recipe.name!r}",
                where=str(file),
                got=str(found[recipe.name].file),
                hint="a recipe's name is that of its file: rename one",
            )
        found[recipe.name] = recipe
    recipes = MappingProxyType(choose_languages(dict(sorted(found.items()))))
    check(recipes)
    return recipes


def recipe_files(recipes_dir: Path) -> Iterator[Path]:
    """Yield the recipe files below a folder, except among the locks; hidden ones do not count.

    Raises:
        RecipeError: there is no such folder.
    """
    if not recipes_dir.is_dir():
        raise RecipeError(
            "the recipes folder does not exist",
            where=str(recipes_dir),
            hint="set `recipes:` in sealift.yaml",
        )
    for folder_, folders, files in os.walk(recipes_dir):
        folders[:] = [name for name in folders if name != LOCKS and not name.startswith(".")]
        for name in files:
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                yield Path(folder_, name)


def _check_file(file: Path) -> None:
    fault = name_fault(file.stem)
    if fault is not None:
        hint = "a recipe's name is that of its file: rename it"
        raise RecipeError(fault, where=str(file), hint=hint)
    if not file.is_file():
        what = "is not a regular file" if file.exists() else "does not exist"
        raise RecipeError(f"recipe {file.stem!r} {what}", where=str(file))


def _keys(rules: KindRules) -> list[str]:
    keys = [*_COMMON, *rules.options]
    keys += ["env"] if rules.env else []
    keys += ["source"] if rules.source or rules.project else []
    keys += ["service"] if rules.service else []
    return keys + (["route", "routes"] if rules.web else [])


def _source(node: Node) -> SourceSpec:
    if node.sort != "map":
        return SourceSpec(_source_path(node))
    values = mapping(node, ("path", "subdir", "beside", "only", *_PATTERNS))
    if "path" not in values:
        raise missing(node, "path")
    lists = {key: strings(values[key], file_pattern) for key in _PATTERNS if key in values}
    only = strings(values["only"], folder) if "only" in values else ()
    subdir = folder(values["subdir"]) if "subdir" in values else ""
    beside = "beside" in values and _beside(values["beside"])
    return SourceSpec(_source_path(values["path"]), subdir, **lists, only=only, beside=beside)


def _beside(node: Node) -> bool:
    if string(node) != BESIDE:
        reason = f"a source beside {node.text!r}"
        raise fail(node, reason, expected=f"{BESIDE}, the folder that holds the recipes folder")
    return True


def _source_path(node: Node) -> str:
    return "." if node.sort == "str" and node.text == "." else folder(node)


def _inputs(node: Node | None) -> dict[str, str]:
    if node is None:
        return {}
    values = mapping(node)
    return {role(key): recipe_name(values[key.text]) for key, _ in node.entries}
