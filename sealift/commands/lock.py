"""`sealift lock`: pin what recipes ask for, from the registries, into files that are committed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sealift.complete import recipe_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.recipe import Recipe
    from sealift.site import Location, Site


@click.command()
@click.argument("names", nargs=-1, shell_complete=recipe_names)
@click.option("--check", is_flag=True, help="Write nothing; fail if a lock would change.")
@click.pass_obj
def lock(location: Location, names: tuple[str, ...], *, check: bool) -> int:
    """Resolve recipes against the registries and write their locks; all by default."""
    from builders.lock import lock as locked

    with location.open() as site:
        wanted = [_recipe(site, name) for name in names] or list(site.recipes.values())
        changed = 0
        for recipe in wanted:
            files = locked(recipe, site.source(recipe), site.project)
            # One with nothing to pin is not called unchanged.
            if files:
                changed += _write_all(files, recipe, check=check)
        return 1 if check and changed else 0


def _write_all(files: Mapping[Path, str | None], recipe: Recipe, *, check: bool) -> bool:
    """Replace the files that differ, and remove those that must not be there; say which."""
    changed = [file for file, text in files.items() if _before(file) != (text or "")]
    if not changed:
        click.echo(f"unchanged {recipe.name}", err=True)
    for file in changed:
        text = files[file] or ""
        added, removed = _difference(_before(file), text)
        verb = "would change" if check else "locked"
        told = f"{verb:<9} {recipe.name}: {file.name}, {added} lines more, {removed} less"
        click.echo(told, err=True)
        if not check:
            _write(file, text)
    return bool(changed)


def _before(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _write(file: Path, text: str) -> None:
    """Replace a lock at once; one without a text goes."""
    if not text:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}-{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(file)


def _difference(before: str, after: str) -> tuple[int, int]:
    old, new = set(before.splitlines()), set(after.splitlines())
    return len(new - old), len(old - new)


def _recipe(site: Site, name: str) -> Recipe:
    from sealift.commands.look import find_recipe

    return find_recipe(site, name)
