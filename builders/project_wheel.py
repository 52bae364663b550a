"""A Python project's own wheel, built by the project's build backend out of a pinned environment.

Two steps: the wheel, which kind `executable` packs, and its tree, unpacked and compiled as those
that a lock pins, which kind `env` joins with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders import wheel
from builders.recipe import Kind
from builders.roles import filler
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

BUILD = "build"
"""The role of the environment that has the build backend."""


def check(recipe: Recipe, project: Project) -> None:
    """Refuse a recipe that has no environment to build its project in.

    Raises:
        InputError: the input `build` is missing, or is no environment.
    """
    filler(recipe, BUILD, Kind.ENV, project, missing=f"{recipe.name} needs {BUILD}: no recipe")


def wheel_step(recipe: Recipe, source: SourceTree | None) -> Step:
    """Plan the wheel."""
    return Step(
        key=f"{recipe.name}:wheel",
        name=store_name(f"{recipe.name}-wheel"),
        recipe=recipe.name,
        builder="project-wheel",
        inputs={**wheel.tools(recipe), BUILD: recipe.inputs[BUILD]},
        script="project_wheel.py",
        source=source,
    )


def tree_step(recipe: Recipe) -> Step:
    """Plan the wheel's tree."""
    return Step(
        key=f"{recipe.name}:project",
        name=store_name(f"{recipe.name}-project"),
        recipe=recipe.name,
        builder="project-tree",
        inputs={"file": f"{recipe.name}:wheel", **wheel.tools(recipe)},
        script="wheel.py",
    )


def build(build: Build) -> None:
    """Build the project's wheel with its own build backend, which must be there already.

    Raises:
        BuildError: the backend fails, or needs what the input `build` does not have.
    """
    source = build.source
    if source is None:
        raise build.error("the step has no source")
    build.run_script(
        {
            "tools": build.inside(build.inputs[BUILD]),
            "source": build.inside(source),
            "out": build.inside(build.out),
        }
    )
