"""Kind `phase`: for each host one store path, with the files of a phase and what it wants there.

Files are rendered while this is planned, so their text is part of what names the path: what would
change nothing on a host, builds nothing for it. Laying them is for `deploy.install`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from builders.apt_base import load
from builders.fields import RecipeError
from builders.phase_render import ROOT, configure
from builders.phases import FILE, SET, chosen, resolve
from builders.recipe import Kind
from builders.recipe_checks import said_at
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe, Web
    from builders.step import SourceTree

VERSION = 2
FORMAT = 1
EXECUTABLE = 0o111


def plan(recipe: Recipe, _source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Return a step for each host, and one that joins them under the recipe's name.

    Raises:
        NoClusterError: the site has no cluster, or leaves the phase out.
        RecipeError: a parameter or a template cannot be used.
        LockError: the lock of the set of packages is missing or stale.
    """
    steps = tuple(_steps(recipe, project))
    hosts = {step.arguments["about"]["host"]: step.key for step in steps}
    joined = Step(
        key=recipe.name,
        name=store_name(f"phase-{recipe.name}"),
        recipe=recipe.name,
        builder="phase-hosts",
        version=VERSION,
        inputs=hosts,
    )
    return (*steps, joined)


def _steps(recipe: Recipe, project: Project) -> list[Step]:
    phases = resolve(project)
    phase, cluster = chosen(phases, recipe, project)
    packages, web = _packages(recipe, project), _web(project)
    inputs = {SET: recipe.inputs[SET]} if packages else {}
    found = []
    for host in phase.hosts:
        made = configure(phase, host, phases, cluster, web)
        found.append(
            Step(
                key=f"{recipe.name}:{host.name}",
                name=store_name(f"phase-{recipe.name}-{host.name}"),
                recipe=recipe.name,
                builder="phase",
                version=VERSION,
                inputs=inputs,
                arguments={
                    "about": dict(made.about),
                    "packages": packages,
                    "texts": dict(made.texts),
                },
            )
        )
    return found


def _web(project: Project) -> list[Web]:
    releases = (each for each in project.recipes.values() if each.kind is Kind.RELEASE)
    return [each.options["web"] for each in releases]


def _packages(recipe: Recipe, project: Project) -> dict[str, str]:
    """Return the versions of the phase's packages; those that the base system has are left out."""
    wanted = recipe.options["packages"]
    if not wanted:
        return {}
    lock = load(project.recipes[recipe.inputs[SET]], project.settings)
    present = lock.asked.present if lock.asked else {}
    provided = lock.asked.provided if lock.asked else {}
    found = {}
    for name in wanted:
        real = provided.get(name, name)
        if real in lock.packages:
            found[real] = lock.packages[real].version
        elif name not in present:
            raise _not_in_set(name, recipe)
    return found


def _not_in_set(name: str, recipe: Recipe) -> RecipeError:
    held = recipe.inputs[SET]
    return RecipeError(
        f"phase {recipe.name} wants {name}, which the set {held} does not hold",
        where=said_at(recipe, "packages"),
        hint=f"name it under `packages` of {held}, then: sealift lock {held}",
    )


def build(build: Build) -> None:
    """Write what a phase wants of a host, and its files."""
    arguments = build.step.arguments
    build.out.mkdir()
    modes = {file["path"]: int(file["mode"], 8) for file in arguments["about"]["files"]}
    for path, text in arguments["texts"].items():
        place = build.out / f"{ROOT}{path}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        if modes[path] & EXECUTABLE:
            # A head links to it as it is.
            place.chmod(place.stat().st_mode | EXECUTABLE)
    document = {"format": FORMAT, **arguments["about"], "packages": _set(build, arguments)}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (build.out / FILE).write_text(text, encoding="utf-8")


def _set(build: Build, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    names = arguments["packages"]
    return {"set": str(build.inputs[SET]), "names": names} if names else None


def build_hosts(build: Build) -> None:
    """Link what a phase wants of each of its hosts."""
    build.out.mkdir()
    for host, path in sorted(build.inputs.items()):
        (build.out / host).symlink_to(path)
