"""Commands that only look: recipes, logs, store paths and why they are needed."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from sealift.complete import recipe_names
from sealift.options import as_json
from store.errors import InputError

if TYPE_CHECKING:
    from builders.recipe import Recipe
    from sealift.site import Location, Site
    from store.path import StorePath


@click.command("list")
@as_json
@click.pass_obj
def list_recipes(location: Location, *, as_json: bool) -> None:
    """List the recipes: kind, port or route, and what was built last."""
    with location.open() as site:
        rows = [_row(site, recipe) for recipe in site.recipes.values()]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    width = max(len(row["name"]) for row in rows) if rows else 0
    for row in rows:
        built = "built" if row["path"] else "-"
        click.echo(f"{row['name']:<{width}}  {row['kind']:<10} {row['at']:<16} {built}")


def _row(site: Site, recipe: Recipe) -> dict[str, Any]:
    at = str(recipe.service.port) if recipe.service else ""
    at = at or " ".join(route.path for route in recipe.routes)
    path = _built(site, recipe.name)
    return {
        "name": recipe.name,
        "kind": recipe.kind.value,
        "at": at,
        "description": recipe.description,
        "path": str(site.store.real(path)) if path else None,
    }


def _built(site: Site, name: str) -> StorePath | None:
    from store.roots import follow

    return follow(site.store.var_dir / "gcroots" / name, site.store.store_dir)


@click.command()
@click.argument("name", shell_complete=recipe_names)
@as_json
@click.pass_obj
def show(location: Location, name: str, *, as_json: bool) -> None:
    """Show a recipe as it was understood, with every default filled in."""
    with location.open() as site:
        recipe = find_recipe(site, name)
        facts: dict[str, Any] = _plain(recipe)
        path = _built(site, name)
    facts["path"] = str(path) if path else None
    facts = {key: fact for key, fact in facts.items() if fact not in (None, "", {}, [])}
    if as_json:
        click.echo(json.dumps(facts))
        return
    import yaml

    click.echo(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), nl=False)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Turn a value's fields into what JSON and YAML know."""
    from collections.abc import Mapping
    from dataclasses import fields, is_dataclass
    from enum import Enum
    from pathlib import Path

    from builders.fields import Node
    from builders.kept_node import plain
    from builders.phase_types import Type

    if isinstance(value, (Node, Type)):
        return plain(value) if isinstance(value, Node) else str(value)
    if is_dataclass(value):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: _plain(inner) for name, inner in found.items() if inner is not None}
    if isinstance(value, (Enum, Path)):
        return value.value if isinstance(value, Enum) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def find_recipe(site: Site, name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        InputError: there is none; names the nearest.
    """
    from difflib import get_close_matches

    if name in site.recipes:
        return site.recipes[name]
    near = get_close_matches(name, site.recipes, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "sealift list"
    raise InputError(f"there is no recipe {name!r}", hint=hint)


@click.command()
@click.argument("name", shell_complete=recipe_names)
@click.pass_obj
def log(location: Location, name: str) -> None:
    """Print the newest build log of a recipe or of a step, kept also on failure.

    On a terminal without control characters and with long lines cut; elsewhere as it is.
    """
    from builders.logs import newest_log, quote

    with location.open() as site:
        file = newest_log(site.store, name)
        if file is None:
            find_recipe(site, name.partition(":")[0])
            raise InputError(f"there is no build log of {name!r}", hint=f"sealift build {name}")
        if not sys.stdout.isatty():
            with file.open("rb") as raw:
                shutil.copyfileobj(raw, sys.stdout.buffer)
            return
        with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
            for line in stream:
                click.echo(quote(line))


@click.command("path-info")
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME|PATH...", shell_complete=recipe_names
)
@click.option("--closure", is_flag=True, help="Also all that it refers to.")
@click.option("--size", is_flag=True, help="Sizes, and their sum.")
@as_json
@click.pass_obj
def path_info(
    location: Location, names: tuple[str, ...], *, closure: bool, size: bool, as_json: bool
) -> None:
    """Show store paths: hash, size, references."""
    with location.open() as site:
        paths = [site.path(name) for name in names]
        infos = site.store.closure(paths)
        if not closure:
            infos = [info for info in infos if info.path in paths]
        if as_json:
            for info in infos:
                click.echo(json.dumps(info.to_json()))
            return
        for info in infos:
            shown = f"{info.nar_size:>14,}  " if size else ""
            click.echo(f"{shown}{site.store.real(info.path)}")
        if size and len(infos) > 1:
            click.echo(f"{sum(info.nar_size for info in infos):>14,}  in {len(infos)} paths")


@click.command("why-depends")
@click.argument("what", metavar="NAME|PATH", shell_complete=recipe_names)
@click.argument("needed", metavar="NAME|PATH", shell_complete=recipe_names)
@click.pass_obj
def why_depends(location: Location, what: str, needed: str) -> None:
    """Show the shortest chain of references from one store path to another."""
    from store.closure import why_depends as chain

    with location.open() as site:
        top, bottom = site.path(what), site.path(needed)
        found = chain(top, bottom, site.store.info)
        if not found:
            raise InputError(f"{what} does not depend on {needed}")
        for depth, path in enumerate(found):
            click.echo(f"{'  ' * depth}{'→ ' if depth else ''}{site.store.real(path)}")
