"""What differs between two generations: packages and versions, sizes, services, pages.

Packages are those of the bills of materials that releases carry (`deploy.bill`). Beside them all
store paths are compared, which is what there is to say of a release without a bill.

`compare` is pure: two closures go in. A store path's name is `<package>-<version>`, the version
beginning at the first dash before a digit (as `nix-env` reads names).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import bill
from deploy.phases import difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deploy.bill import Change
    from deploy.head import Head
    from deploy.phases.difference import PhaseChange
    from deploy.release import Release
    from store.info import PathInfo


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package that differs; `before` or `after` is empty where it is not there.

    Versions that are equal on both sides mean other contents under the same name. `delta` is in
    bytes.
    """

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    delta: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Names that were added, removed or changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diff:
    """The way from one generation to another; sizes are of whole closures, in bytes."""

    packages: tuple[Package, ...]
    services: Parts
    frontends: Parts
    size_before: int
    size_after: int
    inside: tuple[Change, ...] | None = None
    """By ecosystem; None if one of the two says nothing of what is inside."""
    phases: tuple[PhaseChange, ...] = ()
    """Of this head, those whose configuration differs."""

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        same = not self.packages and not self.phases
        return same and self.services == self.frontends == Parts()


def diff(head: Head, before: int, after: int) -> Diff:
    """Compare two generations of a head.

    Raises:
        NoGenerationError: the head does not have one of them.
    """
    old, new = (head.load(head.profile.get(number).path) for number in (before, after))
    was, now = (head.store.closure([head.store.parse(each.path)]) for each in (old, new))
    return Diff(
        packages=compare(_below(head, was, old), _below(head, now, new)),
        services=_parts(old.services, new.services),
        frontends=_parts(old.frontends, new.frontends),
        size_before=sum(each.nar_size for each in was),
        size_after=sum(each.nar_size for each in now),
        inside=_inside(old, new),
        phases=difference.compare(old, new, head.name),
    )


def compare(was: Iterable[PathInfo], now: Iterable[PathInfo]) -> tuple[Package, ...]:
    """Return the packages that differ between two closures, by name."""
    old, new = _by_package(was), _by_package(now)
    found = (_package(name, old.get(name, {}), new.get(name, {})) for name in {*old, *new})
    return tuple(sorted(each for each in found if each is not None))


def split(name: str) -> tuple[str, str]:
    """Split a store path's name into package and version; the version may be empty."""
    match = re.fullmatch(r"(.+?)-(\d.*)", name)
    return (match[1], match[2]) if match else (name, "")


def _inside(old: Release, new: Release) -> tuple[Change, ...] | None:
    was, now = bill.read(old.path), bill.read(new.path)
    return None if was is None or now is None else bill.compare(was, now)


def _below(head: Head, closure: Iterable[PathInfo], release: Release) -> list[PathInfo]:
    """Leave out the release itself, which always differs, and what only tells of others."""
    top = head.store.parse(release.path)
    return [e for e in closure if e.path != top and not e.path.name.endswith(bill.SUFFIX)]


def _by_package(closure: Iterable[PathInfo]) -> dict[str, dict[str, PathInfo]]:
    found: dict[str, dict[str, PathInfo]] = defaultdict(dict)
    for each in closure:
        found[split(each.path.name)[0]][str(each.path)] = each
    return found


def _package(name: str, old: Mapping[str, PathInfo], new: Mapping[str, PathInfo]) -> Package | None:
    if old.keys() == new.keys():
        return None
    gone = [each for key, each in old.items() if key not in new]
    come = [each for key, each in new.items() if key not in old]
    delta = sum(e.nar_size for e in come) - sum(e.nar_size for e in gone)
    return Package(name, _versions(gone), _versions(come), delta)


def _versions(infos: Iterable[PathInfo]) -> tuple[str, ...]:
    return tuple(sorted(split(each.path.name)[1] for each in infos))


def _parts(old: Mapping[str, object], new: Mapping[str, object]) -> Parts:
    return Parts(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(each for each in old.keys() & new.keys() if old[each] != new[each])),
    )
