"""What a shell may offer for a NAME; asked only while somebody presses the tab key.

Nothing is opened but the settings and the recipes; where those cannot be read there is nothing to
offer, and the command itself will say why.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import click

    from builders.recipe import Recipe


def recipe_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer recipes."""
    return _matching(_recipes(ctx), ctx, incomplete)


def targets(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer recipes, and all of them."""
    return _matching(["all", *_recipes(ctx)], ctx, incomplete)


def service_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer the services that a release may have, and the web server."""
    found = [name for name, recipe in _recipes(ctx).items() if recipe.service is not None]
    return _matching([*found, "nginx"], ctx, incomplete)


def phase_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer phases, and all of them; after a comma the next one."""
    from builders.recipe import Kind

    before, comma, last = incomplete.rpartition(",")
    found = [name for name, recipe in _recipes(ctx).items() if recipe.kind is Kind.PHASE]
    return [f"{before}{comma}{name}" for name in _matching(["all", *found], ctx, last)]


def _matching(names: Iterable[str], ctx: click.Context, incomplete: str) -> list[str]:
    given = {word for value in ctx.params.values() if isinstance(value, tuple) for word in value}
    return [name for name in names if name.startswith(incomplete) and name not in given]


def _recipes(ctx: click.Context) -> Mapping[str, Recipe]:
    from builders.loader import load_recipes
    from sealift.site import Location
    from store.errors import Error

    given = ctx.find_root().params
    with suppress(Error, OSError):
        place = Location(config=given.get("config"), sources=given.get("sources"))
        return load_recipes(place.settings().recipes_dir)
    return {}
