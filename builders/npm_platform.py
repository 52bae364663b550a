"""Which packages of a lock are installed on one platform, by npm's own rules.

Pure. npm skips an *optional* package that does not fit the platform or the version of Node, and
with it the whole optional branch of the graph that leads to it alone; a package that is not
optional must fit. (npm: `@npmcli/arborist`, `optional-set.js`, `gather-dep-set.js`.)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from builders.npm_lock import LockError, NpmLock, split_location
from builders.semver import satisfies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builders.npm_lock import Package


_PICKY = ("os", "cpu", "libc")


class PlatformError(LockError):
    """A package that the lock insists on, and that does not run on the heads' platform."""

    slug: ClassVar[str] = "npm-bad-platform"


@dataclass(frozen=True, slots=True)
class Platform:
    """What a package may be picky about."""

    node: str
    npm: str
    os: str = "linux"
    cpu: str = "x64"
    libc: str = "glibc"


class _Edge(NamedTuple):
    source: str
    target: str
    optional: bool


def installed(lock: NpmLock, platform: Platform) -> dict[str, Package]:
    """Give the packages that npm would install, by location, in the lock's order.

    Raises:
        PlatformError: if one that is not optional does not fit.
    """
    unfit = [
        location for location, package in lock.packages.items() if not _fits(package, platform)
    ]
    if not unfit:
        return dict(lock.packages)
    graph = _Graph(lock)
    skipped: set[str] = set()
    for location in unfit:
        if lock.packages[location].entry.get("optional") is not True:
            raise PlatformError(
                f"'{location}' does not run on {platform.os}-{platform.cpu}-{platform.libc}",
                where=lock.where,
                got=_demands(lock.packages[location]),
            )
        if location not in skipped:
            skipped |= graph.optional_set(location, skipped)
    return {key: value for key, value in lock.packages.items() if key not in skipped}


def production(lock: NpmLock) -> NpmLock:
    """Give a lock without what only development needs, as `npm ci --omit=dev` reads it.

    npm marks what hangs on `devDependencies` alone; `devOptional` is wanted by others as well.
    """
    kept = {
        location: package
        for location, package in lock.packages.items()
        if package.entry.get("dev") is not True
    }
    root = {key: value for key, value in lock.root.items() if key != "devDependencies"}
    return NpmLock(root, kept, lock.where)


def _fits(package: Package, platform: Platform) -> bool:
    entry = package.entry
    if not all(
        _allowed(getattr(platform, key), entry[key])
        for key in ("os", "cpu", "libc")
        if key in entry
    ):
        return False
    engines = entry.get("engines")
    # Engines bind optional packages only: of others npm merely warns.
    if entry.get("optional") is not True or not isinstance(engines, dict):
        return True
    wanted = [(platform.node, engines.get("node")), (platform.npm, engines.get("npm"))]
    return all(satisfies(have, want) for have, want in wanted if isinstance(want, str) and want)


def _allowed(value: str, listed: Any) -> bool:  # noqa: ANN401 - whatever the lock says
    names = [listed] if isinstance(listed, str) else listed
    if names == ["any"]:
        return True
    if f"!{value}" in names:
        return False
    return value in names or all(name.startswith("!") for name in names)


def _demands(package: Package) -> str:
    return ", ".join(f"{key} {package.entry[key]}" for key in _PICKY if key in package.entry)


class _Graph:
    """Who needs whom, as Node's resolution finds them."""

    def __init__(self, lock: NpmLock) -> None:
        self._packages = lock.packages
        self._out: dict[str, list[_Edge]] = defaultdict(list)
        self._into: dict[str, list[_Edge]] = defaultdict(list)
        self._add("", lock.root)
        for location, package in lock.packages.items():
            self._add(location, package.entry)

    def optional_set(self, location: str, skipped: set[str]) -> set[str]:
        """Give what goes with an optional package that cannot be installed."""
        start = {location}
        queue = [location]
        while queue:
            for edge in self._into[queue.pop()]:
                if not edge.optional and edge.source not in start:
                    start.add(edge.source)
                    queue.append(edge.source)
        return self._only_needed_by(start, skipped)

    def _only_needed_by(self, start: set[str], skipped: set[str]) -> set[str]:
        gathered = set(start)
        queue = list(start)
        while queue:
            for edge in self._out[queue.pop()]:
                if edge.target not in gathered:
                    gathered.add(edge.target)
                    queue.append(edge.target)
        while kept := {name for name in gathered if self._needed(name, start, gathered | skipped)}:
            gathered -= kept
        return gathered

    def _needed(self, name: str, start: set[str], gone: set[str]) -> bool:
        return name not in start and any(edge.source not in gone for edge in self._into[name])

    def _add(self, location: str, entry: Mapping[str, Any]) -> None:
        for name, optional in _requests(location, entry):
            target = self._resolve(location, name)
            if target is not None:
                edge = _Edge(location, target, optional)
                self._out[location].append(edge)
                self._into[target].append(edge)

    def _resolve(self, location: str, name: str) -> str | None:
        """Walk up the folders, as `require` does."""
        while True:
            found = f"{location}/node_modules/{name}" if location else f"node_modules/{name}"
            if found in self._packages:
                return found
            if not location:
                return None
            location = split_location(location)[0]


def _requests(location: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    optional = entry.get("optionalDependencies") or {}
    yield from ((name, True) for name in optional)
    yield from ((name, False) for name in entry.get("dependencies") or {} if name not in optional)
    meta = entry.get("peerDependenciesMeta") or {}
    for name in entry.get("peerDependencies") or {}:
        yield name, bool(meta.get(name, {}).get("optional"))
    if not location:
        yield from ((name, False) for name in entry.get("devDependencies") or {})
