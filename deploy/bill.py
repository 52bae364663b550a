"""What is inside of a release, by its own bill of materials, and how two such bills differ.

Pure but for reading the one file. The bill is CycloneDX, written when the release was built; a
release without one, made by an older sealift, has nothing to say here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from deploy.errors import BadReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SUFFIX = ".cdx.json"
"""Of the names of all bills, a release's and those of its members."""
FILE = f"sbom{SUFFIX}"
OWN = "own"
CARRIED = "carried"
"""Of libraries inside of packages, which no package URL names."""
ECOSYSTEMS = {"pypi": "PyPI", "npm": "npm", "deb": "Debian", "": OWN}
"""Type of package URL → the name of its ecosystem; what has no such URL is the site's own."""
_MEMBER = "sealift:member"
_CARRIED = "sealift:carried"
_Inside: TypeAlias = "dict[str, dict[tuple[str, str], frozenset[tuple[str, str]]]]"
"""Member → (ecosystem, package) → (version, reference) of each one that it has."""


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A package that differs, in all members of a release in which it differs alike.

    Versions that are equal on both sides mean other bytes under the same name; `before` or
    `after` is empty where it is not there.
    """

    ecosystem: str
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    members: tuple[str, ...]


def read(release: Path) -> _Inside | None:
    """Read what is inside of a release, by member; None if it carries no bill.

    Raises:
        BadReleaseError: the bill is damaged.
    """
    file = release / FILE
    try:
        components = json.loads(file.read_bytes())["components"]
        return _by_member(components)
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        raise BadReleaseError(
            f"its bill of materials is damaged: {fault}", where=str(file)
        ) from fault


def compare(was: _Inside, now: _Inside) -> tuple[Change, ...]:
    """Return the packages that differ, by ecosystem and name; those of the site come last."""
    alike: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for member in sorted({*was, *now}):
        old, new = was.get(member, {}), now.get(member, {})
        for key in {*old, *new}:
            before, after = old.get(key, frozenset()), new.get(key, frozenset())
            if before != after:
                alike[*key, _versions(before), _versions(after)].append(member)
    changes = (Change(*key, tuple(members)) for key, members in alike.items())
    return tuple(sorted(changes, key=lambda each: (each.ecosystem == OWN, each)))


def _by_member(components: Iterable[Mapping[str, Any]]) -> _Inside:
    found: dict[str, dict[tuple[str, str], set[tuple[str, str]]]] = defaultdict(
        lambda: defaultdict(set)
    )
    for component in components:
        kind = str(component.get("purl", "")).removeprefix("pkg:").partition("/")[0]
        group = component.get("group")
        name = f"{group}/{component['name']}" if group and kind == "npm" else component["name"]
        # Of our own things the version is a part of the store path, and tells people nothing.
        rows = component.get("properties", ())
        carried = not kind and any(row["name"] == _CARRIED for row in rows)
        version = component.get("version", "") if kind or carried else ""
        ecosystem = CARRIED if carried else ECOSYSTEMS.get(kind, kind)
        for row in rows:
            if row["name"] == _MEMBER:
                package = ecosystem, name
                found[row["value"]][package].add((version, component["bom-ref"]))
    return {
        member: {package: frozenset(each) for package, each in packages.items()}
        for member, packages in found.items()
    }


def _versions(found: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted({version for version, _ in found}))
