"""`sealift lock`: pin what recipes ask for, from the registries, into files that are committed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sealift.complete import recipe_names

if TYPE_CHECKING:
    from pathlib import Path

    from builders.recipe import Recipe
    from sealift.site import Location, Site


@click.command()
@click.argument("names", nargs=-1, shell_complete=recipe_names)
@click.option("--check", is_flag=True, help="Write nothing; fail if a lock would change.")
@click.pass_obj
def lock(location: Location, names: tuple[str, ...], *, check: bool) -> int:
    """Resolve recipes against the registries and write their locks; all by default."""
    from builders.kinds import LOCKERS
    from builders.lock_files import lock_file

    with location.open() as site:
        wanted = [_recipe(site, name) for name in names] or list(site.recipes.values())
        changed = 0
        for recipe in wanted:
            if recipe.kind not in LOCKERS:
                continue
            file = lock_file(recipe, site.settings)
            text = LOCKERS[recipe.kind](recipe, site.source(recipe), site.project)
            changed += _write(file, text, recipe, check=check)
        return 1 if check and changed else 0


def _write(file: Path, text: str, recipe: Recipe, *, check: bool) -> bool:
    """Replace the lock at once, if it differs; say which."""
    before = file.read_text() if file.exists() else ""
    if before == text:
        click.echo(f"unchanged {recipe.name}", err=True)
        return False
    added, removed = _difference(before, text)
    verb = "would change" if check else "locked"
    click.echo(f"{verb:<9} {recipe.name}: {added} lines more, {removed} less", err=True)
    if not check:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}-{os.getpid()}")
        fresh.write_text(text)
        fresh.replace(file)
    return True


def _difference(before: str, after: str) -> tuple[int, int]:
    old, new = set(before.splitlines()), set(after.splitlines())
    return len(new - old), len(old - new)


def _recipe(site: Site, name: str) -> Recipe:
    from sealift.commands.look import find_recipe

    return find_recipe(site, name)
