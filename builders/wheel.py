"""The step `wheel`: one locked wheel, unpacked and compiled, shared by all who need it.

It is fetched, or built from its sdist by `builders.sdist`. The tree is what an installer makes of
the wheel; `builders/scripts/wheel.py` says how. Joining wheels is for `builders.env`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builders.python_pins import Wheel
from builders.recipe import EMPTY
from builders.step import Download, Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builders.build import Build
    from builders.project import Project
    from builders.python_pins import Distribution
    from builders.recipe import Recipe

TOOLS = ("python", "base")
"""Roles that a step needs to run a script in the sandbox."""
_PREFIX = "wheel."
_FILE = "file."


def plan(recipe: Recipe, wheels: Sequence[Wheel], project: Project) -> tuple[Step, ...]:
    """Plan the fetch and the unpacking of each wheel."""
    files = project.settings.mirrors.pypi_files
    return tuple(
        step for wheel in wheels for step in (fetch(wheel, recipe, files), unpack(wheel, recipe))
    )


def build(build: Build) -> None:
    """Unpack the wheel and compile it.

    Raises:
        BuildError: it has no safe meaning.
    """
    file = _file(build.inputs["file"])
    build.run_script(
        {
            "wheel": build.inside(file),
            "filename": build.step.arguments.get("filename", file.name),
            "out": build.inside(build.out),
        }
    )


def unpacked(recipe: Recipe, packages: Sequence[Distribution]) -> dict[str, str]:
    """Give each unpacked wheel a role."""
    return {f"{_PREFIX}{pinned.name}": key(pinned, recipe) for pinned in packages}


def files(packages: Sequence[Distribution]) -> dict[str, str]:
    """Give each wheel's file a role."""
    return {f"{_FILE}{pinned.name}": file_key(pinned) for pinned in packages}


def unpacked_inputs(build: Build) -> dict[str, str]:
    """Return name → place of the unpacked wheels among a build's inputs."""
    return {name: build.inside(path) for name, path in _inputs(build, _PREFIX)}


def file_inputs(build: Build) -> dict[str, str]:
    """Return name → place of the wheels' files among a build's inputs."""
    return {name: build.inside(_file(path)) for name, path in _inputs(build, _FILE)}


def filenames(build: Build) -> dict[str, str]:
    """Return name → file name of the wheels: as locked, or as they were built."""
    locked = build.step.arguments["filenames"]
    return {name: locked.get(name, _file(path).name) for name, path in _inputs(build, _FILE)}


def tools(recipe: Recipe) -> dict[str, str]:
    """Return the inputs that a script in the sandbox needs."""
    return {role: recipe.inputs[role] for role in TOOLS if role in recipe.inputs}


def fetch(pinned: Distribution, recipe: Recipe, files: str) -> Step:
    """Plan the fetch of a locked file, from a mirror of the files."""
    return Step(
        key=fetch_key(pinned),
        name=store_name(pinned.filename),
        recipe=recipe.name,
        builder="fetch",
        download=Download((pinned.address(files),), pinned.integrity, pinned.size),
    )


def unpack(pinned: Distribution, recipe: Recipe) -> Step:
    """Plan the unpacking of a wheel; what one that is built here is called shows when it is."""
    return Step(
        key=key(pinned, recipe),
        name=store_name(f"{pinned.name}-{pinned.version}"),
        recipe=recipe.name,
        builder="wheel",
        inputs={"file": file_key(pinned), **tools(recipe)},
        arguments={"filename": pinned.filename} if isinstance(pinned, Wheel) else EMPTY,
        script="wheel.py",
    )


def fetch_key(pinned: Distribution) -> str:
    """Name the fetch of a locked file."""
    return f"fetch:{pinned.integrity}"


def file_key(pinned: Distribution) -> str:
    """Name the step that has a wheel's file: that fetches, or builds it."""
    return fetch_key(pinned) if isinstance(pinned, Wheel) else pinned.step


def key(pinned: Distribution, recipe: Recipe) -> str:
    """Name the unpacking by all that decides it, so that equal keys mean equal steps."""
    decisive = pinned.sha256 if isinstance(pinned, Wheel) else pinned.step
    parts = [decisive, *(f"{role}={name}" for role, name in sorted(tools(recipe).items()))]
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    return f"wheel:{pinned.name}-{pinned.version}-{digest[:12]}"


def _inputs(build: Build, prefix: str) -> list[tuple[str, Path]]:
    roles = sorted(role for role in build.inputs if role.startswith(prefix))
    return [(role.removeprefix(prefix), build.inputs[role]) for role in roles]


def _file(path: Path) -> Path:
    """Return the file of a wheel: what was fetched, or what lies where it was built."""
    return next(path.glob("*.whl")) if path.is_dir() else path
