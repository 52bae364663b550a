"""The lock of a set of .debs: which version, which bytes, and where they come from.

Made by `lock` from the mirror's signed indexes alone; whatever the recipe does not name is not
in it (there is no dependency solver: a library that is missing shows when the object is built).
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from builders.deb_index import read_suite
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from builders.deb_index import Suite
    from builders.debian import Stanza
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.settings import Mirrors
    from builders.step import SourceTree

FORMAT = 1
ARCHITECTURE = "amd64"
SUITES = ("bookworm", "bookworm-updates", "bookworm-security")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SNAPSHOT = "https://snapshot.debian.org/archive"


class LockError(InputError):
    """A lock that is missing, damaged or not made from the recipe as it is now."""

    slug = "stale-lock"


@dataclass(frozen=True, slots=True)
class Pinned:
    """One .deb: its version and its bytes. `size` in bytes, `filename` relative to the mirror."""

    version: str
    architecture: str
    suite: str
    filename: str
    sha256: str
    size: int

    @property
    def integrity(self) -> str:
        """The hash in SRI spelling."""
        return "sha256-" + base64.b64encode(bytes.fromhex(self.sha256)).decode()

    @property
    def basename(self) -> str:
        """The file's name without its folders."""
        return self.filename.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class DebLock:
    """The pinned packages by name, and when the suites they come from were published."""

    suites: Mapping[str, str]
    """Suite → moment of its Release, as snapshot.debian.org spells it."""
    packages: Mapping[str, Pinned]

    def __str__(self) -> str:
        document = {
            "format": FORMAT,
            "suites": dict(self.suites),
            "packages": {name: _to_json(pinned) for name, pinned in self.packages.items()},
        }
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    def urls(self, name: str, mirrors: Mirrors) -> tuple[str, ...]:
        """List where a package may be fetched: the mirror first, then what remembers it."""
        pinned = self.packages[name]
        archive = "debian-security" if _is_security(pinned.suite) else "debian"
        moment = self.suites[pinned.suite]
        return (
            f"{_mirror(pinned.suite, mirrors)}/{pinned.filename}",
            f"{_SNAPSHOT}/{archive}/{moment}/{pinned.filename}",
        )


def load_lock(file: Path, wanted: Iterable[str], recipe: str) -> DebLock:
    """Load a lock that pins exactly the packages that a recipe wants.

    Raises:
        LockError: if it is missing, damaged, or pins others.
    """
    hint = f"sealift lock {recipe}"
    try:
        lock = parse_lock(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LockError("there is no lock yet", where=str(file), hint=hint) from None
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise LockError(f"the lock is damaged: {fault}", where=str(file), hint=hint) from fault
    moved = set(wanted) ^ set(lock.packages)
    if moved:
        reason = f"the lock and the recipe name other packages: {', '.join(sorted(moved))}"
        raise LockError(reason, where=str(file), hint=hint)
    return lock


def parse_lock(text: str) -> DebLock:
    """Parse a lock; the inverse of its `str`.

    Raises:
        ValueError: or KeyError, TypeError, AttributeError, if it is not one.
    """
    document = json.loads(text)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}")
    packages = {name: _from_json(record) for name, record in document["packages"].items()}
    suites = {str(suite): str(moment) for suite, moment in document["suites"].items()}
    for name, pinned in packages.items():
        if pinned.suite not in suites:
            raise ValueError(f"{name!r} comes from no suite")
    return DebLock(suites, packages)


def lock(recipe: Recipe, _source: SourceTree | None, project: Project) -> str:
    """Pin the newest version of each of the recipe's packages that the suites have.

    Raises:
        LockError: if a package is in none of them.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
    """
    wanted = frozenset(recipe.options["packages"])
    mirrors, keyring = project.settings.mirrors, project.settings.keyring
    names = tuple(recipe.options.get("suites") or SUITES)
    suites = [read_suite(_mirror(name, mirrors), name, wanted, keyring=keyring) for name in names]
    packages = {name: _choose(name, suites, recipe) for name in sorted(wanted)}
    used = {pinned.suite for pinned in packages.values()}
    moments = {suite.name: _moment(suite) for suite in suites if suite.name in used}
    return str(DebLock(moments, packages))


def _choose(name: str, suites: Sequence[Suite], recipe: Recipe) -> Pinned:
    found = [
        (stanza, suite)
        for suite in suites
        for stanza in suite.stanzas
        if stanza.name == name and stanza.architecture in (ARCHITECTURE, "all")
    ]
    if not found:
        raise LockError(
            f"no suite has a package {name!r}",
            where=str(recipe.file),
            expected=f"one of {', '.join(suite.name for suite in suites)}",
            hint="correct the name under `packages:`",
        )
    # The first of equals: a suite named earlier in the recipe is the better known one.
    stanza, suite = max(found, key=lambda pair: pair[0].version)
    return _pin(stanza, suite)


def _pin(stanza: Stanza, suite: Suite) -> Pinned:
    return Pinned(
        version=str(stanza.version),
        architecture=stanza.architecture,
        suite=suite.name,
        filename=stanza.filename,
        sha256=stanza.sha256,
        size=stanza.size,
    )


def _moment(suite: Suite) -> str:
    return suite.release.date.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _mirror(suite: str, mirrors: Mirrors) -> str:
    return (mirrors.debian_security if _is_security(suite) else mirrors.debian).rstrip("/")


def _is_security(suite: str) -> bool:
    return suite.endswith("-security")


def _to_json(pinned: Pinned) -> dict[str, Any]:
    return {
        "version": pinned.version,
        "architecture": pinned.architecture,
        "suite": pinned.suite,
        "filename": pinned.filename,
        "sha256": pinned.sha256,
        "size": pinned.size,
    }


def _from_json(record: Mapping[str, Any]) -> Pinned:
    pinned = Pinned(**record)
    if not _HASH.match(pinned.sha256) or not isinstance(pinned.size, int):
        raise ValueError(f"no SHA-256 or size for {pinned.filename!r}")
    return pinned
