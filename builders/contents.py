"""What of a recipe's steps ends up in its artefact: the steps that write its bill of materials.

Two for each recipe. `NAME:components` describes the packages that its own lock pins; it depends
on locks alone, so changed code does not touch it. `NAME:sbom` adds the artefact itself, and what
runs beside it: the bills of its interpreter, of a release's members. Decides only; the work is
done by `builders.sbom`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from builders.derive import FETCH
from builders.lock_files import debs_file, lock_file
from builders.recipe import Kind
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from builders.project import Project
    from builders.recipe import Recipe

VERSION = 3
PARTS = ":components"
BILL = ":sbom"
"""Also the end of roles that bring a bill; no recipe's name has a colon."""
MERGED = "merged:sbom"
"""The role of a release's own bill."""
QUIET = (PARTS, BILL)
"""Ends of the keys of these steps; a build does not tell of each one."""
_BUILD_ONLY = frozenset({"base", "build", "compiler", "patchelf", "tools", "wheel-tools"})
"""Roles that no artefact carries on; what is not known to be one is taken to run with it."""
_BUILD_ONLY_FOR: Mapping[Kind, frozenset[str]] = {
    Kind.APT: _BUILD_ONLY | {"python"},
    Kind.DIST: _BUILD_ONLY | {"node", "python"},
    Kind.NODE: _BUILD_ONLY | {"python"},
    Kind.RELEASE: _BUILD_ONLY | {"python"},
}
"""Kinds of which more is so: pages run in a browser, Node needs no Python."""
_MADE_FROM = frozenset({FETCH, "sdist"})
"""Builders of what wheels and trees are made from: the files themselves, and their own tools."""
_DEB = ".deb"
_MANIFEST = "package.json"
_DIRECT = ("dependencies", "devDependencies", "optionalDependencies")


def plan(recipe: Recipe, steps: Sequence[Step], project: Project) -> tuple[Step, ...]:
    """Give a recipe's steps back with those of its bill of materials; a release carries the bill.

    Raises:
        LockError: a lock of .debs cannot be read.
    """
    final = next((step for step in steps if step.key == recipe.name), None)
    if final is None:
        return tuple(steps)
    if recipe.kind is Kind.RELEASE:
        return _release(recipe, steps, final)
    components = _components(recipe, steps, final, project)
    runs_on = [name for role, name in recipe.inputs.items() if _runs(recipe, role)]
    inputs = {"artefact": recipe.name, **{bill(name): bill(name) for name in runs_on}}
    if components is not None:
        inputs["components"] = components.key
    known = () if components is None else (components,)
    return (*steps, *known, _bill(recipe, inputs))


def bill(name: str) -> str:
    """Give the key of the step that writes a recipe's bill of materials."""
    return f"{name}{BILL}"


def _release(recipe: Recipe, steps: Sequence[Step], final: Step) -> tuple[Step, ...]:
    """Let a release carry one bill of all that it runs, and that of each member beside it."""
    members = sorted(
        key for role, key in final.inputs.items() if _runs(recipe, role) and ":" not in key
    )
    bills = {bill(name): bill(name) for name in members}
    merged = _bill(recipe, bills)
    carrying = replace(final, inputs={**final.inputs, **bills, MERGED: merged.key})
    return (*(carrying if step is final else step for step in steps), merged)


def _bill(recipe: Recipe, inputs: Mapping[str, str]) -> Step:
    built_with = {role: name for role, name in recipe.inputs.items() if not _runs(recipe, role)}
    return Step(
        key=bill(recipe.name),
        name=store_name(f"{recipe.name}.cdx.json"),
        recipe=recipe.name,
        builder="sbom",
        version=VERSION,
        inputs=inputs,
        arguments={
            "name": recipe.name,
            "kind": recipe.kind.value,
            "description": recipe.description,
            "built_with": built_with,
        },
    )


def _runs(recipe: Recipe, role: str) -> bool:
    """Tell whether an input runs with what a recipe makes, rather than helping to make it."""
    if recipe.options.get("language") == "node" and role == "python":
        return False
    return role not in _BUILD_ONLY_FOR.get(recipe.kind, _BUILD_ONLY)


@dataclass(slots=True)
class _Found:
    """What a recipe's artefact is joined from: unpacked wheels, .debs, a tree of npm packages."""

    wheels: list[Step] = field(default_factory=list)
    debs: dict[str, str] = field(default_factory=dict)
    """Name → key of the fetch."""
    modules: Step | None = None
    direct: list[str] = field(default_factory=list)


def _find(final: Step, known: Mapping[str, Step]) -> _Found:
    """Go from the last step to its inputs, but not past a wheel: what made it is not in it."""
    found = _Found()
    waiting = {final.key: final}
    seen: dict[str, Step] = {}
    while waiting:
        key, step = waiting.popitem()
        seen[key] = step
        if step.builder == "env":
            found.direct += step.arguments["smoke"]
        for role, needed in step.inputs.items():
            inner = known.get(needed)
            if inner is None or needed in seen:
                continue
            if inner.builder == "wheel":
                seen[needed] = inner
                found.wheels.append(inner)
            elif role.endswith(_DEB):
                found.debs[role.removesuffix(_DEB)] = needed
            elif inner.builder == "node-modules":
                found.modules = inner
            elif inner.builder not in _MADE_FROM:
                waiting[needed] = inner
    return found


@dataclass(frozen=True, slots=True)
class _Facts:
    """A share of what the step of components is told, and of what it reads."""

    arguments: Mapping[str, Any]
    inputs: Mapping[str, str]


def _components(
    recipe: Recipe, steps: Sequence[Step], final: Step, project: Project
) -> Step | None:
    known = {step.key: step for step in steps}
    found = _find(final, known)
    told: list[_Facts] = []
    if found.wheels:
        told.append(_of_wheels(recipe, found, known, project))
    if found.debs:
        told.append(_of_debs(recipe, found.debs, project))
    if found.modules is not None:
        told.append(_Facts({"npm": sorted(_direct(final))}, {"modules": found.modules.key}))
    if final.builder == "node":
        told.append(_Facts({"node": _node(final)}, {"tree": recipe.name}))
    if not told:
        return None
    return Step(
        key=f"{recipe.name}{PARTS}",
        name=store_name(f"{recipe.name}-components.cdx.json"),
        recipe=recipe.name,
        builder="components",
        version=VERSION,
        inputs={role: key for facts in told for role, key in facts.inputs.items()},
        arguments={name: value for facts in told for name, value in facts.arguments.items()},
    )


def _of_wheels(
    recipe: Recipe, found: _Found, known: Mapping[str, Step], project: Project
) -> _Facts:
    rows = [_wheel(step, known) for step in found.wheels]
    arguments: dict[str, Any] = {
        "wheels": dict(sorted(rows)),
        "python": _python(recipe, project),
        "direct": sorted(set(found.direct)),
    }
    if any(row["sdist"] for _, row in rows):
        arguments["native"] = _pinned(debs_file(recipe, project.settings))
    named = zip(rows, found.wheels, strict=True)
    return _Facts(arguments, {f"wheel.{name}": step.key for (name, _), step in named})


def _of_debs(recipe: Recipe, keys: Mapping[str, str], project: Project) -> _Facts:
    """Take the packages as the lock has them, and where they lie unpacked, if they do."""
    rows = _pinned(lock_file(recipe, project.settings))
    tree = {} if recipe.kind is Kind.APT else {"tree": recipe.name}
    return _Facts(
        {"debs": {name: rows[name] for name in sorted(keys) if name in rows}},
        {**{f"{name}{_DEB}": key for name, key in keys.items()}, **tree},
    )


def _wheel(step: Step, known: Mapping[str, Step]) -> tuple[str, dict[str, Any]]:
    """Say which file a wheel comes from: the one that the lock pins, a wheel or an sdist."""
    name, version = step.key.removeprefix("wheel:").rsplit("-", 2)[:2]
    file = step.inputs["file"]
    source = known.get(file)
    pinned = [file] if source is None or source.builder == FETCH else list(_pins(source, known))
    integrity = pinned[0].removeprefix(f"{FETCH}:") if pinned else ""
    sdist = source is not None and source.builder != FETCH
    return name, {"version": version, "integrity": integrity, "sdist": sdist}


def _pins(step: Step, known: Mapping[str, Step]) -> Iterator[str]:
    """Give the key of the fetch of the sdist that a wheel was built from."""
    for role in ("sdist", "source", "file"):
        key = step.inputs.get(role)
        if key is not None and key in known and known[key].builder == FETCH:
            yield key


def _python(recipe: Recipe, project: Project) -> str:
    interpreter = project.recipes.get(recipe.inputs.get("python", ""))
    return str(interpreter.options.get("version", "3")) if interpreter is not None else "3"


def _pinned(file: Path) -> dict[str, Any]:
    """Give what a lock of .debs says of each, by name."""
    from builders.deb_pins import parse_lock  # noqa: PLC0415 - few recipes have one

    return {
        name: {
            "version": pinned.version,
            "architecture": pinned.architecture,
            "suite": pinned.suite,
            "integrity": pinned.integrity,
            "source": pinned.control.get("Source", ""),
        }
        for name, pinned in parse_lock(file.read_text(encoding="utf-8")).packages.items()
    }


def _direct(final: Step) -> set[str]:
    """Name what a project's own `package.json` asks for; its planner has read it already."""
    if final.source is None:
        return set()
    manifest = json.loads((final.source.root / _MANIFEST).read_text(encoding="utf-8"))
    return {name for section in _DIRECT for name in manifest.get(section) or {}}


def _node(final: Step) -> dict[str, Any]:
    pinned = {role: final.inputs[role].removeprefix(f"{FETCH}:") for role in ("node", "npm")}
    return {
        "version": final.arguments["version"],
        "npm": final.arguments["npm"],
        "archive": final.arguments["archive"],
        "integrity": pinned,
    }
