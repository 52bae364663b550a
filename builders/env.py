"""Kind `env`: locked wheels joined into one environment with an interpreter.

With a source, which is a Python project, the project's own wheel is joined as well. An environment
is also a part of every Python service: one `sys.path` entry, whatever its packages. How the links
lie is for `builders/scripts/env.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builders import linkage, project_wheel, sdist, wheel
from builders.lock_files import lock_file
from builders.python_lock import load, requirements_of, target_of
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.build import Build
    from builders.project import Project
    from builders.python_lock import PythonLock
    from builders.recipe import Recipe
    from builders.requirements import Requirements
    from builders.step import SourceTree

VERSION = 2
GUNICORN_MODULES = ("gunicorn.app.wsgiapp", "gunicorn.workers.gthread")
"""What a service that gunicorn runs loads besides its own code."""
_OWN = "project"
"""The role of the project's own wheel; no package's, whose roles have a prefix."""


def plan(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a recipe of kind `env`.

    Raises:
        LockError: the lock is missing, stale or not one.
        InputError: a project has no environment to be built in.
    """
    requirements, lock = locked(recipe, None, project)
    wheels = sdist.plan(recipe, lock.packages, project)
    joined = step(recipe, lock, requirements, key=recipe.name)
    if source is None:
        return (*wheels, joined)
    project_wheel.check(recipe, project)
    tree = project_wheel.tree_step(recipe)
    own = replace(joined, inputs={**joined.inputs, _OWN: tree.key})
    return (*wheels, project_wheel.wheel_step(recipe, source), tree, own)


def locked(
    recipe: Recipe, source: SourceTree | None, project: Project
) -> tuple[Requirements, PythonLock]:
    """Return what a recipe asks for, and the lock that answers it.

    Raises:
        LockError: the lock is missing, stale or not one.
    """
    requirements = requirements_of(recipe, source)
    file = lock_file(recipe, project.settings)
    lock = load(file, requirements, target_of(recipe, project), name=recipe.name)
    packages = sdist.placed(lock.packages, recipe, project)
    return requirements, replace(lock, packages=packages)


def step(recipe: Recipe, lock: PythonLock, requirements: Requirements, *, key: str) -> Step:
    """Make the step that joins a lock's wheels."""
    names = [pinned.name for pinned in lock.packages]
    return Step(
        key=key,
        name=store_name(key),
        recipe=recipe.name,
        builder="env",
        version=VERSION,
        inputs={**wheel.tools(recipe), **wheel.unpacked(recipe, lock.packages)},
        arguments={
            "packages": {pinned.name: pinned.version for pinned in lock.packages},
            "smoke": sorted(requirements.names.intersection(names)),
            "modules": list(GUNICORN_MODULES) if "gunicorn" in names else [],
        },
        script="env.py",
    )


def build(build: Build) -> None:
    """Join the wheels, and import what the recipe asks for.

    Raises:
        BuildError: a package imports what is not there.
        OwnGlibcError: a library needs a later glibc than the interpreter's own.
    """
    arguments = build.step.arguments
    own = [_OWN] if _OWN in build.inputs else []
    build.run_script(
        {
            "python": build.inside(build.inputs["python"]),
            "wheels": _wheels(build),
            "smoke": [*arguments["smoke"], *own],
            "modules": arguments["modules"],
            "about": {
                "format": 1,
                "name": build.step.key,
                "env": {"packages": arguments["packages"]},
                **_needs(build),
            },
            "out": build.inside(build.out),
        }
    )


def _needs(build: Build) -> dict[str, str | None]:
    """Say which glibc the wheels and the interpreter ask for; warn of what else a head must have.

    No error: a wheel may hold a library that the service never loads.
    """
    python = build.inputs["python"]
    files = linkage.elf_files(map(Path, wheel.unpacked_inputs(build).values()))
    for library, user in linkage.missing(files, python):
        build.log.write(f"warning: {user} needs {library}, which only the head can have\n")
    return linkage.need(files, python, where=build.step.recipe)


def _wheels(build: Build) -> Sequence[tuple[str, str]]:
    """Give the unpacked wheels by name; the project's own comes last, so that it hides none."""
    own = [(_OWN, build.inside(build.inputs[_OWN]))] if _OWN in build.inputs else []
    return [*sorted(wheel.unpacked_inputs(build).items()), *own]
