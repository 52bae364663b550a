"""The step `sdist`: an sdist compiled into one wheel that needs nothing but glibc.

It is unpacked by us, built by its own backend (PEP 517) with what the lock pins for it and
nothing else, and made whole by auditwheel, which puts the shared libraries in that it links to.
The backend is somebody else's code: what it leaves is looked at after each of its runs, from
outside, before anything of ours runs there again. What runs inside is `builders/scripts/sdist.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builders import logs, native, wheel
from builders.archive import reading
from builders.build import BuildError
from builders.derive import script_files
from builders.python_pins import Sdist
from builders.recipe import Kind
from builders.requirements import name_of, normalise
from builders.roles import filler
from builders.sandbox import EPOCH, INSIDE
from builders.scripts.extract import DIRECTORY
from builders.sdist_archive import SdistError, opened
from builders.sdist_faults import MissingRequirementError, OutsideError, cause_of
from builders.step import Step
from builders.tree import Policy, Tree
from builders.wheel_needs import check_needs
from builders.wheel_tags import Target
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from builders.build import Build
    from builders.project import Project
    from builders.python_pins import Distribution
    from builders.recipe import Recipe

VERSION = 1
REPAIR = "wheel-tools"
"""The recipe that every such step needs, and the role in which another may stand for it."""
_BAD_WHEEL = "bad wheel: "
"""How `builders.scripts.wheel` begins what it refuses a wheel for."""
_MADE = "made"
"""The folder that a build may write to besides its own source."""
_LINES = 2000
_ANSWER = 1 << 20
"""Bytes of a hook's answer that are read."""


class SdistBuildError(BuildError):
    """A build that ended well and did not make the one wheel that it should."""

    slug = "bad-wheel-built"


def placed(
    packages: Sequence[Distribution], recipe: Recipe, project: Project
) -> tuple[Distribution, ...]:
    """Tell each sdist which steps a recipe builds it by.

    Raises:
        LockError: the lock of what sdists are compiled with is missing or stale.
        InputError: the project has not the recipes that sdists are built with.
    """
    if not any(isinstance(pinned, Sdist) for pinned in packages):
        return tuple(packages)
    return _placed(packages, recipe, native.key(recipe, project))


def plan(recipe: Recipe, packages: Sequence[Distribution], project: Project) -> tuple[Step, ...]:
    """Plan all that makes the packages of a lock, wheels and sdists, as unpacked wheels.

    Raises:
        LockError: see `placed`.
    """
    files = project.settings.mirrors.pypi_files
    steps: list[Step] = []
    for pinned in packages:
        steps += (wheel.fetch(pinned, recipe, files), wheel.unpack(pinned, recipe))
        if isinstance(pinned, Sdist):
            steps += plan(recipe, pinned.build, project)
            steps += (_environment(pinned, recipe), _step(pinned, recipe, project))
    if any(isinstance(pinned, Sdist) for pinned in packages):
        steps += native.plan(recipe, project)
    return tuple({step.key: step for step in steps}.values())


def build(build: Build) -> None:
    """Build the wheel and make it whole.

    Raises:
        ArchiveError: the sdist is damaged, or holds what must not be unpacked.
        SdistError: it holds more than one folder.
        NetworkError: its build reaches for the network.
        OutsideError: its build writes outside its folder.
        MissingRequirementError: its build asks for what the lock does not pin.
        SdistBuildError: its build made no wheel, several, or that of another package.
        BuildError: its build failed, or its wheel cannot be made whole.
        NeedsError: the wheel needs a newer glibc than the recipe promises, or a library.
    """
    made = build.work / _MADE
    made.mkdir()
    source = _unpack(build)
    _run_hook(build, "requires", source)
    _check_requires(build, made / "requires.json")
    _run_hook(build, "wheel", source)
    name = _only_wheel(build, made / "wheel")
    _repair(build, made / "wheel" / name)
    arguments = build.step.arguments
    target = Target(_two(arguments["python"]), _two(arguments["glibc"]))
    made_whole = next(build.out.glob("*.whl"))
    check_needs(made_whole, target, build.inputs["python"], title=build.step.title)


def _repair(build: Build, file: Path) -> None:
    """Make a wheel whole in a sandbox where nothing of its build is left."""
    arguments = build.step.arguments
    words = {
        "stage": "repair",
        "wheel": build.inside(file),
        "distribution": arguments["name"],
        "version": arguments["version"],
        "tools": build.inside(build.inputs["tools"]),
        "root": build.inside(build.inputs["base"]) if "base" in build.inputs else "",
        "work": build.inside(build.work / "repair"),
        "out": build.inside(build.out),
    }
    try:
        build.run_script(words)
    except BuildError as error:
        raise _judged(build, error) from error


def _two(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _placed(
    packages: Sequence[Distribution], recipe: Recipe, root: str
) -> tuple[Distribution, ...]:
    return tuple(
        _keyed(replace(pinned, build=_placed(pinned.build, recipe, root), root=root), recipe)
        if isinstance(pinned, Sdist)
        else pinned
        for pinned in packages
    )


def _keyed(pinned: Sdist, recipe: Recipe) -> Sdist:
    """Name the step by all that decides it, so that equal keys mean equal steps."""
    facts = [
        VERSION,
        pinned.sha256,
        pinned.root,
        _environment_key(pinned, recipe),
        recipe.options["glibc"],
        pinned.requires,
        [recipe.inputs.get(role, role) for role in ("python", REPAIR)],
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return replace(pinned, step=f"sdist:{pinned.name}-{pinned.version}-{digest[:12]}")


def _environment_key(pinned: Sdist, recipe: Recipe) -> str:
    parts = [recipe.inputs["python"], *(wheel.key(each, recipe) for each in pinned.build)]
    return f"build-env:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


def _environment(pinned: Sdist, recipe: Recipe) -> Step:
    """Plan the environment that a build sees: the interpreter and what is locked for it."""
    return Step(
        key=_environment_key(pinned, recipe),
        name="build-env",
        recipe=recipe.name,
        builder="env",
        inputs={**wheel.tools(recipe), **wheel.unpacked(recipe, pinned.build)},
        arguments={
            "packages": {each.name: each.version for each in pinned.build},
            "smoke": [],
            "modules": [],
        },
        script="env.py",
    )


def _step(pinned: Sdist, recipe: Recipe, project: Project) -> Step:
    missing = f"{recipe.name} builds sdists, and there is no recipe"
    tools = filler(recipe, REPAIR, Kind.ENV, project, missing=missing)
    return Step(
        key=pinned.step,
        name=store_name(f"{pinned.name}-{pinned.version}-wheel"),
        recipe=recipe.name,
        builder="sdist",
        version=VERSION,
        inputs={
            "python": recipe.inputs["python"],
            "base": pinned.root,
            "env": _environment_key(pinned, recipe),
            "sdist": wheel.fetch_key(pinned),
            "tools": tools.name,
        },
        arguments={
            "name": pinned.name,
            "version": pinned.version,
            "filename": pinned.filename,
            "build": {each.name: each.version for each in pinned.build},
            "requires": list(pinned.requires),
            "depends": list(pinned.depends),
            "python": project.recipes[recipe.inputs["python"]].options["version"],
            "glibc": recipe.options["glibc"],
        },
        script="sdist.py",
    )


def _unpack(build: Build) -> Path:
    """Lay the sdist's one folder; nothing in it can lie, or lead, outside of it."""
    filename = build.step.arguments["filename"]
    tree = Tree(str(build.work / "source"))
    with reading(filename), opened(build.inputs["sdist"]) as stream:
        tree.fill(stream, Policy(special=_ALL))
        tree.check()
    tops = sorted({name.partition("/")[0] for name in tree.kinds} - {""})
    if len(tops) != 1 or tree.kinds[tops[0]] != DIRECTORY:
        reason = f"{filename} does not hold one folder and nothing beside it"
        raise SdistError(reason, where=build.step.title, got=", ".join(tops[:5]))
    for name in tree.kinds:
        # What is newer than what must not depend on the order in which it was unpacked.
        os.utime(f"{tree.root}/{name}", (EPOCH, EPOCH), follow_symlinks=False)
    return Path(tree.root) / tops[0]


def _run_hook(build: Build, stage: str, source: Path) -> None:
    """Let the backend run once; then see that it kept to its own folders."""
    arguments = {
        "stage": stage,
        "source": build.inside(source),
        "env": build.inside(build.inputs["env"]),
        "made": build.inside(build.work / _MADE),
    }
    try:
        build.run_script(arguments)
    except BuildError as error:
        raise _explained(build, error) from error
    strangers = list(_strangers(build))
    if strangers:
        raise OutsideError(
            f"{build.step.title}: its build writes outside its folder: {strangers[0]}",
            where=str(build.log_file),
            got=", ".join(strangers),
            hint="require a version whose build keeps to its own folder",
        )
    # Laid anew for the next stage, not written over: a link could stand there.
    shutil.rmtree(build.work / "script")
    (build.work / "arguments.json").unlink()


def _strangers(build: Build) -> Iterator[str]:
    """Name what a build added to or changed in `/build`, besides its own two folders."""
    for entry in sorted(os.listdir(build.work)):  # noqa: PTH208 - names alone
        if entry not in ("source", _MADE, "script", "arguments.json"):
            yield f"{INSIDE}/{entry}"
    if not stat.S_ISREG(os.lstat(build.work / "arguments.json").st_mode):
        yield f"{INSIDE}/arguments.json"
    ours = {file.name: file.read_bytes() for file in script_files(build.step.script or "")}
    for folder, _, names in os.walk(build.work / "script"):
        for name in names:
            place = Path(folder, name)
            if place.is_symlink() or ours.get(name) != place.read_bytes():
                yield f"{INSIDE}/{place.relative_to(build.work)}"


def _explained(build: Build, error: BuildError) -> BuildError:
    """Give a failure its cause, if the log shows one."""
    cause = cause_of(logs.last_lines(build.log_file, _LINES))
    if cause is None:
        return error
    return cause.kind(
        f"{build.step.title}: {cause.reason}",
        where=error.where,
        got=cause.line,
        hint=cause.hint,
        lines=error.lines,
    )


def _check_requires(build: Build, file: Path) -> None:
    """Refuse what a backend asks for, once it runs, and was not locked for it."""
    locked: Mapping[str, str] = build.step.arguments["build"]
    named = {name_of(line) for line in build.step.arguments["requires"]}
    for line in _answer(build, file):
        asked = _requirement(build, line)
        version = locked.get(name := normalise(asked.name))
        if not _holds(asked, build.step.arguments["python"]):
            continue
        # What a line of ours names was resolved against that line, which may override.
        if version is None or not (name in named or version in asked.specifier):
            raise MissingRequirementError(
                f"{build.step.title}: its build asks for {line}, which the lock does not have",
                where=str(build.log_file),
                got=f"{name} {version}" if version else None,
                hint=f"build_requirements: {{{build.step.arguments['name']}: [{line!r}]}},"
                " and lock again",
            )


def _holds(asked: Requirement, python: str) -> bool:
    facts = {"extra": "", "python_version": python, "python_full_version": f"{python}.0"}
    return asked.marker is None or asked.marker.evaluate(facts)


def _answer(build: Build, file: Path) -> list[str]:
    """Read what the backend answered; somebody else's code wrote it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            said = json.loads(stream.read(_ANSWER))
    except (OSError, ValueError) as fault:
        raise build.error(f"its backend does not say what it asks for: {fault}") from fault
    if not isinstance(said, list) or not all(isinstance(line, str) for line in said):
        raise build.error("its backend does not say what it asks for")
    return said


def _requirement(build: Build, line: str) -> Requirement:
    try:
        return Requirement(line)
    except InvalidRequirement as fault:
        raise build.error(f"its backend asks for what is no requirement: {line!r}") from fault


def _only_wheel(build: Build, folder: Path) -> str:
    """Return the name of the one wheel that a build made, which must be of the right package."""
    arguments, title = build.step.arguments, build.step.title
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise OutsideError(f"{title}: its build put something else in place of {folder.name!r}")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".whl"))  # noqa: PTH208
    if len(names) != 1:
        many = f"{len(names)} wheels" if names else "no wheel"
        reason, got = f"{title}: its build made {many}", ", ".join(names) or None
        raise SdistBuildError(reason, where=str(build.log_file), expected="one", got=got)
    try:
        found, version, _, _ = parse_wheel_filename(names[0])
    except (InvalidWheelFilename, InvalidVersion) as fault:
        raise SdistBuildError(f"{title}: {fault}", where=str(build.log_file)) from fault
    if (found, version) != (arguments["name"], Version(arguments["version"])):
        raise SdistBuildError(
            f"{title}: its build made the wheel of another package",
            where=str(build.log_file),
            expected=f"{arguments['name']} {arguments['version']}",
            got=names[0],
        )
    _check_regular(build, folder / names[0])
    return names[0]


def _check_regular(build: Build, file: Path) -> None:
    """Refuse what is no file: reading a pipe would wait for ever, and a link leads elsewhere."""
    if not stat.S_ISREG(os.lstat(file).st_mode):
        raise SdistBuildError(
            f"{build.step.title}: its build put something else in place of {file.name!r}",
            where=str(build.log_file),
            expected="a file",
        )


def _judged(build: Build, error: BuildError) -> BuildError:
    """Name a wheel that was refused; its build's own words stand before that in the log."""
    said = next(reversed(logs.last_lines(build.log_file, 1)), "")
    if not said.startswith(_BAD_WHEEL):
        return error
    reason = f"{build.step.title}: its build made a {said}"
    return SdistBuildError(reason, where=error.where, lines=error.lines)


class _All:
    """A container of every name."""

    def __contains__(self, _: object) -> bool:
        return True


_ALL = _All()
"""Members whose setuid, setgid and sticky bits go: old archives have them on folders."""
