"""Check recipes against each other: that inputs exist, no circles, one claim to a port or route."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from builders.document import load
from builders.fields import RecipeError, mapping, nearest
from builders.recipe import Certificate, Kind, Recipe
from builders.recipe_kinds import DEFAULT_INPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WEB_SERVER = "nginx"
"""What the web server is called among the services."""
_OTHER_PORT = re.compile(r"\{port:([^{}]*)\}")
_OWN = "copy toolchains/, services/ and their locks/ from sealift's own recipes/"


def check(recipes: Mapping[str, Recipe]) -> None:
    """Check all recipes of a project.

    Raises:
        RecipeError: see `builders.loader.load_recipes`.
    """
    for recipe in recipes.values():
        _check_inputs(recipe, recipes)
    _check_circles(recipes)
    for recipe in recipes.values():
        if recipe.kind is Kind.RELEASE:
            _check_release(recipe, recipes)


def members(release: Recipe, recipes: Mapping[str, Recipe]) -> Sequence[str]:
    """Return what a release joins: what it names, or every recipe that runs or is shown."""
    named: Sequence[str] | None = release.options.get("services")
    return sorted(name for name in recipes if _runs(recipes[name])) if named is None else named


def _runs(recipe: Recipe) -> bool:
    return recipe.service is not None or bool(recipe.routes)


def _check_inputs(recipe: Recipe, recipes: Mapping[str, Recipe]) -> None:
    for part, name in recipe.inputs.items():
        if name not in recipes:
            raise RecipeError(
                f"recipe {recipe.name!r} needs {name!r} as its {part}, and there is no such recipe",
                where=said_at(recipe, "inputs", part),
                hint=_OWN if name in DEFAULT_INPUTS else nearest(name, recipes.keys()),
            )


def _check_circles(recipes: Mapping[str, Recipe]) -> None:
    needs = {name: set(recipe.inputs.values()) for name, recipe in recipes.items()}
    for name, recipe in recipes.items():
        if recipe.kind is Kind.RELEASE:
            needs[name].update(members(recipe, recipes))
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as fault:
        # The sorter names what is needed before what needs it; people read it the other way.
        circle: list[str] = fault.args[1][::-1]
        roles = [role for role, name in recipes[circle[0]].inputs.items() if name == circle[1]]
        raise RecipeError(
            f"recipes need each other in a circle: {' → '.join(circle)}",
            where=said_at(recipes[circle[0]], "inputs", *roles[:1]),
            hint="take one of these inputs out",
        ) from None


def _check_release(release: Recipe, recipes: Mapping[str, Recipe]) -> None:
    claims: dict[str, str] = {}
    for name in members(release, recipes):
        if name not in recipes or not _runs(recipes[name]):
            what = "has neither `service` nor `route`" if name in recipes else "does not exist"
            raise RecipeError(
                f"release member {name!r} {what}",
                where=said_at(release, "services"),
                hint=nearest(name, [other for other in recipes if _runs(recipes[other])]),
            )
        for claim in _claims(recipes[name]):
            if claim in claims:
                raise _clash(claim, recipes[claims[claim]], recipes[name])
            claims[claim] = name
    found = [recipes[name] for name in members(release, recipes)]
    _check_ports(found)
    _check_pairs(found)


def _check_ports(found: Sequence[Recipe]) -> None:
    """Refuse `{port:NAME}` of a service that the release does not have."""
    names = {_WEB_SERVER, *(recipe.name for recipe in found if recipe.service)}
    for recipe in found:
        service = recipe.service
        words = (*service.command, *service.env.values()) if service else ()
        for name in (name for word in words for name in _OTHER_PORT.findall(word)):
            if name not in names:
                raise RecipeError(
                    f"{recipe.name!r} asks for the port of {name!r}, which is not in the release",
                    where=said_at(recipe, "service"),
                    expected=f"one of {', '.join(sorted(names))}",
                    hint=nearest(name, names),
                )


def _check_pairs(found: Sequence[Recipe]) -> None:
    """Refuse services that mean different certificates, or different keys, by one name."""
    pairs: dict[str, tuple[Certificate, Recipe]] = {}
    for recipe in found:
        for pair in recipe.service.certificates if recipe.service else ():
            for name in (pair.certificate, pair.key) if pair.key else ():
                known, other = pairs.setdefault(str(name), (pair, recipe))
                if known != pair:
                    raise RecipeError(
                        f"the secret {name} is of one pair in {other.name!r}"
                        f" and of another in {recipe.name!r}",
                        where=said_at(recipe, "service", "secrets"),
                        got=f"also at {other.file}",
                        hint="declare the pair once; the other service names"
                        f" `certificate: {pair.certificate}` alone",
                    )


def _claims(recipe: Recipe) -> list[str]:
    """Return what only one member of a release can have."""
    if recipe.service is None:
        return [f"route {route.path}" for route in recipe.routes]
    routes = [f"route {route.path}" for route in recipe.service.routes]
    return [f"port {recipe.service.port}", *routes]


def _clash(claim: str, one: Recipe, other: Recipe) -> RecipeError:
    key = claim.partition(" ")[0]
    place = said_at(other, "service", key) if other.service else said_at(other, key)
    return RecipeError(
        f"{claim} is claimed by {one.name!r} and by {other.name!r}",
        where=place,
        got=f"also at {one.file}",
        hint="change one, or name the members in the release: services: […]",
    )


def said_at(recipe: Recipe, *keys: str) -> str:
    """Find again where something is said, or would be; only errors ask."""
    try:
        node = load(recipe.file)
    except RecipeError:  # it changed since
        return str(recipe.file)
    for key in keys:
        inner = mapping(node).get(key)
        if inner is None:
            break
        node = inner
    return node.where
