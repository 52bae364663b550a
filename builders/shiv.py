"""Kind `shiv`: the same service as `builders.pex` makes, started from one self-unpacking file.

The archive unpacks itself into the service's state at its first start, some seconds once for
each change; `pex` does without, which is why it is what backends are built with by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders import env, linkage, sdist, wheel
from builders.launch import OWN_PATH, Entry, about, direct, entry_of, launch, state_links
from builders.state_checks import check_state
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

VERSION = 2
ROOT = "{state}/.shiv"
_OWN = {"SHIV_PREPEND_PYTHONPATH": OWN_PATH}
"""The code that lies beside the archive comes first: its state links lead out of the store."""
_FLAGS = ("-I", "-u")
"""Bytecode of what is unpacked may be written: it lies in the state, not in the store."""


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
        _final(recipe, source, project),
    )


def _final(recipe: Recipe, source: SourceTree | None, project: Project) -> Step:
    entry = entry_of(recipe)
    check_state(recipe, source, entry.files)
    archive = f"{recipe.name}.pyz"
    return Step(
        key=recipe.name,
        name=store_name(recipe.name),
        recipe=recipe.name,
        builder="shiv",
        version=VERSION,
        inputs={
            **wheel.tools(recipe),
            "tools": recipe.inputs["tools"],
            "env": f"{recipe.name}:env",
        },
        arguments={
            "about": _about(recipe, entry),
            "direct": direct(recipe, project, _words(entry), _OWN),
            "launch": {**launch(recipe, entry), "entry": ["archive", archive]},
            "archive": archive,
            "function": entry.target if entry.kind == "function" else None,
            "start": entry.start,
            "config": entry.config,
            "smoke": recipe.options.get("smoke"),
            "state": state_links(recipe, project),
        },
        script="shiv.py",
        source=source,
    )


def _about(recipe: Recipe, entry: Entry) -> Mapping[str, Any]:
    serve = f"{OWN_PATH}/.sealift/serve.py"
    said = about(recipe, (*_FLAGS, serve, *_words(entry), *entry.bind))
    said["service"]["env"] = {"SHIV_ROOT": ROOT, **_OWN, **said["service"]["env"]}
    return said


def _words(entry: Entry) -> tuple[str, ...]:
    before = {"function": (), "module": ("-m", entry.target), "script": (entry.target,)}
    return (*before[entry.kind], *entry.words)


def build(build: Build) -> None:
    """Make the archive and the tree it is served from.

    Raises:
        BuildError: the code imports what is not there, or shiv fails.
    """
    source = build.source
    if source is None:
        raise build.error("the step has no source")
    arguments = build.step.arguments
    build.run_script(
        {
            **arguments,
            "about": {**arguments["about"], **linkage.need_of(build.inputs["env"])},
            "tools": build.inside(build.inputs["tools"]),
            "interpreter": build.inside(build.inputs["python"] / "bin" / "python3"),
            "env": build.inside(build.inputs["env"]),
            "source": build.inside(source),
            "out": build.inside(build.out),
        }
    )
