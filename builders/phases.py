"""Which phases take part for a site, on which hosts, and with which parameters.

Decides only, from recipes and settings. What becomes of texts is for `builders.phase_render`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from builders.fields import RecipeError, mapping, nearest
from builders.kept_node import from_json
from builders.phase_types import Sort
from builders.phase_values import Reading, read
from builders.recipe import Kind
from builders.recipe_checks import said_at
from builders.settings_cluster import PHASE
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.cluster import Cluster, ClusterHost
    from builders.fields import Node
    from builders.project import Project
    from builders.recipe import Recipe

FILE = "phase.json"
"""What says all that a phase wants of a host, beside its files."""
SET = "packages"
"""The role of the set of packages that a phase installs from."""


class NoClusterError(InputError):
    """A phase of a site that has no cluster, or that leaves the phase out."""

    slug = "no-cluster"


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase as a site has it: `hosts` in their order, `secrets` by name with what each is.

    `after` are those that must be verified before, as far as the site has them.
    """

    recipe: Recipe
    number: int
    hosts: tuple[ClusterHost, ...]
    parameters: Mapping[str, Any]
    secrets: Mapping[str, str]
    after: tuple[str, ...]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name


def taking_part(project: Project) -> tuple[str, ...]:
    """Name the phases that the site has, in the order of their numbers.

    Raises:
        RecipeError: two recipes make one phase; the settings name one that there is not.
    """
    recipes = _recipes(project)
    cluster = project.cluster
    if cluster is None:
        return ()
    for name in cluster.phases:
        if name not in {recipe.name for recipe in recipes}:
            known = [recipe.name for recipe in recipes]
            raise RecipeError(
                f"there is no phase {name!r}",
                where=f"{cluster.file}: cluster.phases.{name}",
                expected=f"one of {', '.join(known)}" if known else "a recipe of kind phase",
                hint=nearest(name, known),
            )
    return tuple(recipe.name for recipe in recipes if not _left_out(recipe.name, cluster))


def idle(project: Project) -> frozenset[str]:
    """Name the recipes that only phases could want that the site does not have."""
    has = taking_part(project)
    absent = [each for each in _recipes(project) if each.name not in has]
    wanted = {name for phase in has for name in project.recipes[phase].inputs.values()}
    sets = {each.inputs[SET] for each in absent if SET in each.inputs} - wanted
    return frozenset(each.name for each in absent) | sets


def resolve(project: Project) -> Mapping[str, Phase]:
    """Return the phases that the site has, in the order of their numbers.

    Raises:
        RecipeError: a parameter is not what its type wants, is unknown or is missing.
    """
    names = taking_part(project)
    if project.cluster is None:
        return MappingProxyType({})
    found = {name: _phase(project.recipes[name], project.cluster, names) for name in names}
    return MappingProxyType(found)


def chosen(phases: Mapping[str, Phase], recipe: Recipe, project: Project) -> tuple[Phase, Cluster]:
    """Return the phase that a recipe makes, and the cluster that it is for.

    Raises:
        NoClusterError: the site has it not.
    """
    file = project.settings.file
    if project.cluster is not None and recipe.name in phases:
        return phases[recipe.name], project.cluster
    if project.cluster is None:
        hint = "say which hosts it has: cluster: {hosts: head[1-3]}"
        reason = f"phase {recipe.name} has no cluster to be for"
        raise NoClusterError(reason, where=str(file), hint=hint)
    raise NoClusterError(
        f"the site leaves phase {recipe.name} out",
        where=f"{file}: cluster.phases.{recipe.name}",
        hint="take `false` away there",
    )


def _recipes(project: Project) -> Sequence[Recipe]:
    found = [recipe for recipe in project.recipes.values() if recipe.kind is Kind.PHASE]
    ordered = sorted(found, key=lambda recipe: (recipe.options["number"], recipe.name))
    for one, other in pairwise(ordered):
        if one.options["number"] == other.options["number"]:
            raise RecipeError(
                f"{one.name} and {other.name} are both phase {one.options['number']}",
                where=said_at(other, "number"),
                hint="a number is of one phase",
            )
    for recipe in ordered:
        _check(recipe, {each.name: each.options["number"] for each in ordered}, project)
    return ordered


def _check(recipe: Recipe, numbers: Mapping[str, int], project: Project) -> None:
    if PHASE.match(recipe.name) is None:
        raise RecipeError(
            f"{recipe.name!r} is no name of a phase",
            where=str(recipe.file),
            hint="lower-case letters, digits, _ and -: rename the file",
        )
    for other in recipe.options["after"]:
        if numbers.get(other, recipe.options["number"]) >= recipe.options["number"]:
            what = "is none that comes before" if other in numbers else "does not exist"
            reason = f"phase {recipe.name} is after {other!r}, which {what}"
            hint = nearest(other, list(numbers))
            raise RecipeError(reason, where=said_at(recipe, "after"), hint=hint)
    _check_hosts(recipe)
    _check_set(recipe, project)


def _check_hosts(recipe: Recipe) -> None:
    name = recipe.options.get("hosts")
    known = recipe.options["parameters"]
    if name is not None and (name not in known or known[name].type.sort is not Sort.HOSTS):
        raise RecipeError(
            f"{name!r} is no parameter that says which hosts",
            where=said_at(recipe, "hosts"),
            expected="the name of a parameter of type hosts",
        )


def _check_set(recipe: Recipe, project: Project) -> None:
    known = project.recipes.get(recipe.inputs.get(SET, ""))
    if recipe.options["packages"] and (known is None or known.kind is not Kind.APT):
        raise RecipeError(
            f"phase {recipe.name} has packages, and no set that they are of",
            where=said_at(recipe, "inputs", SET),
            expected="inputs: {packages: NAME}, of a recipe of kind apt",
        )


def _left_out(name: str, cluster: Cluster) -> bool:
    said = cluster.phases.get(name)
    return said is not None and said["sort"] == "bool"


def _phase(recipe: Recipe, cluster: Cluster, names: Sequence[str]) -> Phase:
    reading = Reading(cluster.select, dict(recipe.options["secrets"]))
    declared = recipe.options["parameters"]
    given = _given(recipe, cluster)
    where = f"{cluster.file}: cluster.phases.{recipe.name}"
    values = {name: read(declared[name], given.get(name), reading, where) for name in declared}
    return Phase(
        recipe,
        number=recipe.options["number"],
        hosts=_hosts(recipe, values, cluster),
        parameters=MappingProxyType(values),
        secrets=MappingProxyType(reading.secrets),
        after=tuple(name for name in recipe.options["after"] if name in names),
    )


def _given(recipe: Recipe, cluster: Cluster) -> Mapping[str, Node]:
    said = cluster.phases.get(recipe.name)
    if said is None or said["sort"] == "null":
        return {}
    return mapping(from_json(said, cluster.file), list(recipe.options["parameters"]))


def _hosts(recipe: Recipe, values: Mapping[str, Any], cluster: Cluster) -> tuple[ClusterHost, ...]:
    named = values.get(recipe.options.get("hosts", ""))
    return tuple(host for host in cluster.hosts if named is None or host.name in named)
