"""Locks of Python packages: one file of each, by hash, for one interpreter and platform.

The format is that of PEP 751 with the one chosen wheel per package, or its sdist and what that is
built with. `load` refuses a lock that was made for other requirements. Making one is for
`builders.python_resolve`, what is fetched of it for `builders.wheel` and `builders.sdist`.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from builders.python_pins import Distribution, Sdist, Wheel
from builders.requirements import (
    DEFAULT_FILE,
    Requirements,
    normalise,
    parse_lines,
    read_requirements,
)
from builders.wheel_tags import Target, choose, parse_wheel
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"^# requirements: sha256-([0-9a-f]{64})$", re.MULTILINE)


class LockError(InputError):
    """A lock that cannot be built from."""

    slug: ClassVar[str] = "bad-lock"


class MissingLockError(LockError):
    """There is no lock yet."""

    slug = "lock-missing"


class StaleLockError(LockError):
    """A lock that was made for other requirements."""

    slug = "lock-stale"


class NoWheelError(LockError):
    """A package that has no wheel for the target."""

    slug = "no-wheel"


class YankedError(LockError):
    """A release that its authors took back."""

    slug = "yanked"


class ResolveError(Error):
    """The resolver found no answer, or could not ask."""

    slug = "resolve-failed"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class PythonLock:
    """Packages sorted by name, and the requirements they were chosen for."""

    packages: tuple[Distribution, ...]
    requirements: tuple[str, ...]
    digest: str

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """The packages that are taken as they are."""
        return tuple(pinned for pinned in self.packages if isinstance(pinned, Wheel))

    @property
    def sdists(self) -> tuple[Sdist, ...]:
        """The packages that are built here."""
        return tuple(pinned for pinned in self.packages if isinstance(pinned, Sdist))


def requirements_of(recipe: Recipe, source: SourceTree | None) -> Requirements:
    """Return what a recipe asks for: lines of its own, or a file of its source and extras.

    A source without `requirements.txt` asks for the extras alone.

    Raises:
        RequirementError: a line cannot be locked, or a file that the recipe names is missing.
    """
    where = str(recipe.file)
    build = recipe.options.get("build_requirements", {})
    return replace(
        _lines_of(recipe, source, where),
        sdists=tuple(sorted(recipe.options.get("sdists", ()))),
        build={name: parse_lines(build[name], where).lines for name in sorted(build)},
    )


def _lines_of(recipe: Recipe, source: SourceTree | None, where: str) -> Requirements:
    asked = recipe.options["requirements"]
    if source is None or not isinstance(asked, str):
        return parse_lines(asked, where)
    extra = recipe.options["extra_requirements"]
    file = source.root / asked
    if asked == DEFAULT_FILE and not os.path.lexists(file):
        return parse_lines(extra, where)
    return read_requirements(file, extra, root=source.root)


def target_of(recipe: Recipe, project: Project) -> Target:
    """Return what a recipe's wheels must run on: its interpreter's version, its glibc floor.

    Raises:
        InputError: the input `python` is no interpreter, or a version is not one.
    """
    python = project.recipes[recipe.inputs["python"]]
    version = python.options.get("version")
    if version is None or python.options.get("language") != "python":
        raise InputError(
            f"{recipe.name}: input 'python' is {python.name}, which is no Python toolchain",
            where=str(recipe.file),
        )
    return Target(_two(version, recipe), _two(recipe.options["glibc"], recipe))


def _two(version: str, recipe: Recipe) -> tuple[int, int]:
    parts = version.split(".")
    if len(parts) < 2:  # noqa: PLR2004 - a major and a minor
        expected = "a version with a dot, such as 2.28 or 3.11"
        raise InputError(
            f"version {version!r} is too short", where=str(recipe.file), expected=expected
        )
    return int(parts[0]), int(parts[1])


def load(file: Path, requirements: Requirements, target: Target, *, name: str) -> PythonLock:
    """Read the lock of a recipe, which must be for just these requirements and this target.

    Raises:
        MissingLockError: there is none.
        StaleLockError: it was made for something else.
        LockError: it is not a lock.
        NoWheelError: a wheel of it does not run on the target.
    """
    hint = f"sealift lock {name}"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        reason = f"{name} has no lock"
        raise MissingLockError(reason, where=str(file), hint=hint) from fault
    except UnicodeDecodeError as fault:
        raise LockError("the lock is not UTF-8 text", where=str(file), hint=hint) from fault
    lock = parse(text, where=str(file), hint=hint)
    if lock.digest != requirements.digest(str(target)):
        added = ", ".join(_moved(requirements.lines, lock.requirements))
        gone = ", ".join(_moved(lock.requirements, requirements.lines))
        moved = "requirements" if added or gone else "targets, sdists or build requirements"
        raise StaleLockError(
            f"the lock of {name} was made for other {moved}",
            where=str(file),
            expected=added or (None if gone else str(target)),
            got=gone or None,
            hint=hint,
        )
    for wheel in lock.wheels:
        if choose([parse_wheel(wheel.filename)], target) is None:
            reason = f"{wheel.filename} does not run on {target}"
            raise NoWheelError(reason, where=str(file), hint=hint)
    return lock


def _moved(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    return [line for line in ours if line not in set(theirs)]


def parse(text: str, *, where: str, hint: str = "make it with `sealift lock`") -> PythonLock:
    """Read a lock.

    Raises:
        LockError: it is not one, or pins something twice or not at all.
    """
    if not text.strip():
        raise LockError("the lock is empty", where=where, hint=hint)
    try:
        data = tomllib.loads(text)
        ours = data["tool"]["sealift"]
        made_for = tuple(ours["requirements"])
        rows = data.get("packages", [])
        known = {_pin_of(row): row for row in (*ours.get("build", ()), *rows)}
        packages = tuple(_distribution(row, known, ()) for row in rows)
    except (tomllib.TOMLDecodeError, LookupError, TypeError, ValueError, AttributeError) as fault:
        told = f"{fault} is missing" if isinstance(fault, LookupError) else fault
        reason = f"this is not a lock of Python packages: {told}"
        raise LockError(reason, where=where, hint=hint) from fault
    digest = _DIGEST.search(text)
    if digest is None:
        raise LockError("the lock does not say what it was made for", where=where, hint=hint)
    for pinned, after in pairwise(packages):
        if pinned.name >= after.name:
            raise LockError(f"{after.name} is twice in the lock, or out of order", where=where)
    for pinned in everything(packages):
        _check(pinned, where)
    return PythonLock(packages, made_for, digest[1])


def everything(packages: Iterable[Distribution]) -> Iterator[Distribution]:
    """Yield packages, and what they are built with, and what that is built with; some twice."""
    for pinned in packages:
        yield pinned
        if isinstance(pinned, Sdist):
            yield from everything(pinned.build)


def _pin_of(row: Mapping[str, Any]) -> str:
    return f"{row['name']}=={row['version']}"


def _distribution(
    row: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], within: Sequence[str]
) -> Distribution:
    """Read a package; `known` are all rows by pin, `within` what this one is needed to build."""
    if "sdist" not in row:
        (wheel,) = row["wheels"]
        return Wheel(**_file(row, wheel))
    pin, said = _pin_of(row), row["tool"]["sealift"]
    if pin in within:
        raise ValueError(f"{pin} is needed to build itself")
    for each in said["build"]:
        if each not in known:
            raise ValueError(f"{pin} is built with {each}, which it does not pin")
    return Sdist(
        **_file(row, row["sdist"]),
        build=tuple(_distribution(known[each], known, (*within, pin)) for each in said["build"]),
        requires=tuple(said["requires"]),
        depends=tuple(said["depends"]),
    )


def _file(row: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    size = file.get("size")
    return {
        "name": row["name"],
        "version": row["version"],
        "url": file["url"],
        "sha256": file["hashes"]["sha256"],
        "size": None if size is None else int(size),
    }


def _check(pinned: Distribution, where: str) -> None:
    if not _SHA256.fullmatch(pinned.sha256):
        raise LockError(f"{pinned.name}: the hash is not a SHA-256", where=where, got=pinned.sha256)
    if isinstance(pinned, Wheel):
        kind, name = "a wheel", parse_wheel(pinned.filename).name
    else:
        stem, suffix, _ = pinned.filename.partition(".tar.gz")
        kind, name = "an sdist", stem.rpartition("-")[0] if suffix else ""
    if normalise(name) != pinned.name:
        reason = f"{pinned.name}: the file is {kind} of {name or 'another kind'}"
        raise LockError(reason, where=where, got=pinned.url)


def render(packages: Iterable[Distribution], requirements: Requirements, target: Target) -> str:
    """Spell a lock: the inverse of `parse`."""
    found = sorted(packages, key=lambda pinned: pinned.name)
    lines = [
        "# Made by `sealift lock`. Do not edit: change the requirements and lock again.",
        f"# requirements: sha256-{requirements.digest(str(target))}",
        'lock-version = "1.0"',
        'created-by = "sealift"',
        f'requires-python = "=={target.python[0]}.{target.python[1]}.*"',
    ]
    for pinned in found:
        lines += ["", "[[packages]]", *_spelled(pinned)]
        if isinstance(pinned, Sdist):
            lines += ["", "[packages.tool.sealift]", *_spelled_build(pinned)]
    lines += ["", "[tool.sealift]", f"format = {_FORMAT}", f"target = {_quoted(str(target))}"]
    lines += _listed("requirements", requirements.lines)
    for pinned in _build_only(found):
        lines += ["", "[[tool.sealift.build]]", *_spelled(pinned)]
        if isinstance(pinned, Sdist):
            lines += ["", "[tool.sealift.build.tool.sealift]", *_spelled_build(pinned)]
    return "\n".join(lines) + "\n"


def _build_only(packages: Sequence[Distribution]) -> list[Distribution]:
    """List what is needed for building alone, once, in order."""
    ours = {pinned.pin for pinned in packages}
    needed = {pinned.pin: pinned for pinned in everything(packages) if pinned.pin not in ours}
    return [needed[pin] for pin in sorted(needed)]


def _spelled(pinned: Distribution) -> list[str]:
    size = "" if pinned.size is None else f"size = {pinned.size}, "
    hashes = f"hashes = {{ sha256 = {_quoted(pinned.sha256)} }}"
    file = f"{{ url = {_quoted(pinned.url)}, {size}{hashes} }}"
    found = f"sdist = {file}" if isinstance(pinned, Sdist) else f"wheels = [{file}]"
    return [f"name = {_quoted(pinned.name)}", f"version = {_quoted(pinned.version)}", found]


def _spelled_build(pinned: Sdist) -> list[str]:
    return [
        *_listed("requires", pinned.requires),
        *_listed("build", [each.pin for each in pinned.build]),
        *_listed("depends", pinned.depends),
    ]


def _listed(key: str, items: Sequence[str]) -> list[str]:
    if not items and key != "requirements":
        return [f"{key} = []"]
    return [f"{key} = [", *(f"    {_quoted(item)}," for item in items), "]"]


def _quoted(text: str) -> str:
    """Quote for TOML; what a lock holds has no control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
