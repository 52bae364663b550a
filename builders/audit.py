"""Which packages of a bill of materials an advisory names: OSV's own rules, offline.

Pure: documents and advisories in, findings out. What cannot be compared counts as affected, since
the one thing that an audit must not do is to pass in silence over what it did not understand.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from packageurl import PackageURL
from packaging.version import Version

from builders.advisories import SEVERITIES
from builders.debian import parse_version
from builders.requirements import normalise
from builders.sbom_merge import MEMBER, SCOPES
from builders.semver import precedence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from builders.advisories import Advisory, Affected, Range

_CODENAMES = {
    "buster": "Debian:10",
    "bullseye": "Debian:11",
    "bookworm": "Debian:12",
    "trixie": "Debian:13",
    "forky": "Debian:14",
    "bionic": "Ubuntu:18.04:LTS",
    "focal": "Ubuntu:20.04:LTS",
    "jammy": "Ubuntu:22.04:LTS",
    "noble": "Ubuntu:24.04:LTS",
}
_ORDER: Mapping[str, Callable[[str], Any]] = {
    "PyPI": Version,
    "npm": precedence,
    "Debian": parse_version,
    "Ubuntu": parse_version,
    "crates.io": precedence,
}
"""How each ecosystem orders its versions; all raise ValueError for what is none."""
_GIT = "GIT"
_EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Package:
    """One package that runs somewhere, as advisories would name it.

    Attributes:
        ecosystem: of OSV, with the release for Debian's: `PyPI`, `npm`, `Debian:12`.
        name: normalised; of a Debian package that of its source.
        purl: of the package itself.
        scope: `excluded` only helped to build.
        members: which services or frontends have it.
    """

    ecosystem: str
    name: str
    version: str
    purl: str
    scope: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One package that is affected; `ids` are those of advisories that mean the same."""

    ids: tuple[str, ...]
    aliases: tuple[str, ...]
    severity: str
    score: float | None
    summary: str
    package: Package
    fixed: tuple[str, ...]
    """The next version without it in each range; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found, and what it could not look at.

    Attributes:
        findings: the worst first.
        packages: how many were looked up.
        advisories: how many were read, without those that were withdrawn.
        uncovered: ecosystem → packages for which no advisory at all was brought.
        by_commit: advisories of packages that are here, which speak of commits alone.
    """

    findings: tuple[Finding, ...]
    packages: int
    advisories: int
    withdrawn: int
    uncovered: Mapping[str, int] = field(default_factory=dict)
    by_commit: tuple[str, ...] = ()


def packages(document: Mapping[str, Any], name: str) -> Iterator[Package]:
    """List the packages of a bill; where it does not say whose they are, they are `name`'s."""
    for component in document.get("components", ()):
        if "purl" in component:
            purl = PackageURL.from_string(component["purl"])
            facts: dict[str, list[str]] = defaultdict(list)
            for row in component.get("properties", ()):
                facts[row["name"]].append(row["value"])
            ecosystem, spoken, version = _identity(purl, facts)
            yield Package(
                ecosystem=ecosystem,
                name=spoken,
                version=version,
                purl=component["purl"],
                scope=component.get("scope", "required"),
                members=tuple(sorted(facts.get(MEMBER, [name]))),
            )


def audit(found: Iterable[Package], advisories: Iterable[Advisory]) -> Report:
    """Match packages with advisories, which are gone through once."""
    wanted: dict[tuple[str, str], list[Package]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for package in _distinct(found):
        wanted[package.ecosystem.partition(":")[0], package.name].append(package)
        counts[package.ecosystem] += 1
    covered: set[str] = set()
    findings: list[Finding] = []
    by_commit: set[str] = set()
    read = withdrawn = 0
    for advisory in advisories:
        withdrawn += advisory.withdrawn
        read += not advisory.withdrawn
        for said in advisory.affected:
            covered.add(said.ecosystem)
            if advisory.withdrawn:
                continue
            for package in wanted.get(_key(said), ()):
                if _same_release(package, said):
                    findings += _judge(package, advisory, said)
                    by_commit |= {advisory.id} if _commits_only(said) else set()
    return Report(
        findings=tuple(sorted(_joined(findings), key=_order)),
        packages=sum(counts.values()),
        advisories=read,
        withdrawn=withdrawn,
        uncovered={
            ecosystem: count
            for ecosystem, count in sorted(counts.items())
            if not covered & {ecosystem, ecosystem.partition(":")[0]}
        },
        by_commit=tuple(sorted(by_commit)),
    )


def is_affected(version: str, said: Affected) -> bool:
    """Tell whether a version is one that an advisory lists, or lies in one of its ranges."""
    order = _order_of(said)
    if any(_equal(version, each, order) for each in said.versions):
        return True
    return any(_in_range(version, each, order) for each in said.ranges if each.type != _GIT)


def _distinct(found: Iterable[Package]) -> list[Package]:
    """Take what several bills have as one, of all their members and as needed as in any."""
    known: dict[tuple[str, str, str], Package] = {}
    for package in found:
        key = package.ecosystem, package.version, package.purl
        other = known.get(key, package)
        known[key] = replace(
            package,
            members=tuple(sorted({*package.members, *other.members})),
            scope=max(package.scope, other.scope, key=SCOPES.index),
        )
    return list(known.values())


def _identity(purl: PackageURL, facts: Mapping[str, list[str]]) -> tuple[str, str, str]:
    version = purl.version or ""
    match purl.type:
        case "pypi":
            return "PyPI", normalise(purl.name), version
        case "npm":
            name = f"{purl.namespace}/{purl.name}" if purl.namespace else purl.name
            return "npm", name, version
        case "cargo":
            return "crates.io", purl.name, version
        case "deb":
            source = facts.get("sealift:source", [purl.name])[0]
            version = facts.get("sealift:sourceVersion", [version])[0]
            distribution = str(dict(purl.qualifiers or {}).get("distro", ""))
            return _CODENAMES.get(distribution, f"{purl.type}:{distribution}"), source, version
        case _:
            return purl.type, purl.name, version


def _key(said: Affected) -> tuple[str, str]:
    ecosystem = said.ecosystem.partition(":")[0]
    return ecosystem, normalise(said.name) if ecosystem == "PyPI" else said.name


def _same_release(package: Package, said: Affected) -> bool:
    """Compare the releases of distributions; an advisory without one means all of them."""
    return said.ecosystem in (package.ecosystem, package.ecosystem.partition(":")[0])


def _judge(package: Package, advisory: Advisory, said: Affected) -> Iterator[Finding]:
    if is_affected(package.version, said):
        yield Finding(
            ids=(advisory.id,),
            aliases=advisory.aliases,
            severity=said.severity,
            score=said.score,
            summary=advisory.summary,
            package=package,
            fixed=tuple(_fixes(package.version, said)),
        )


def _commits_only(said: Affected) -> bool:
    return not said.versions and all(each.type == _GIT for each in said.ranges)


def _order_of(said: Affected) -> Callable[[str], Any]:
    return _ORDER.get(said.ecosystem.partition(":")[0], _unordered)


def _unordered(version: str) -> Any:  # noqa: ANN401 - there is no order
    raise ValueError(version)


def _in_range(version: str, said: Range, order: Callable[[str], Any]) -> bool:
    """Walk over the events by version, as the OSV schema's evaluation algorithm does."""
    limits = [bound for kind, bound in said.events if kind == "limit"]
    if limits and not any(
        bound == _EVERYTHING or not _reaches(version, bound, order, otherwise=False)
        for bound in limits
    ):
        return False
    affected = False
    for kind, bound in _sorted(said.events, order):
        match kind:
            case "introduced":
                affected = affected or _reaches(version, bound, order, otherwise=True)
            case "fixed":
                affected = affected and not _reaches(version, bound, order, otherwise=False)
            case "last_affected":
                affected = affected and not _passes(version, bound, order)
    return affected


def _sorted(
    events: Iterable[tuple[str, str]], order: Callable[[str], Any]
) -> list[tuple[str, str]]:
    """Sort events by version; as they stand if one of them has none."""
    listed = [event for event in events if event[0] != "limit"]
    try:
        # Zero is before everything, whatever the ecosystem would make of it.
        keys = {bound: order(bound) for _, bound in listed if bound != "0"}
    except ValueError:
        return listed
    first = [event for event in listed if event[1] == "0"]
    return first + sorted((e for e in listed if e[1] != "0"), key=lambda event: keys[event[1]])


def _reaches(version: str, bound: str, order: Callable[[str], Any], *, otherwise: bool) -> bool:
    if bound == "0":
        return True
    try:
        return bool(order(version) >= order(bound))
    except ValueError:
        return otherwise


def _passes(version: str, bound: str, order: Callable[[str], Any]) -> bool:
    try:
        return bool(order(version) > order(bound))
    except ValueError:
        return False


def _equal(version: str, listed: str, order: Callable[[str], Any]) -> bool:
    if version == listed:
        return True
    try:
        return bool(order(version) == order(listed))
    except ValueError:
        return False


def _fixes(version: str, said: Affected) -> Iterator[str]:
    """Give the nearest fix after a version in each range that has one."""
    order = _order_of(said)
    seen: set[str] = set()
    for each in said.ranges:
        if each.type == _GIT:
            continue
        later = [
            bound
            for kind, bound in _sorted(each.events, order)
            if kind == "fixed" and not _reaches(version, bound, order, otherwise=False)
        ]
        if later and later[0] not in seen:
            seen.add(later[0])
            yield later[0]


def _joined(findings: Iterable[Finding]) -> list[Finding]:
    """Make one of findings that mean the same flaw of the same package by several names."""
    groups: list[tuple[set[str], Finding]] = []
    for finding in findings:
        names = {*finding.ids, *finding.aliases}
        same = [row for row in groups if row[1].package == finding.package and row[0] & names]
        groups = [row for row in groups if row not in same]
        joined = reduce(_merge, (other for _, other in same), finding)
        groups.append((names.union(*(known for known, _ in same)), joined))
    return [finding for _, finding in groups]


def _merge(one: Finding, other: Finding) -> Finding:
    """Keep the worse severity, the first summary, and all that either knows."""
    ids = tuple(sorted({*one.ids, *other.ids}))
    worse = min(one, other, key=lambda each: SEVERITIES.index(each.severity))
    return replace(
        worse,
        ids=ids,
        aliases=tuple(sorted({*one.aliases, *other.aliases} - set(ids))),
        summary=one.summary or other.summary,
        fixed=tuple(dict.fromkeys((*one.fixed, *other.fixed))),
    )


def _order(finding: Finding) -> tuple[int, float, str, str, tuple[str, ...]]:
    score = -(finding.score or 0.0)
    package = finding.package
    return SEVERITIES.index(finding.severity), score, package.name, package.purl, finding.ids
