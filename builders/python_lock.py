"""Locks of Python packages: one wheel of each, by hash, for one interpreter and platform.

The format is that of PEP 751 with the one chosen wheel per package. `load` refuses a lock that
was made for other requirements. Making one is for `builders.python_resolve`, what is fetched of
it for `builders.wheel`.
"""

from __future__ import annotations

import os
import re
import tomllib
from base64 import b64encode
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

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
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

PUBLIC_FILES = "https://files.pythonhosted.org/"
"""Where the public index keeps its files; a lock names this, whichever mirror made it."""

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
class Wheel:
    """The one file that a lock takes of a package."""

    name: str
    version: str
    url: str
    sha256: str
    """Base 16."""
    size: int | None

    @property
    def filename(self) -> str:
        """The wheel's own name, the last part of its address."""
        return unquote(self.url.partition("#")[0].rpartition("/")[2])

    @property
    def integrity(self) -> str:
        """The hash in SRI spelling."""
        return "sha256-" + b64encode(bytes.fromhex(self.sha256)).decode()

    def address(self, files: str) -> str:
        """Return the URL on a mirror of the files."""
        if self.url.startswith(PUBLIC_FILES):
            return files.rstrip("/") + "/" + self.url.removeprefix(PUBLIC_FILES)
        return self.url


@dataclass(frozen=True, slots=True)
class PythonLock:
    """Wheels sorted by name, and the requirements they were chosen for."""

    wheels: tuple[Wheel, ...]
    requirements: tuple[str, ...]
    digest: str


def requirements_of(recipe: Recipe, source: SourceTree | None) -> Requirements:
    """Return what a recipe asks for: lines of its own, or a file of its source and extras.

    A source without `requirements.txt` asks for the extras alone.

    Raises:
        RequirementError: a line cannot be locked, or a file that the recipe names is missing.
    """
    asked = recipe.options["requirements"]
    if source is None:
        return parse_lines(asked, str(recipe.file))
    extra = recipe.options["extra_requirements"]
    file = source.root / asked
    if asked == DEFAULT_FILE and not os.path.lexists(file):
        return parse_lines(extra, str(recipe.file))
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
        moved = "requirements" if added or gone else "targets"
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
        made_for = tuple(data["tool"]["sealift"]["requirements"])
        wheels = tuple(_wheel(package) for package in data.get("packages", ()))
    except (tomllib.TOMLDecodeError, LookupError, TypeError, ValueError, AttributeError) as fault:
        told = f"{fault} is missing" if isinstance(fault, LookupError) else fault
        reason = f"this is not a lock of Python packages: {told}"
        raise LockError(reason, where=where, hint=hint) from fault
    digest = _DIGEST.search(text)
    if digest is None:
        raise LockError("the lock does not say what it was made for", where=where, hint=hint)
    for wheel, after in pairwise(wheels):
        if wheel.name >= after.name:
            raise LockError(f"{after.name} is twice in the lock, or out of order", where=where)
    for wheel in wheels:
        _check(wheel, where)
    return PythonLock(wheels, made_for, digest[1])


def _wheel(package: Mapping[str, Any]) -> Wheel:
    (wheel,) = package["wheels"]
    size = wheel.get("size")
    return Wheel(
        name=package["name"],
        version=package["version"],
        url=wheel["url"],
        sha256=wheel["hashes"]["sha256"],
        size=None if size is None else int(size),
    )


def _check(wheel: Wheel, where: str) -> None:
    if not _SHA256.fullmatch(wheel.sha256):
        raise LockError(f"{wheel.name}: the hash is not a SHA-256", where=where, got=wheel.sha256)
    parsed = parse_wheel(wheel.filename)
    if normalise(parsed.name) != wheel.name:
        reason = f"{wheel.name}: the file is a wheel of {parsed.name}"
        raise LockError(reason, where=where, got=wheel.url)


def render(wheels: Iterable[Wheel], requirements: Requirements, target: Target) -> str:
    """Spell a lock: the inverse of `parse`."""
    lines = [
        "# Made by `sealift lock`. Do not edit: change the requirements and lock again.",
        f"# requirements: sha256-{requirements.digest(str(target))}",
        'lock-version = "1.0"',
        'created-by = "sealift"',
        f'requires-python = "=={target.python[0]}.{target.python[1]}.*"',
    ]
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        size = "" if wheel.size is None else f"size = {wheel.size}, "
        hashes = f"hashes = {{ sha256 = {_quoted(wheel.sha256)} }}"
        lines += [
            "",
            "[[packages]]",
            f"name = {_quoted(wheel.name)}",
            f"version = {_quoted(wheel.version)}",
            f"wheels = [{{ url = {_quoted(wheel.url)}, {size}{hashes} }}]",
        ]
    lines += ["", "[tool.sealift]", f"format = {_FORMAT}", f"target = {_quoted(str(target))}"]
    lines += ["requirements = [", *(f"    {_quoted(line)}," for line in requirements.lines), "]"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Quote for TOML; what a lock holds has no control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
