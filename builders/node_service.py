"""Kind `node`: a service that Node runs, with the packages of its own lock.

Two steps on top of its tarballs: the tree of its packages, which services with equal locks share,
and the service's own files with a link to that tree. Packages that only development needs are left
out, and no install script runs: who cannot do without is refused by name. The object is started by
the pinned Node out of the store, and neither npm nor npx has a part in it.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from builders import linkage
from builders.launch import OWN_PATH, about, filled, state_links, variables
from builders.npm_lock import LockError
from builders.npm_modules import fetches, modules_step, run_script
from builders.npm_platform import installed, production
from builders.npm_project import MANIFEST, ProjectError, manifest_text, platform, read_lock
from builders.semver import satisfies
from builders.state_checks import check_state
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builders.build import Build
    from builders.npm_lock import Package
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

VERSION = 2
FOLDER = "node_modules"
PRELOAD = ".sealift/secrets.cjs"
"""What Node loads before the service, so that secrets are in its environment from the start."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What Node runs: its own options, a file of the source or of a package, and words for it."""

    options: tuple[str, ...]
    file: str
    words: tuple[str, ...]

    @property
    def packaged(self) -> bool:
        """Whether the file is one of a package's."""
        return self.file.startswith(f"{FOLDER}/")


def plan(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan the fetch of each package, their tree, and the service.

    Raises:
        LockError: if the lock is missing, stale, or holds what a service cannot be made of.
        ProjectError: if the source is no npm project, or the entry is not there.
    """
    if source is None:
        raise ProjectError(f"{recipe.name} has no source", where=str(recipe.file))
    entry = entry_of(recipe)
    host = platform(recipe, project)
    lock = production(read_lock(recipe, source, project))
    packages = installed(lock, host)
    _check_engines(recipe, source, host.node)
    _check_packages(packages, recipe, lock.where)
    _check_entry(recipe, source, entry, packages)
    check_state(recipe, source, (entry.file, MANIFEST))
    modules = modules_step(packages, recipe=recipe.name, tools=recipe.inputs, folder=FOLDER)
    registry = project.settings.mirrors.npm
    return (
        *fetches(packages, recipe=recipe.name, registry=registry),
        modules,
        _final(recipe, source, project, entry, modules),
    )


def entry_of(recipe: Recipe) -> Entry:
    """Say what a recipe's service runs.

    Raises:
        ProjectError: it has no service, or its command is not one for Node.
    """
    service = recipe.service
    if service is None:
        raise ProjectError(f"{recipe.name} has no `service`", where=str(recipe.file))
    program, *rest = service.command or ("gunicorn",)
    options = tuple(rest[: next((n for n, w in enumerate(rest) if w[:1] != "-"), len(rest))])
    if program != "node" or len(options) == len(rest):
        raise ProjectError(
            f"{recipe.name}: its service is not one that Node runs",
            where=str(recipe.file),
            expected="command: [node, FILE, …], with options of Node as --name=value before FILE",
            got=" ".join(service.command) or f"app: {service.app}",
        )
    file = posixpath.normpath(rest[len(options)])
    if file.startswith(("/", "../")):
        raise ProjectError(f"{recipe.name}: {file!r} is no file of it", where=str(recipe.file))
    return Entry(options, file, tuple(rest[len(options) + 1 :]))


def build(build: Build) -> None:
    """Join the service's own files, its packages and what starts it.

    Raises:
        BuildError: if the entry is no JavaScript, if the code needs a package that was left out,
            or a package needs a compiler.
    """
    if build.source is None:
        raise build.error("the step has no source")
    arguments = build.step.arguments
    node = build.inputs["node"] / "bin" / "node"
    if not arguments["entry"].startswith(f"{FOLDER}/"):
        build.run([str(node), "--check", build.inside(build.source / arguments["entry"])])
    run_script(
        build,
        {
            **arguments,
            "about": {**arguments["about"], **_needs(build)},
            "node": build.inside(node),
            "modules": build.inside(build.inputs["modules"] / FOLDER),
            "source": build.inside(build.source),
            "out": build.inside(build.out),
        },
    )


def _needs(build: Build) -> dict[str, str | None]:
    """Say which glibc Node and what is compiled among the packages ask of a head."""
    files = linkage.elf_files([build.inputs["modules"]])
    return linkage.need(files, build.inputs["node"], where=build.step.recipe)


def _final(
    recipe: Recipe, source: SourceTree, project: Project, entry: Entry, modules: Step
) -> Step:
    names = variables(recipe)
    preload = ("--require", f"{OWN_PATH}/{PRELOAD}") if names else ()
    said = about(recipe, (*entry.options, *preload, f"{OWN_PATH}/{entry.file}", *entry.words))
    said["service"]["env"] = {"NODE_ENV": "production", **said["service"]["env"]}
    return Step(
        key=recipe.name,
        name=store_name(recipe.name),
        recipe=recipe.name,
        builder="node-service",
        version=VERSION,
        inputs={
            **{role: recipe.inputs[role] for role in ("base", "node", "python")},
            "modules": modules.key,
        },
        arguments={
            "about": said,
            "entry": entry.file,
            "preload": PRELOAD,
            "variables": list(names),
            "filled": list(filled(recipe)),
            "state": state_links(recipe, project),
            "compiled": sorted(recipe.options.get("skip_install_scripts", ())),
        },
        script="node_service.py",
        source=source,
    )


def _check_engines(recipe: Recipe, source: SourceTree, node: str) -> None:
    """Refuse a Node that the service itself says it does not run on; of packages npm only warns."""
    engines = json.loads(manifest_text(recipe, source)).get("engines")
    wanted = engines.get("node") if isinstance(engines, dict) else None
    if isinstance(wanted, str) and not satisfies(node, wanted):
        raise ProjectError(
            f"{recipe.name} does not run on the Node of its recipe",
            where=str(source.root / MANIFEST),
            expected=f"node {wanted}",
            got=f"{recipe.inputs['node']}: {node}",
            hint='name a Node that it runs on, in the recipe: `node: "20"`, say',
        )


def _check_packages(packages: Mapping[str, Package], recipe: Recipe, where: str) -> None:
    links = [location for location, package in packages.items() if package.link is not None]
    if links:
        raise LockError(
            f"'{links[0]}' is a link into the source tree, and a service has one project",
            where=where,
            hint="publish it, or take the workspaces out of package.json",
        )
    allowed = recipe.options.get("skip_install_scripts", ())
    scripted = {
        location.rpartition(f"{FOLDER}/")[2]
        for location, package in packages.items()
        if package.entry.get("hasInstallScript") is True
    }
    _check_allowed(allowed, scripted, recipe)
    needed = sorted(scripted.difference(allowed))
    if needed:
        raise LockError(
            f"packages of {recipe.name} have install scripts, and none is run: {', '.join(needed)}",
            where=where,
            hint="take others instead; one that works without its script is named in the recipe:"
            f" skip_install_scripts: [{', '.join(needed)}]",
        )


def _check_allowed(allowed: Collection[str], scripted: set[str], recipe: Recipe) -> None:
    for name in allowed:
        if name not in scripted:
            raise LockError(
                f"skip_install_scripts names '{name}', which has no install script here",
                where=str(recipe.file),
                hint=f"take '{name}' out",
            )


def _check_entry(
    recipe: Recipe, source: SourceTree, entry: Entry, packages: Mapping[str, Package]
) -> None:
    """Refuse an entry that is not there; which files a package holds, its tarball tells later."""
    if not entry.packaged:
        files = [file.path for file in source.files]
        if entry.file not in files:
            reason = f"the source of {recipe.name} has no file {entry.file!r} to start with"
            raise _no_entry(recipe, reason, _near(entry.file, files))
    elif not any(entry.file.startswith(f"{location}/") for location in packages):
        reason = f"{recipe.name} starts with {entry.file!r}, and no locked package is there"
        raise _no_entry(recipe, reason, get_close_matches(entry.file, packages))


def _no_entry(recipe: Recipe, reason: str, near: Collection[str]) -> ProjectError:
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else None
    return ProjectError(reason, where=str(recipe.file), hint=hint)


def _near(wanted: str, files: Collection[str]) -> list[str]:
    """List what a name may stand for: the same elsewhere or with an ending, or near it."""
    stem = posixpath.splitext(posixpath.basename(wanted))[0]
    scripts = [path for path in files if path.endswith((".js", ".mjs", ".cjs"))]
    same = [path for path in scripts if posixpath.splitext(posixpath.basename(path))[0] == stem]
    return same or get_close_matches(wanted, scripts)
