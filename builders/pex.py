"""Kind `pex`: a Python service as a PEX that lies unpacked in the store.

Three steps on top of its wheels: their environment, the PEX of the wheels alone, made by pex
itself, and the PEX with the service's own code, made without pex. A changed line of code changes
the last one only. The tree is started by its launcher, which unpacks, looks for and writes
nothing; that `python <path>` runs the same service is what makes it a PEX. Its entry point is
`builders/scripts/direct.py`, a file of the tree. That way of starting is PEX's own: it looks at
the interpreter once, for which it wants a writable PEX_ROOT or temporary folder (some 3 MB), and
takes 1.6 times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders import env, linkage, sdist, wheel
from builders.launch import (
    FLAGS,
    OWN_PATH,
    about,
    direct,
    entry_of,
    launch,
    state_links,
)
from builders.state_checks import check_state
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from builders.build import Build
    from builders.project import Project
    from builders.python_lock import PythonLock
    from builders.recipe import Recipe
    from builders.requirements import Requirements
    from builders.step import SourceTree


VERSION = 2


def plan(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a service.

    Raises:
        LockError: the lock is missing, stale or not one.
        InputError: the service is not one that Python runs, or its state cannot be laid.
    """
    requirements, lock = env.locked(recipe, source, project)
    return (
        *sdist.plan(recipe, lock.packages, project),
        env.step(recipe, lock, requirements, key=f"{recipe.name}:env"),
        _base(recipe, lock, requirements),
        _final(recipe, source, project),
    )


def _base(recipe: Recipe, lock: PythonLock, requirements: Requirements) -> Step:
    return Step(
        key=f"{recipe.name}:pex-base",
        name=store_name(f"{recipe.name}-pex-base"),
        recipe=recipe.name,
        builder="pex-base",
        inputs={
            **wheel.tools(recipe),
            "tools": recipe.inputs["tools"],
            **wheel.files(lock.packages),
            **wheel.unpacked(recipe, lock.packages),
        },
        arguments={
            "filenames": {pinned.name: pinned.filename for pinned in lock.wheels},
            "requirements": list(requirements.lines),
        },
        script="pex_base.py",
    )


def _final(recipe: Recipe, source: SourceTree | None, project: Project) -> Step:
    entry = entry_of(recipe)
    check_state(recipe, source, entry.files)
    serve = f"{OWN_PATH}/.sealift/serve.py"
    return Step(
        key=recipe.name,
        name=store_name(recipe.name),
        recipe=recipe.name,
        builder="pex",
        version=VERSION,
        inputs={
            **wheel.tools(recipe),
            "env": f"{recipe.name}:env",
            "pex-base": f"{recipe.name}:pex-base",
        },
        arguments={
            "about": about(recipe, (*FLAGS, serve, *entry.words, *entry.bind)),
            "launch": launch(recipe, entry),
            "direct": direct(recipe, project, entry.words),
            "start": entry.start,
            "config": entry.config,
            "smoke": recipe.options.get("smoke"),
            "state": state_links(recipe, project),
        },
        script="pex.py",
        source=source,
    )


def build_base(build: Build) -> None:
    """Make the PEX of the wheels alone.

    Raises:
        BuildError: pex cannot make it, or takes other wheels than those of the lock.
    """
    arguments = build.step.arguments
    names = wheel.filenames(build)
    build.run_script(
        {
            "python": build.inside(build.inputs["python"]),
            "tools": build.inside(build.inputs["tools"]),
            "files": {names[name]: path for name, path in wheel.file_inputs(build).items()},
            "wheels": {names[name]: path for name, path in wheel.unpacked_inputs(build).items()},
            "requirements": arguments["requirements"],
            "work": build.inside(build.work / "pex-base"),
            "out": build.inside(build.out),
        },
        # pex unpacks and copies every wheel; in memory that takes half the time.
        scratch=[build.work / "pex-base"],
    )


def build(build: Build) -> None:
    """Join the PEX of the wheels and the service's own code.

    Raises:
        BuildError: the code imports what is not there, or is in the PEX's way.
    """
    source = build.source
    if source is None:
        raise build.error("the step has no source")
    interpreter = build.inside(build.inputs["env"] / "bin" / "python3")
    arguments = build.step.arguments
    build.run_script(
        {
            **arguments,
            "about": {**arguments["about"], **linkage.need_of(build.inputs["env"])},
            "interpreter": interpreter,
            "base": build.inside(build.inputs["pex-base"]),
            "env": build.inside(build.inputs["env"]),
            "source": build.inside(source),
            "out": build.inside(build.out),
        }
    )
