"""A `node_modules` tree as a store object, shared by all projects that ask for the same packages.

What a lock says is for `builders.npm_lock`, what fits the heads for `builders.npm_platform`;
laying the tree out is done by `builders/scripts/node_modules.py` in the sandbox. Here is what the
steps are made of, and the run of those few install scripts that a recipe allows.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from builders.build import BuildError
from builders.npm_lock import LockError
from builders.scripts.node_modules import MOUNTS
from builders.step import Download, Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builders.build import Build
    from builders.npm_lock import Package

BUILDER = "node-modules"
VERSION = 1
_ERROR = "error: "

NPM: Mapping[str, str] = {
    "npm_config_audit": "false",
    "npm_config_cache": "/tmp/npm",  # noqa: S108 - the sandbox's own
    "npm_config_color": "false",
    "npm_config_fund": "false",
    "npm_config_globalconfig": "/nonexistent/npmrc-global",
    "npm_config_logs_max": "0",
    "npm_config_offline": "true",
    "npm_config_progress": "false",
    "npm_config_update_notifier": "false",
    "npm_config_userconfig": "/nonexistent/npmrc-user",
    "NO_COLOR": "1",
    "NO_UPDATE_NOTIFIER": "1",
}
"""What keeps npm to itself: no network, nobody's configuration, nothing written."""


def fetches(packages: Mapping[str, Package], *, recipe: str, registry: str) -> tuple[Step, ...]:
    """Plan the fetch of each tarball, once for all the places where it is laid."""
    steps = {}
    for package in packages.values():
        if package.integrity and package.integrity not in steps:
            steps[package.integrity] = Step(
                key=f"fetch:{package.integrity}",
                name=store_name(f"{package.name}-{package.version}.tgz"),
                recipe=recipe,
                builder="fetch",
                download=Download((package.tarball(registry),), package.integrity),
            )
    return tuple(steps.values())


def modules_step(
    packages: Mapping[str, Package],
    *,
    recipe: str,
    tools: Mapping[str, str],
    install_scripts: Sequence[str] = (),
    folder: str = "",
) -> Step:
    """Plan the tree of these packages; its key is made of all that decides it.

    With `folder`, the object holds the tree under that name. For Node, which looks for a package's
    packages beside it in a folder called `node_modules`, whichever links led there.

    Raises:
        LockError: if an install script is allowed for a package that is not there.
    """
    _check_allowed(packages, install_scripts, recipe)
    roles = ("base", "python", "node") if install_scripts else ("base", "python")
    tarballs = {
        location: f"fetch:{package.integrity}"
        for location, package in packages.items()
        if package.integrity
    }
    arguments = {
        "packages": [
            {"location": location, "entry": package.entry, "link": package.link}
            for location, package in packages.items()
        ],
        "install_scripts": sorted(install_scripts),
        "folder": folder,
    }
    inputs = {**{role: tools[role] for role in roles}, **tarballs}
    return Step(
        key=f"modules:{_digest([inputs, arguments])}",
        name="node-modules",
        recipe=recipe,
        builder=BUILDER,
        version=VERSION,
        inputs=inputs,
        arguments=arguments,
        script="node_modules.py",
    )


def build(build: Build) -> None:
    """Lay the tree out at `build.out`, and run the install scripts that are allowed.

    Raises:
        BuildError: if a tarball is refused, or an install script fails.
    """
    allowed: list[str] = build.step.arguments["install_scripts"]
    place = build.out / build.step.arguments["folder"]
    tree = build.work / "project" / "node_modules" if allowed else place
    run_script(build, {"out": build.inside(tree), "packages": _packages(build)})
    if allowed:
        _rebuild(build, tree.parent, allowed)
        place.parent.mkdir(exist_ok=True)
        tree.rename(place)


def run_script(build: Build, arguments: Mapping[str, Any]) -> None:
    """Run the step's script; if it fails, its own line `error: …` is the reason.

    Raises:
        BuildError: if it fails.
    """
    try:
        build.run_script(arguments)
    except BuildError as fault:
        said = [line for line in fault.lines if line.startswith(_ERROR)]
        if not said:
            raise
        raise build.error(said[-1].removeprefix(_ERROR)) from fault


def mounts(modules: Path) -> list[Path]:
    """Give the folders of a mounted tree that tools write to while they build."""
    return [modules / name for name in MOUNTS]


def npm_environment(node: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a program that npm starts; `extra` wins."""
    return {**NPM, "PATH": f"{node / 'bin'}:/usr/bin:/bin", **extra}


def _packages(build: Build) -> list[dict[str, Any]]:
    return [
        {**package, "tarball": _tarball(build, package["location"])}
        for package in build.step.arguments["packages"]
    ]


def _tarball(build: Build, location: str) -> str | None:
    path = build.inputs.get(location)
    return None if path is None else build.inside(path)


def _rebuild(build: Build, project: Path, names: Sequence[str]) -> None:
    (project / "package.json").write_text('{"private": true}\n')
    node = build.inputs["node"]
    build.run(
        [str(node / "bin" / "npm"), "rebuild", "--foreground-scripts", *names],
        # The recipe is what allows them; npm's own list of the allowed is the author's machine's.
        env=npm_environment(node, {"npm_config_dangerously_allow_all_scripts": "true"}),
        cwd=project,
    )


def _check_allowed(packages: Mapping[str, Package], allowed: Sequence[str], recipe: str) -> None:
    present = {location.rpartition("node_modules/")[2] for location in packages}
    for name in allowed:
        if name not in present:
            raise LockError(
                f"install scripts are allowed for '{name}', which is not in the lock",
                where=recipe,
                hint=f"take '{name}' out of install_scripts",
            )


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]
