"""A lock of .debs: which version, which bytes, and where they are fetched.

Read by every build; making one is for `builders.deb_lock`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builders.debian import check_field, check_file, parse_version
from builders.recipe import EMPTY
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from builders.settings import Mirrors

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
"""Of a package: Debian Policy Manual, 5.6.1."""
_SNAPSHOT = "https://snapshot.debian.org/archive"
_REMEMBERED = {
    "debian": f"{_SNAPSHOT}/debian",
    "debian-security": f"{_SNAPSHOT}/debian-security",
    "ubuntu": "https://snapshot.ubuntu.com/ubuntu",
}
"""What remembers the archives that mirrors carry, by the last folder of a mirror's address."""


class LockError(InputError):
    """A lock that is missing, damaged or not made from the recipe as it is now."""

    slug = "lock-stale"


@dataclass(frozen=True, slots=True)
class Pinned:
    """One .deb: its version and its bytes. `size` in bytes, `filename` relative to the mirror."""

    version: str
    architecture: str
    suite: str
    filename: str
    sha256: str
    size: int
    control: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """More that its index says of it, as far as it matters: what it needs, its source's name."""

    @property
    def integrity(self) -> str:
        """The hash in SRI spelling."""
        return "sha256-" + base64.b64encode(bytes.fromhex(self.sha256)).decode()

    @property
    def basename(self) -> str:
        """The file's name without its folders."""
        return self.filename.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a closure answers: the packages that were asked for, where, and beside which system.

    `sources` are spelled as `builders.apt_solver.Source` is. `base` is the name of a base system
    and the SHA-256 of its status text; both empty where nothing is installed. `present` are the
    asked packages that it has already, with their versions; `provided` are the virtual ones, each
    with the package that stands for it.
    """

    packages: tuple[str, ...]
    sources: tuple[str, ...]
    base: str = ""
    base_sha256: str = ""
    present: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    provided: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @classmethod
    def of(
        cls, packages: Iterable[str], sources: Iterable[object], *, base: str = "", status: str = ""
    ) -> Asked:
        """Make the question for some packages, beside the system that a status file describes."""
        digest = hashlib.sha256(status.encode()).hexdigest() if base else ""
        return cls(tuple(sorted(packages)), tuple(map(str, sources)), base, digest)


@dataclass(frozen=True, slots=True)
class DebLock:
    """The pinned packages by name, and when the suites they come from were as they are here."""

    suites: Mapping[str, str]
    """Suite → a moment at which its archive is remembered, as snapshot.debian.org spells it."""
    packages: Mapping[str, Pinned]
    mirrors: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Suite → its mirror, where the recipe names one; the others' is a setting."""
    asked: Asked | None = None
    """Set for a closure; otherwise the packages are those that the recipe names."""

    def __str__(self) -> str:
        document: dict[str, Any] = {
            "format": FORMAT,
            "suites": dict(self.suites),
            "packages": {name: _to_json(pinned) for name, pinned in self.packages.items()},
        }
        if self.mirrors:
            document["mirrors"] = dict(self.mirrors)
        if self.asked is not None:
            document["asked"] = _asked_to_json(self.asked)
            document["digest"] = _digest(document)
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    def urls(self, name: str, mirrors: Mirrors) -> tuple[str, ...]:
        """List where a package may be fetched: the mirror first, then what remembers it."""
        pinned = self.packages[name]
        moment = self.suites[pinned.suite]
        if pinned.suite in self.mirrors:
            mirror = self.mirrors[pinned.suite]
            archive = urlsplit(mirror).path.rstrip("/").rpartition("/")[2]
        else:
            mirror = mirror_of(pinned.suite, mirrors)
            archive = "debian-security" if _is_security(pinned.suite) else "debian"
        urls = [f"{mirror.rstrip('/')}/{pinned.filename}"]
        if archive in _REMEMBERED:
            urls.append(f"{_REMEMBERED[archive]}/{moment}/{pinned.filename}")
        return tuple(urls)


def load_lock(file: Path, wanted: Iterable[str], recipe: str) -> DebLock:
    """Load a lock that pins exactly the packages that a recipe wants.

    Raises:
        LockError: if it is missing, damaged, or pins others.
    """
    lock = read_lock(file, recipe)
    if lock.asked is not None:
        raise _stale("the lock holds a closure, for which the recipe does not ask", file, recipe)
    _check_names(set(wanted) ^ set(lock.packages), file, recipe)
    return lock


def load_closure(file: Path, asked: Asked, recipe: str) -> DebLock:
    """Load a lock that holds the closure which a recipe asks for; `present` does not matter.

    Raises:
        LockError: if it is missing, damaged, or answers another question.
    """
    lock = read_lock(file, recipe)
    if lock.asked is None:
        raise _stale("the lock holds no closure, for which the recipe asks", file, recipe)
    answered = lock.packages.keys() | lock.asked.present.keys() | lock.asked.provided.keys()
    if lost := sorted(set(lock.asked.packages) - answered):
        reason = f"the lock does not hold what it was asked for: {', '.join(lost)}"
        raise _stale(reason, file, recipe)
    _check_names(set(asked.packages) ^ set(lock.asked.packages), file, recipe)
    if asked.sources != lock.asked.sources:
        raise _stale(
            "the lock was made from other suites",
            file,
            recipe,
            expected="; ".join(asked.sources),
            got="; ".join(lock.asked.sources),
        )
    if (asked.base, asked.base_sha256) != (lock.asked.base, lock.asked.base_sha256):
        raise _stale(
            "the lock was made for another base system, or that one has changed",
            file,
            recipe,
            expected=_base(asked),
            got=_base(lock.asked),
        )
    return lock


def read_lock(file: Path, recipe: str) -> DebLock:
    """Read a lock, whatever it was made for.

    Raises:
        LockError: if it is missing or damaged.
    """
    try:
        return parse_lock(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _stale("there is no lock yet", file, recipe) from None
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise _stale(f"the lock is damaged: {fault}", file, recipe) from fault


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
        if _NAME.match(name) is None:
            raise ValueError(f"{name!r} is no name of a package")
        if pinned.suite not in suites:
            raise ValueError(f"{name!r} comes from no suite")
    mirrors = {str(suite): str(url) for suite, url in document.get("mirrors", {}).items()}
    asked = _asked_from_json(document["asked"]) if "asked" in document else None
    if asked is not None and document.pop("digest", None) != _digest(document):
        # Of a closure, nothing else tells whether a package was taken out of it.
        raise ValueError("it was changed by hand")
    return DebLock(suites, packages, mirrors, asked)


def mirror_of(suite: str, mirrors: Mirrors) -> str:
    """Give the address of the mirror that has a suite, without a slash at its end."""
    return (mirrors.debian_security if _is_security(suite) else mirrors.debian).rstrip("/")


def moment(date: datetime) -> str:
    """Spell a moment at which what a suite had at a date is remembered.

    snapshot.debian.org gives the last state before a moment, and looks a few times a day: at
    the Release's own date it may not have it yet.
    """
    return (date.astimezone(UTC) + timedelta(days=1)).strftime("%Y%m%dT%H%M%SZ")


def _is_security(suite: str) -> bool:
    return suite.endswith("-security")


def _to_json(pinned: Pinned) -> dict[str, Any]:
    record: dict[str, Any] = {
        "version": pinned.version,
        "architecture": pinned.architecture,
        "suite": pinned.suite,
        "filename": pinned.filename,
        "sha256": pinned.sha256,
        "size": pinned.size,
    }
    return record | {"control": dict(pinned.control)} if pinned.control else record


def _from_json(record: Mapping[str, Any]) -> Pinned:
    pinned = Pinned(**record)
    check_file(pinned.filename, pinned.sha256)
    parse_version(pinned.version)
    if not isinstance(pinned.size, int) or pinned.size < 1:
        raise ValueError(f"size {pinned.size!r}")
    for name, value in pinned.control.items():
        check_field(name, value)
    return pinned


def _asked_to_json(asked: Asked) -> dict[str, Any]:
    document: dict[str, Any] = {"packages": list(asked.packages), "sources": list(asked.sources)}
    if asked.base:
        document["base"] = {"name": asked.base, "sha256": asked.base_sha256}
    if asked.present:
        document["present"] = dict(asked.present)
    if asked.provided:
        document["provided"] = dict(asked.provided)
    return document


def _asked_from_json(record: Mapping[str, Any]) -> Asked:
    base = record.get("base", {"name": "", "sha256": ""})
    return Asked(
        packages=tuple(str(name) for name in record["packages"]),
        sources=tuple(str(source) for source in record["sources"]),
        base=str(base["name"]),
        base_sha256=str(base["sha256"]),
        present={str(name): str(said) for name, said in record.get("present", {}).items()},
        provided={str(name): str(said) for name, said in record.get("provided", {}).items()},
    )


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _check_names(moved: set[str], file: Path, recipe: str) -> None:
    if moved:
        reason = f"the lock and the recipe name other packages: {', '.join(sorted(moved))}"
        raise _stale(reason, file, recipe)


def _base(asked: Asked) -> str:
    return f"{asked.base}, sha256 {asked.base_sha256}" if asked.base else "nothing installed"


def _stale(
    reason: str, file: Path, recipe: str, *, expected: str | None = None, got: str | None = None
) -> LockError:
    hint = f"sealift lock {recipe}"
    return LockError(reason, where=str(file), expected=expected, got=got, hint=hint)
