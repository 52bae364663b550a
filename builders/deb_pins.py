"""A lock of .debs: which version, which bytes, and where they are fetched.

Read by every build; making one is for `builders.deb_lock`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builders.debian import check_file, parse_version
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from builders.settings import Mirrors

FORMAT = 1
_SNAPSHOT = "https://snapshot.debian.org/archive"


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
    """The pinned packages by name, and when the suites they come from were as they are here."""

    suites: Mapping[str, str]
    """Suite → a moment at which snapshot.debian.org has its packages, as it spells moments."""
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
            f"{mirror_of(pinned.suite, mirrors)}/{pinned.filename}",
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


def mirror_of(suite: str, mirrors: Mirrors) -> str:
    """Give the address of the mirror that has a suite, without a slash at its end."""
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
    check_file(pinned.filename, pinned.sha256)
    parse_version(pinned.version)
    if not isinstance(pinned.size, int) or pinned.size < 1:
        raise ValueError(f"size {pinned.size!r}")
    return pinned
