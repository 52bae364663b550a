"""`package-lock.json`, versions 2 and 3, read strictly.

Values only: which of the packages this platform installs is for `builders.npm_platform`, and what
is fetched and built from them for `builders.dist`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json: TypeAlias = Any

PUBLIC_REGISTRIES = ("https://registry.npmjs.org/", "https://registry.yarnpkg.com/")
"""Prefixes of `resolved` that a mirror setting replaces."""

SECTIONS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")

_NAME = r"(?:@[A-Za-z0-9~_-][A-Za-z0-9~._-]*/)?[A-Za-z0-9~_-][A-Za-z0-9~._-]*"
_LOCATION = re.compile(rf"(?:node_modules/{_NAME}/)*node_modules/{_NAME}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]*")
_GIT = re.compile(r"git[+:]|git@|ssh:|github:|gitlab:|bitbucket:|gist:")
_STRENGTH = {"sha512": 64, "sha384": 48, "sha256": 32}
_VERSIONS = (2, 3)


class LockError(InputError):
    """A `package-lock.json` that cannot be built from."""

    slug: ClassVar[str] = "bad-npm-lock"


class StaleLockError(LockError):
    """A `package-lock.json` that says something else than its `package.json`."""

    slug = "lock-stale"


class GitDependencyError(LockError):
    """A package that comes from a git repository: there is nothing to pin."""

    slug = "npm-git-dependency"


class UnpinnedError(LockError):
    """A package whose bytes the lock does not pin."""

    slug = "npm-no-integrity"


@dataclass(frozen=True, slots=True)
class Package:
    """One place in the tree that a lock describes.

    Attributes:
        location: for example `node_modules/vite/node_modules/esbuild`.
        name: by which the registry knows it; differs from the location's for aliases.
        version: of the package, empty for a link.
        integrity: SRI of its tarball; empty for a link and for what another tarball carries.
        url: where the lock found the tarball, or None where the registry is understood.
        link: for a symbolic link, the folder of the source tree that it leads to.
        entry: the lock's own words.
    """

    location: str
    name: str
    version: str
    integrity: str
    url: str | None
    link: str | None
    entry: Mapping[str, Json]

    def tarball(self, registry: str) -> str:
        """Give the tarball's address, with `registry` in place of the public one."""
        base = registry.rstrip("/")
        if self.url is None:
            stem = self.name.rpartition("/")[2]
            release = self.version.partition("+")[0]
            return f"{base}/{self.name}/-/{stem}-{release}.tgz"
        for public in PUBLIC_REGISTRIES:
            if self.url.startswith(public):
                return f"{base}/{self.url.removeprefix(public)}"
        return self.url


@dataclass(frozen=True, slots=True)
class NpmLock:
    """A whole lock: what the project itself asks for, and every package by its location."""

    root: Mapping[str, Json]
    packages: Mapping[str, Package]
    where: str


def parse(text: str, *, where: str, renew: str) -> NpmLock:
    """Read a lock; `where` names the file in errors, `renew` is the command that makes it anew.

    Raises:
        LockError: if it is not a lock of version 2 or 3, or holds what cannot be built from.
    """
    return _Reader(text, where, renew).lock()


def check_manifest(lock: NpmLock, text: str, *, where: str, renew: str) -> None:
    """Compare what `package.json` asks for with what the lock was made from.

    Raises:
        StaleLockError: if they differ, or the lock lacks something that is asked for.
        InputError: if `package.json` cannot be read.
    """
    manifest = _object(text, where)
    for section in SECTIONS:
        asked, locked = _requests(manifest, section), _requests(lock.root, section)
        for name in sorted({*asked, *locked}):
            if asked.get(name) != locked.get(name):
                raise StaleLockError(
                    f"the lock does not fit package.json: '{name}' in {section}",
                    where=lock.where,
                    expected=asked.get(name, "nothing"),
                    got=locked.get(name, "nothing"),
                    hint=renew,
                )


def split_location(location: str) -> tuple[str, str]:
    """Take a location apart: the location of the package it lies in ('' for the root), the name."""
    parent, _, name = location.rpartition("node_modules/")
    return parent.rstrip("/"), name


class _Reader:
    """Reads one lock, and knows where in its text an error lies."""

    def __init__(self, text: str, where: str, renew: str) -> None:
        self._text = text
        self._where = where
        self._renew = renew

    def lock(self) -> NpmLock:
        content = _object(self._text, self._where)
        if content.get("lockfileVersion") not in _VERSIONS:
            raise LockError(
                "only lockfileVersion 2 and 3 say enough to build from",
                where=self._where,
                got=str(content.get("lockfileVersion")),
                hint=self._renew,
            )
        entries = content.get("packages")
        if not isinstance(entries, dict) or not isinstance(entries.get("", {}), dict):
            raise LockError("'packages' is not a mapping", where=self._where, hint=self._renew)
        packages = {
            location: self._package(location, entry)
            for location, entry in entries.items()
            if self._in_tree(location, entry)
        }
        lock = NpmLock(entries.get("", {}), packages, self._where)
        self._complete(lock)
        return lock

    def _in_tree(self, location: str, entry: Json) -> bool:
        if not isinstance(entry, dict):
            raise self._error(LockError, location, "is not a mapping")
        if location.startswith("node_modules/"):
            if _LOCATION.fullmatch(location) is None:
                raise self._error(LockError, location, "is not a place in node_modules")
            return entry.get("extraneous") is not True
        if "node_modules/" in location:
            raise self._error(
                LockError,
                location,
                "lies in a folder of the source tree, not in node_modules",
                hint="give the workspaces versions of it that agree, so that npm hoists it",
            )
        return False

    def _package(self, location: str, entry: Mapping[str, Json]) -> Package:
        name = entry.get("name", split_location(location)[1])
        if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
            raise self._error(LockError, location, "has a name that npm does not know")
        if entry.get("link") is True:
            return Package(location, name, "", "", None, self._target(location, entry), entry)
        version = entry.get("version")
        if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
            raise self._error(LockError, location, "has no version", hint=self._renew)
        if entry.get("inBundle") is True:
            return Package(location, name, version, "", None, None, entry)
        url = self._url(location, entry)
        return Package(location, name, version, self._pin(location, entry), url, None, entry)

    def _target(self, location: str, entry: Mapping[str, Json]) -> str:
        target = entry.get("resolved")
        if not isinstance(target, str) or _outside(target):
            raise self._error(LockError, location, f"links to {target!r}, outside of the source")
        return target

    def _url(self, location: str, entry: Mapping[str, Json]) -> str | None:
        url = entry.get("resolved")
        if url is None:
            return None
        if isinstance(url, str) and _GIT.match(url) is not None:
            raise self._error(
                GitDependencyError,
                location,
                f"comes from git ({url}): no bytes are pinned",
                hint="name a released version of it under 'overrides' in package.json",
            )
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise self._error(LockError, location, f"cannot be fetched from {url!r}")
        return url

    def _pin(self, location: str, entry: Mapping[str, Json]) -> str:
        integrity = entry.get("integrity")
        if not isinstance(integrity, str) or not integrity.strip():
            raise self._error(
                UnpinnedError, location, "has no integrity in the lock", hint=self._renew
            )
        best = strongest(integrity.split())
        if best is None:
            raise self._error(
                UnpinnedError,
                location,
                f"is pinned by nothing better than {integrity.split()[0].partition('-')[0]}",
                hint=self._renew,
            )
        return best

    def _complete(self, lock: NpmLock) -> None:
        for section in ("dependencies", "devDependencies"):
            for name in _requests(lock.root, section):
                if f"node_modules/{name}" not in lock.packages:
                    raise StaleLockError(
                        f"the lock lacks '{name}', which it says it needs",
                        where=self._where,
                        hint=self._renew,
                    )

    def _error(
        self, kind: type[LockError], location: str, what: str, *, hint: str | None = None
    ) -> LockError:
        place = self._text.find(f'"{location}"')
        line = f":{self._text.count(chr(10), 0, place) + 1}" if place >= 0 else ""
        return kind(f"'{location}' {what}", where=f"{self._where}{line}", hint=hint)


def strongest(integrities: Iterable[str]) -> str | None:
    """Give the strongest well-formed SRI of at least SHA-256, or None."""
    best: tuple[int, str] | None = None
    for text in integrities:
        algorithm, _, digest = text.partition("?")[0].partition("-")
        size = _STRENGTH.get(algorithm)
        if size is None or _decoded(digest) != size:
            continue
        best = max(best or (0, ""), (size, f"{algorithm}-{digest}"))
    return None if best is None else best[1]


def _decoded(digest: str) -> int:
    """Give the length in bytes of base-64 text, or -1."""
    try:
        return len(base64.b64decode(digest, validate=True))
    except (binascii.Error, ValueError):
        return -1


def _object(text: str, where: str) -> dict[str, Json]:
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as fault:
        place = f"{where}:{fault.lineno}:{fault.colno}"
        raise LockError(f"this is not JSON: {fault.msg}", where=place) from fault
    except _RepeatedError as fault:
        raise LockError(f"the key '{fault}' stands twice in one mapping", where=where) from fault
    if not isinstance(content, dict):
        raise LockError("this is not a JSON object", where=where)
    return content


class _RepeatedError(ValueError):
    """A JSON object that holds one key twice."""


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedError(next(key for key in keys if keys.count(key) > 1))
    return content


def _requests(manifest: Mapping[str, Json], section: str) -> dict[str, str]:
    """Give a section's requests as npm understands them: optional ones are not also plain ones."""
    requests = manifest.get(section) or {}
    if not isinstance(requests, dict):
        return {}
    optional = manifest.get("optionalDependencies") if section == "dependencies" else None
    return {name: str(spec) for name, spec in requests.items() if name not in (optional or {})}


def _outside(target: str) -> bool:
    return not target or target.startswith(("/", "~")) or ".." in target.split("/")
