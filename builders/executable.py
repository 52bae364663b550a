"""Kind `executable`: a Python project as one file that needs no Python, and as wheel, PEX and shiv.

The one file is a static launcher, the interpreter's tree and the project's PEX, in this order. At
its first start it unpacks both into the user's cache and from then on runs from there; how is said
in `builders/launcher`. It ends with the PEX, so `python FILE` runs it as well.

Inputs in further roles are packages of kind `deb` that the one file carries, each in a folder of
its role's name below the interpreter, for machines that lack their programs.

Steps on top of its wheels: their environment, where they are seen to import; the project's own
wheel, by its own build backend; the launcher; and the join.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from builders import elf, env, project_wheel, sdist, wheel
from builders.python_lock import LockError
from builders.recipe import Kind
from builders.requirements import normalise
from builders.roles import filler
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.build import Build
    from builders.project import Project
    from builders.python_lock import PythonLock
    from builders.recipe import Recipe
    from builders.step import SourceTree

LAUNCHER = Path(__file__).resolve().parent / "launcher"

_KINDS = {"tools": Kind.ENV, "compiler": Kind.DEB}
"""What the inputs besides the interpreter must be."""
_ROLES = frozenset({*_KINDS, "base", "build", "python"})
CARRIED = "carried:"


def plan(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a project.

    Raises:
        InputError: a recipe that it is made with is missing, or of another kind.
        LockError: the lock is missing, stale or not one, or lacks a package of `pure`.
    """
    for role, kind in _KINDS.items():
        filler(recipe, role, kind, project, missing=f"{recipe.name} needs {role}: no recipe")
    for role in _carried(recipe):
        filler(recipe, role, Kind.DEB, project, missing=f"{recipe.name} carries {role}: no recipe")
    project_wheel.check(recipe, project)
    requirements, lock = env.locked(recipe, source, project)
    return (
        *sdist.plan(recipe, lock.packages, project),
        env.step(recipe, lock, requirements, key=f"{recipe.name}:env"),
        project_wheel.wheel_step(recipe, source),
        _launcher(recipe),
        _final(recipe, lock),
    )


def _launcher(recipe: Recipe) -> Step:
    return Step(
        key=f"{recipe.name}:launcher",
        name=store_name(f"{recipe.name}-launcher"),
        recipe=recipe.name,
        builder="launcher",
        inputs={"python": recipe.inputs["python"], "base": recipe.inputs["compiler"]},
        arguments={"command": _command(recipe), "variable": _variable(recipe), "code": _code()},
        script="launcher.py",
    )


def _final(recipe: Recipe, lock: PythonLock) -> Step:
    return Step(
        key=recipe.name,
        name=store_name(recipe.name),
        recipe=recipe.name,
        builder="executable",
        inputs={
            **wheel.tools(recipe),
            "tools": recipe.inputs["tools"],
            "env": f"{recipe.name}:env",
            "project": f"{recipe.name}:wheel",
            "launcher": f"{recipe.name}:launcher",
            **{f"{CARRIED}{role}": recipe.inputs[role] for role in _carried(recipe)},
            **wheel.files(lock.packages),
            **wheel.unpacked(recipe, lock.packages),
        },
        arguments={
            "name": recipe.name,
            "command": _command(recipe),
            "variable": _variable(recipe),
            "filenames": {pinned.name: pinned.filename for pinned in lock.wheels},
            "pure": _pure(recipe, lock),
        },
        script="executable.py",
    )


def _carried(recipe: Recipe) -> list[str]:
    """List the roles whose packages the one file brings along."""
    return sorted(recipe.inputs.keys() - _ROLES)


def _command(recipe: Recipe) -> str:
    return str(recipe.options.get("command", recipe.name))


def _variable(recipe: Recipe) -> str:
    """Name the variable that says where the one file unpacks itself."""
    return re.sub(r"[^A-Z0-9]", "_", _command(recipe).upper()) + "_CACHE"


def _pure(recipe: Recipe, lock: PythonLock) -> list[str]:
    names = sorted({normalise(name) for name in recipe.options["pure"]})
    for name in names:
        if name not in {pinned.name for pinned in lock.packages}:
            reason = f"{recipe.name}: `pure` names {name!r}, which is not locked"
            raise LockError(reason, where=str(recipe.file))
    return names


def _code() -> Mapping[str, str]:
    files = sorted([*LAUNCHER.glob("*.c"), *LAUNCHER.glob("*.h")])
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def build_launcher(build: Build) -> None:
    """Compile the launcher.

    Raises:
        BuildError: it does not compile, or the interpreter is not one that any machine can run.
    """
    build.run_script(
        {
            **build.step.arguments,
            "python": build.inside(build.inputs["python"]),
            "glibc": _glibc(build),
            "work": build.inside(build.work / "code"),
            "out": build.inside(build.out),
        }
    )


def _glibc(build: Build) -> str:
    """Return the oldest glibc that the interpreter runs on."""
    needed = _glibc_of(build.inputs["python"])
    if needed is None:
        raise build.error("the interpreter does not say which glibc it needs")
    return needed


def _glibc_of(path: Path) -> str | None:
    version = json.loads((path / "sealift.json").read_text(encoding="utf-8")).get("glibc")
    return None if version is None else str(version)


def _carried_packages(build: Build) -> dict[str, str]:
    """Return role → place of the packages that are brought along.

    Raises:
        BuildError: one asks for a later glibc than the interpreter, for which the launcher looks.
    """
    enough = _glibc_of(build.inputs["python"])
    found = {}
    for role, path in build.inputs.items():
        if role.startswith(CARRIED):
            needed = _glibc_of(path)
            if elf.highest([needed, enough]) != enough:
                name = role.removeprefix(CARRIED)
                raise build.error(f"{name} asks for glibc {needed}, the interpreter for {enough}")
            found[role.removeprefix(CARRIED)] = build.inside(path)
    return found


def build(build: Build) -> None:
    """Make the PEX, the shiv archive and the one file, and start each once.

    Raises:
        BuildError: one of them cannot be made, or does not start.
    """
    arguments = build.step.arguments
    names = wheel.filenames(build)
    build.run_script(
        {
            "name": arguments["name"],
            "command": arguments["command"],
            "variable": arguments["variable"],
            "pure": arguments["pure"],
            "python": build.inside(build.inputs["python"]),
            "tools": build.inside(build.inputs["tools"]),
            "env": build.inside(build.inputs["env"]),
            "project": build.inside(build.inputs["project"]),
            "launcher": build.inside(build.inputs["launcher"]),
            "carried": _carried_packages(build),
            "files": {names[name]: path for name, path in wheel.file_inputs(build).items()},
            "wheels": {names[name]: path for name, path in wheel.unpacked_inputs(build).items()},
            "work": build.inside(build.work / "parts"),
            "out": build.inside(build.out),
        },
        # Everything is packed and unpacked some times over; in memory that takes half the time.
        scratch=[build.work / "parts"],
    )
