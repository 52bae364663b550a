"""What a site asks for: `requirements.txt`, read into lines that mean the same thing anywhere.

Which versions answer to it is for `builders.python_lock`. What cannot be pinned by a hash, or
would let the file choose where packages come from, is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builders.recipe import EMPTY
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?=$|[\s\[<>=!~;(@,])")
_HASH = re.compile(r"\s--hash[= ]\S+")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:[ =]\s*|(?=[^-\s]))(\S+)\s*$")
_INDEX = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host")
_DEEPEST = 8

PROJECT_FILE = "pyproject.toml"
"""A Python project's own file; its `dependencies` are requirements as well."""
DEFAULT_FILE = "requirements.txt"
"""What a recipe asks for if it names no other file; a source without it asks for nothing."""


class RequirementError(InputError):
    """A line of a requirements file that cannot be locked."""

    slug = "bad-requirement"


@dataclass(frozen=True, slots=True)
class Requirements:
    """Requirement lines and constraints, normalised and sorted.

    Attributes:
        lines: what is asked for.
        constraints: what holds for a package if something asks for it.
        sdists: names of packages that are built from source although they have a wheel.
        build: name → what its build asks for besides what it says itself, or instead.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    sdists: tuple[str, ...] = ()
    build: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)

    @property
    def names(self) -> frozenset[str]:
        """The distributions that are asked for by name, as PEP 503 spells them."""
        return frozenset(filter(None, map(name_of, self.lines)))

    def digest(self, *target: str) -> str:
        """Return one hash over all that decides the lock: the lines and the target."""
        value: list[object] = [self.lines, self.constraints, target]
        if self.sdists or self.build:
            value += [self.sdists, dict(self.build)]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def normalise(name: str) -> str:
    """Spell a distribution's name as PEP 503 does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(line: str) -> str:
    """Return the name that a requirement line starts with, normalised; nothing if it has none."""
    found = _NAME.match(line)
    return normalise(found[1]) if found else ""


def parse_lines(lines: Iterable[str], where: str) -> Requirements:
    """Make requirements of lines that a recipe gives.

    Raises:
        RequirementError: a line is not a plain requirement.
    """
    found = [_requirement(line, where) for line in lines]
    return Requirements(tuple(sorted(set(filter(None, found)))))


def read_requirements(file: Path, extra: Iterable[str] = (), *, root: Path) -> Requirements:
    """Read a requirements file and what it includes below `root`, with more lines added.

    An extra line gives way to one of the file that names the same distribution.

    Raises:
        RequirementError: a file is missing or outside, or a line cannot be locked.
    """
    lines: list[str] = []
    constraints: list[str] = []
    _read(file, root, (lines, constraints), depth=0)
    named = {name_of(line) for line in lines}
    lines += [line for line in parse_lines(extra, str(file)).lines if name_of(line) not in named]
    return Requirements(tuple(sorted(set(lines))), tuple(sorted(set(constraints))))


def _read(file: Path, root: Path, into: tuple[list[str], list[str]], *, depth: int) -> None:
    if depth > _DEEPEST:
        raise RequirementError("requirements files include each other", where=str(file))
    if file.name == PROJECT_FILE:
        into[0].extend(_dependencies(file, root))
        return
    for number, line in _joined(_text(file, root)):
        where = f"{file}:{number}"
        included = _INCLUDE.match(line)
        if included is None:
            into[0].append(_requirement(line, where))
            continue
        is_constraint = included[1] in ("-c", "--constraint")
        target = (into[1], into[1]) if is_constraint else into
        _read(file.parent / included[2], root, target, depth=depth + 1)


def _dependencies(file: Path, root: Path) -> list[str]:
    """Return what a Python project declares that it needs.

    Raises:
        RequirementError: it is not a project, or says that others are to find out.
    """
    # Loaded here because only few recipes need it, and this module is loaded for all.
    import tomllib  # noqa: PLC0415

    where = str(file)
    try:
        project = tomllib.loads(_text(file, root))["project"]
        lines = [str(line) for line in project.get("dependencies", ())]
        dynamic = "dependencies" in project.get("dynamic", ())
    except (tomllib.TOMLDecodeError, LookupError, AttributeError, TypeError) as fault:
        reason = "this is no pyproject.toml with a table [project]"
        raise RequirementError(reason, where=where, got=str(fault)) from fault
    if dynamic:
        reason = "dependencies are dynamic, and cannot be read"
        raise RequirementError(reason, where=where, hint="list them under [project]")
    return [_requirement(line, where) for line in lines]


def _text(file: Path, root: Path) -> str:
    if not file.resolve().is_relative_to(root.resolve()):
        raise RequirementError("a requirements file outside of the source", where=str(file))
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as fault:
        hint = "name it in the recipe: requirements: FILE"
        raise RequirementError("no requirements file", where=str(file), hint=hint) from fault
    except UnicodeDecodeError as fault:
        raise RequirementError("the requirements file is not UTF-8", where=str(file)) from fault


def _joined(text: str) -> list[tuple[int, str]]:
    """Return the lines that say something, continued ones joined, with their numbers."""
    found: list[tuple[int, str]] = []
    begun, start = "", 0
    for number, raw in enumerate([*text.splitlines(), ""], start=1):
        line = _COMMENT.sub("", raw)
        start = start if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        if (begun + line).strip():
            found.append((start, (begun + line).strip()))
        begun = ""
    return found


def _requirement(line: str, where: str) -> str:
    """Normalise one requirement; hashes go, since the lock has its own."""
    text = " ".join(_HASH.sub("", f" {line}").split())
    if text.startswith("-"):
        raise _option(text, where)
    name = _NAME.match(text)
    if name is None or "://" in text or " @ " in text or text.startswith((".", "/")):
        raise RequirementError(
            f"{text!r} is not a package of the index",
            where=where,
            expected="a name, extras, versions and a marker",
            hint="publish it as a wheel on your index: what has no hash cannot be locked",
        )
    rest, separator, marker = text[name.end(1) :].partition(";")
    spelled = normalise(name[1]) + re.sub(r"\s+", "", rest)
    return f"{spelled} ; {marker.strip()}" if separator else spelled


def _option(text: str, where: str) -> RequirementError:
    option = re.split(r"[ =]", text)[0]
    if option in _INDEX:
        hint = "set the index in sealift.yaml: mirrors: {pypi_index: URL}"
    else:
        hint = "keep requirements, -r FILE and -c FILE"
    return RequirementError(f"option {option!r} cannot be locked", where=where, hint=hint)
