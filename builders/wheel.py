"""The step `wheel`: one locked wheel, fetched, unpacked and compiled, shared by all who need it.

The tree is what an installer makes of the wheel; `builders/scripts/wheel.py` says how. Joining
wheels is for `builders.env`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builders.step import Download, Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.build import Build
    from builders.project import Project
    from builders.python_lock import Wheel
    from builders.recipe import Recipe

TOOLS = ("python", "base")
"""Roles that a step needs to run a script in the sandbox."""
_PREFIX = "wheel."
_FILE = "file."


def plan(recipe: Recipe, wheels: Sequence[Wheel], project: Project) -> tuple[Step, ...]:
    """Plan the fetch and the unpacking of each wheel."""
    files = project.settings.mirrors.pypi_files
    return tuple(
        step for wheel in wheels for step in (_fetch(wheel, recipe, files), _unpack(wheel, recipe))
    )


def build(build: Build) -> None:
    """Unpack the wheel and compile it.

    Raises:
        BuildError: it has no safe meaning.
    """
    build.run_script(
        {
            "wheel": build.inside(build.inputs["file"]),
            "filename": build.step.arguments["filename"],
            "out": build.inside(build.out),
        }
    )


def unpacked(recipe: Recipe, wheels: Sequence[Wheel]) -> dict[str, str]:
    """Give each unpacked wheel a role."""
    return {f"{_PREFIX}{wheel.name}": _key(wheel, recipe) for wheel in wheels}


def files(wheels: Sequence[Wheel]) -> dict[str, str]:
    """Give each wheel's file a role."""
    return {f"{_FILE}{wheel.name}": _fetch_key(wheel) for wheel in wheels}


def unpacked_inputs(build: Build) -> dict[str, str]:
    """Return name → place of the unpacked wheels among a build's inputs."""
    return _inputs(build, _PREFIX)


def file_inputs(build: Build) -> dict[str, str]:
    """Return name → place of the wheels' files among a build's inputs."""
    return _inputs(build, _FILE)


def tools(recipe: Recipe) -> dict[str, str]:
    """Return the inputs that a script in the sandbox needs."""
    return {role: recipe.inputs[role] for role in TOOLS if role in recipe.inputs}


def _inputs(build: Build, prefix: str) -> dict[str, str]:
    found: Mapping[str, str] = {
        role.removeprefix(prefix): build.inside(path)
        for role, path in build.inputs.items()
        if role.startswith(prefix)
    }
    return dict(sorted(found.items()))


def _fetch(wheel: Wheel, recipe: Recipe, files: str) -> Step:
    return Step(
        key=_fetch_key(wheel),
        name=store_name(wheel.filename),
        recipe=recipe.name,
        builder="fetch",
        download=Download((wheel.address(files),), wheel.integrity, wheel.size),
    )


def _unpack(wheel: Wheel, recipe: Recipe) -> Step:
    return Step(
        key=_key(wheel, recipe),
        name=store_name(f"{wheel.name}-{wheel.version}"),
        recipe=recipe.name,
        builder="wheel",
        inputs={"file": _fetch_key(wheel), **tools(recipe)},
        arguments={"filename": wheel.filename},
        script="wheel.py",
    )


def _fetch_key(wheel: Wheel) -> str:
    return f"fetch:{wheel.integrity}"


def _key(wheel: Wheel, recipe: Recipe) -> str:
    """Name the step by all that decides it, so that equal keys mean equal steps."""
    parts = [wheel.sha256, *(f"{role}={name}" for role, name in sorted(tools(recipe).items()))]
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    return f"wheel:{wheel.name}-{wheel.version}-{digest[:12]}"
