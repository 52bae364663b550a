"""The release: every service, web root and the web server's locations, joined in one tree.

The work is done by `builders/scripts/release.py` in the sandbox, from the `sealift.json` that
each service and frontend carries; this module only says what goes in.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from builders.apt_base import load
from builders.contents import BILL, MERGED
from builders.phases import FILE, idle, taking_part
from builders.recipe import Kind, Recipe
from builders.step import SourceTree, Step
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.build import Build
    from builders.project import Project

RUNNABLE = frozenset({Kind.PEX, Kind.SHIV, Kind.NODE, Kind.DIST})
TOOLS = {
    "supervisor": "bin/supervisord",
    "openssl": "usr/bin/openssl",
    "sealift": "bin/sealift",
    "nftables": "usr/sbin/nft",
}
"""What a head runs besides services: role → executable, by whose name the release knows it."""
USUAL = {"sealift": "agent", "nftables": "nftables"}
"""Roles that are filled where there is a recipe of this name: sealift itself, without which no
other host is reached, and what counts packets while it is proved that none leaves."""


def plan_release(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Return the one step that joins the recipe's services, and the phases of the site's cluster.

    Raises:
        InputError: a named service has no recipe, or its recipe makes nothing that runs; or two
            sets of packages pin one package in different versions.
        LockError: the lock of a set of packages is missing or stale.
    """
    del source
    members = _members(recipe, project)
    packages = _packages(recipe, project)
    phases = taking_part(project)
    usual = {role: name for role, name in USUAL.items() if name in project.recipes}
    inputs = {**usual, **recipe.inputs}
    tools = {role: inputs[role] for role in ("base", "python", "nginx", *TOOLS) if role in inputs}
    return (
        Step(
            key=recipe.name,
            name=recipe.name,
            recipe=recipe.name,
            builder="release",
            inputs={
                **tools,
                **{name: name for name in members},
                **{_role(name): name for name in packages},
                **{_phase_role(name): name for name in phases},
            },
            arguments={
                "members": list(members),
                "packages": list(packages),
                "phases": list(phases),
                "head": _head(recipe, project),
                "web": _pair(recipe),
            },
            script="release.py",
        ),
    )


def _head(recipe: Recipe, project: Project) -> dict[str, Any]:
    """Return what units and the web server say of every head."""
    web, settings = recipe.options["web"], project.settings
    return {
        "store_dir": str(settings.store_dir),
        "var_dir": str(settings.store_dir.parent / "var"),
        "state_dir": str(settings.state_dir),
        "http": web.http,
        "https": web.https,
    }


def _pair(recipe: Recipe) -> dict[str, str]:
    web = recipe.options["web"]
    return {"certificate": web.certificate, "key": web.key}


def _members(recipe: Recipe, project: Project) -> Sequence[str]:
    named = recipe.options.get("services")
    if named is None:
        return sorted(n for n, other in project.recipes.items() if _runs(other))
    for name in named:
        other = project.recipes.get(name)
        if other is None or not _runs(other):
            what = "has no recipe" if other is None else f"is of kind {other.kind.value!r}"
            raise InputError(
                f"release member {name!r} {what}",
                where=str(recipe.file),
                hint="name recipes that have a `service` or a `route`",
            )
    return sorted(named)


def _packages(recipe: Recipe, project: Project) -> Sequence[str]:
    """Name the sets of packages that go in; they must fit on one head.

    They are those named, or all but those of phases that the site does not have.
    """
    named = recipe.options.get("packages")
    if named is None:
        without = idle(project)
        known = project.recipes.items()
        named = [n for n, other in known if other.kind is Kind.APT and n not in without]
    for name in named:
        other = project.recipes.get(name)
        if other is None or other.kind is not Kind.APT:
            what = "has no recipe" if other is None else f"is of kind {other.kind.value!r}"
            raise InputError(
                f"set of packages {name!r} {what}",
                where=str(recipe.file),
                hint="name recipes of kind apt under `packages:`",
            )
    _refuse_clashes([project.recipes[name] for name in sorted(named)], recipe, project)
    return sorted(named)


def _refuse_clashes(sets: Sequence[Recipe], recipe: Recipe, project: Project) -> None:
    """Refuse two versions of one package, of which a head can have but one."""
    pinned: dict[str, tuple[str, str]] = {}
    for each in sets:
        for package, pin in load(each, project.settings).packages.items():
            before, version = pinned.setdefault(package, (each.name, pin.version))
            if version != pin.version:
                raise InputError(
                    f"{before} and {each.name} pin different versions of {package}",
                    where=str(recipe.file),
                    expected=f"{version} ({before})",
                    got=f"{pin.version} ({each.name})",
                    hint=f"sealift lock {before} {each.name}",
                )


def _role(name: str) -> str:
    return f"packages:{name}"


def _phase_role(name: str) -> str:
    return f"phase:{name}"


def _runs(recipe: Recipe) -> bool:
    return recipe.kind in RUNNABLE and (recipe.service is not None or bool(recipe.routes))


def build_release(build: Build) -> None:
    """Write `release.json`, the links and the web server's locations to `build.out`."""
    members = build.step.arguments["members"]
    build.run_script(
        {
            "out": build.inside(build.out),
            "members": {name: build.inside(build.inputs[name]) for name in members},
            "packages": {
                name: build.inside(build.inputs[_role(name)])
                for name in build.step.arguments["packages"]
            },
            "phases": _phases(build),
            "nginx": build.inside(build.inputs["nginx"]),
            "tools": {
                PurePosixPath(executable).name: [build.inside(build.inputs[role]), executable]
                for role, executable in TOOLS.items()
                if role in build.inputs
            },
            "head": build.step.arguments["head"],
            "web": build.step.arguments["web"],
        }
    )
    _lay_bills(build)


def _phases(build: Build) -> dict[str, Any]:
    """Say of each phase where its configurations lie, by host, and what its secrets are."""
    found: dict[str, Any] = {}
    files: dict[tuple[str, str], str] = {}
    for name in build.step.arguments["phases"]:
        joined = build.inputs[_phase_role(name)]
        hosts = {link.name: str(link.readlink()) for link in sorted(joined.iterdir())}
        said = [json.loads(Path(path, FILE).read_bytes()) for path in hosts.values()]
        for host, path in ((each["host"], file["path"]) for each in said for file in each["files"]):
            other = files.setdefault((host, path), name)
            if other != name:
                raise build.error(f"phases {other} and {name} both bring {path} on {host}")
        secrets = {secret: sort for each in said for secret, sort in each["secrets"].items()}
        found[name] = {"number": said[0]["number"], "hosts": hosts, "secrets": secrets}
    return found


def _lay_bills(build: Build) -> None:
    """Link the bills of materials: of the whole release, and of each thing in it."""
    bills = {role: path for role, path in build.inputs.items() if role.endswith(BILL)}
    if not bills:
        return
    (build.out / "sbom.cdx.json").symlink_to(bills.pop(MERGED))
    (build.out / "sbom").mkdir()
    for role, path in bills.items():
        (build.out / "sbom" / f"{role.removesuffix(BILL)}.cdx.json").symlink_to(path)
