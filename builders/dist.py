"""Kind `dist`: a frontend's build script run offline, and its output as a web root and a tarball.

The object holds `web/` (what the web server shows, with `.gz` and `.br` beside what compresses),
`dist.tar` (the same without those, deterministic) and `sealift.json`. Packages come from
`builders.npm_modules`; making a new lock is for `builders.dist_lock`.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from builders.build import BuildError
from builders.derive import SCRIPTS, script_digest
from builders.npm_modules import (
    fetches,
    modules_step,
    mounts,
    npm_environment,
    run_script,
)
from builders.npm_platform import installed
from builders.npm_project import MANIFEST, ProjectError, manifest_text, platform, read_lock
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from pathlib import Path

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

VERSION = 1
COMPRESSOR = "compress.mjs"
PATIENCE = 1800
"""Seconds that a build script may take; `vite` without `build` is a server, and never ends."""
_TIMED_OUT = 124
"""What timeout(1) ends with."""
_FAULT = re.compile(r"error|cannot|not found|failed", re.IGNORECASE)
_OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ENETUNREACH|ENOTCACHED")
_NOISE = re.compile(r"npm (error|warn)|\$ ", re.IGNORECASE)


class FrontendError(ProjectError):
    """A frontend's source or recipe that cannot be built."""

    slug: ClassVar[str] = "bad-frontend"


def plan(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan the fetch of each package, their tree, and the build itself.

    Raises:
        LockError: if the lock is missing, stale, or holds what cannot be built from.
        ProjectError: if the source has no `package.json`, or no such script.
    """
    if source is None:
        raise FrontendError(f"{recipe.name} has no source", where=str(recipe.file))
    lock = read_lock(recipe, source, project)
    _check_script(recipe, source)
    packages = installed(lock, platform(recipe, project))
    registry = project.settings.mirrors.npm
    modules = modules_step(
        packages,
        recipe=recipe.name,
        tools=recipe.inputs,
        install_scripts=recipe.options.get("install_scripts", ()),
    )
    return (
        *fetches(packages, recipe=recipe.name, registry=registry),
        modules,
        _final(recipe, source, modules),
    )


def build(build: Build) -> None:
    """Run the build script and make the object of what it wrote.

    Raises:
        BuildError: if the script fails, or leaves no output.
    """
    if build.source is None:
        raise build.error("there is no source")
    modules = build.source / "node_modules"
    modules.mkdir()
    node = build.inputs["node"]
    arguments = build.step.arguments
    limit = ["/usr/bin/timeout", "--kill-after=10", str(PATIENCE)]
    try:
        build.run(
            [*limit, str(node / "bin" / "npm"), "run", arguments["script"]],
            env=npm_environment(node, arguments["env"]),
            cwd=build.source,
            binds={build.inputs["modules"]: build.inside(modules)},
            scratch=mounts(modules),
        )
    except BuildError as fault:
        raise build.error(_reason(fault, arguments["script"])) from fault
    _collect(build, _output(build, build.source, arguments["output"]))


def _collect(build: Build, output: Path) -> None:
    run_script(build, {"source": build.inside(output), "out": build.inside(build.out)})
    compressor = build.work / COMPRESSOR
    compressor.write_bytes((SCRIPTS / COMPRESSOR).read_bytes())
    node = build.inputs["node"] / "bin" / "node"
    build.run([str(node), build.inside(compressor), build.inside(build.out / "web")])
    record = {
        "format": 1,
        "name": build.step.recipe,
        "frontend": {"root": "web", "routes": build.step.arguments["routes"]},
    }
    (build.out / "sealift.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def _output(build: Build, source: Path, name: str) -> Path:
    """Give the folder that the script was to make.

    Raises:
        BuildError: if there is none, or nothing in it.
    """
    output = source / name
    inside = output.resolve().is_relative_to(source.resolve())
    if not inside or not output.is_dir():
        raise build.error(f"the script ended well but made no folder '{name}'")
    if not any(path.is_file() for path in output.rglob("*")):
        raise build.error(f"the script ended well but left the folder '{name}' empty")
    return output.resolve()


def _reason(fault: BuildError, script: str) -> str:
    """Name the line that says most about why a script failed: the first that speaks of an error."""
    if fault.reason.endswith(f"exit code {_TIMED_OUT}"):
        return f"npm run {script} did not end within {PATIENCE // 60} minutes; is it a server?"
    said = [line for line in fault.lines if _FAULT.search(line) and not _NOISE.match(line)]
    # Indented lines are the compiler's quotations, or where an error came from.
    plain = [line for line in said if not line[:1].isspace()]
    if not said:
        return f"npm run {script} failed"
    offline = any(_OFFLINE.search(line) for line in fault.lines)
    note = " (a build has no network)" if offline else ""
    return f"npm run {script}: {(plain or said)[0].strip()}{note}"


def _final(recipe: Recipe, source: SourceTree, modules: Step) -> Step:
    roles = {role: recipe.inputs[role] for role in ("base", "node", "python")}
    return Step(
        key=recipe.name,
        name=store_name(recipe.name),
        recipe=recipe.name,
        builder="dist",
        version=VERSION,
        inputs={**roles, "modules": modules.key},
        arguments={
            "script": recipe.options.get("script", "build"),
            "output": _relative(recipe, recipe.options.get("output", "dist")),
            "env": dict(recipe.env),
            "routes": [{"path": route.path} for route in recipe.routes],
            "compressor": script_digest(COMPRESSOR),
        },
        script="web_root.py",
        source=source,
    )


def _relative(recipe: Recipe, output: str) -> str:
    path = PurePosixPath(output)
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise FrontendError(
            f"output '{output}' is not a folder below the source", where=str(recipe.file)
        )
    return str(path)


def _check_script(recipe: Recipe, source: SourceTree) -> None:
    script = recipe.options.get("script", "build")
    scripts = json.loads(manifest_text(recipe, source)).get("scripts")
    if not isinstance(scripts, dict) or script not in scripts:
        raise FrontendError(
            f"package.json has no script '{script}'",
            where=str(source.root / MANIFEST),
            got=", ".join(scripts) if isinstance(scripts, dict) else "no scripts at all",
        )
