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
from builders.lock_files import NPM, lock_file
from builders.npm_lock import LockError, NpmLock, check_manifest, parse
from builders.npm_modules import (
    fetches,
    modules_step,
    mounts,
    npm_environment,
    run_script,
)
from builders.npm_platform import Platform, installed
from builders.step import Step
from store.errors import InputError
from store.names import store_name

if TYPE_CHECKING:
    from pathlib import Path

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

VERSION = 1
MANIFEST = "package.json"
COMPRESSOR = "compress.mjs"
PATIENCE = 1800
"""Seconds that a build script may take; `vite` without `build` is a server, and never ends."""
_TIMED_OUT = 124
"""What timeout(1) ends with."""
_FAULT = re.compile(r"error|cannot|not found|failed", re.IGNORECASE)
_OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ENETUNREACH|ENOTCACHED")
_NOISE = re.compile(r"npm (error|warn)|\$ ", re.IGNORECASE)


class FrontendError(InputError):
    """A frontend's source or recipe that cannot be built."""

    slug: ClassVar[str] = "bad-frontend"


def plan(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan the fetch of each package, their tree, and the build itself.

    Raises:
        LockError: if the lock is missing, stale, or holds what cannot be built from.
        FrontendError: if the source has no `package.json`, or no such script.
    """
    if source is None:
        raise FrontendError(f"{recipe.name} has no source", where=str(recipe.file))
    lock = read_lock(recipe, source, project)
    packages = installed(lock, _platform(recipe, project))
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


def read_lock(recipe: Recipe, source: SourceTree, project: Project) -> NpmLock:
    """Read the lock of a frontend and compare it with its `package.json`.

    Raises:
        LockError: if it is missing, stale, or holds what cannot be built from.
        FrontendError: if there is no `package.json`.
    """
    renew = f"sealift lock {recipe.name}"
    manifest = source.root / MANIFEST
    text = manifest_text(recipe, source)
    file = lock_file(recipe, project.settings)
    if recipe.lock is None and not _holds(source, NPM):
        raise LockError(f"there is no {NPM} in the source", where=str(file), hint=renew)
    lock = parse(_text(file, LockError, hint=renew), where=str(file), renew=renew)
    check_manifest(lock, text, where=str(manifest), renew=renew)
    _check_script(recipe, manifest, text)
    return lock


def manifest_text(recipe: Recipe, source: SourceTree) -> str:
    """Read a frontend's `package.json`.

    Raises:
        FrontendError: if the source has none.
    """
    hint = "point `source` at the folder that holds package.json"
    if not _holds(source, MANIFEST):
        reason = f"the source of {recipe.name} has no {MANIFEST}"
        raise FrontendError(reason, where=str(source.root), hint=hint)
    return _text(source.root / MANIFEST, FrontendError, hint=hint)


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


def _platform(recipe: Recipe, project: Project) -> Platform:
    node = project.recipes[recipe.inputs["node"]]
    return Platform(node=node.options["version"], npm=node.options["npm"])


def _check_script(recipe: Recipe, file: Path, text: str) -> None:
    script = recipe.options.get("script", "build")
    scripts = json.loads(text).get("scripts")
    if not isinstance(scripts, dict) or script not in scripts:
        raise FrontendError(
            f"package.json has no script '{script}'",
            where=str(file),
            got=", ".join(scripts) if isinstance(scripts, dict) else "no scripts at all",
        )


def _holds(source: SourceTree, path: str) -> bool:
    return any(file.path == path for file in source.files)


def _text(file: Path, kind: type[InputError], *, hint: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise kind(f"there is no {file.name}", where=str(file), hint=hint) from None
    except UnicodeDecodeError:
        raise kind(f"{file.name} is not UTF-8", where=str(file), hint=hint) from None
