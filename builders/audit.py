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

from builders.advisories import SEVERITIES
from builders.ecosystems import CODENAMES, base, is_known
from builders.ranges import commits_only, fixes, is_affected
from builders.requirements import normalise
from builders.sbom_merge import MEMBER, SCOPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from builders.advisories import Advisory, Affected

UNIDENTIFIED = "unidentified"
"""The ecosystem of libraries inside of packages that have no package URL."""
_CARRIED = "sealift:carried"


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
    unclear: tuple[str, ...] = ()
    """What the advisory names as a fix and is no version."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found, and what it could not look at.

    Attributes:
        findings: the worst first.
        packages: how many the bills have.
        advisories: how many were read, without those that were withdrawn.
        uncovered: ecosystem → packages for which no advisory at all was brought.
        by_commit: advisories of packages that are here, which speak of commits alone.
        unmatched: ecosystem → packages of it, where advisories are never matched with any.
        unidentified: libraries inside of packages, of which no one knows what package they are.
    """

    findings: tuple[Finding, ...]
    packages: int
    advisories: int
    withdrawn: int
    uncovered: Mapping[str, int] = field(default_factory=dict)
    by_commit: tuple[str, ...] = ()
    unmatched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unidentified: tuple[str, ...] = ()

    @property
    def looked_at(self) -> int:
        """How many packages there were advisories for."""
        unmatched = sum(map(len, self.unmatched.values()))
        return self.packages - unmatched - sum(self.uncovered.values())


def packages(document: Mapping[str, Any], name: str) -> Iterator[Package]:
    """List the packages of a bill; where it does not say whose they are, they are `name`'s."""
    for component in document.get("components", ()):
        facts: dict[str, list[str]] = defaultdict(list)
        for row in component.get("properties", ()):
            facts[row["name"]].append(row["value"])
        if "purl" in component:
            ecosystem, spoken, version = _identity(PackageURL.from_string(component["purl"]), facts)
        elif _CARRIED in facts:
            ecosystem, spoken = UNIDENTIFIED, component["name"]
            version = component.get("version", "")
        else:
            continue
        yield Package(
            ecosystem=ecosystem,
            name=spoken,
            version=version,
            purl=component.get("purl", component["bom-ref"]),
            scope=component.get("scope", "required"),
            members=tuple(sorted(facts.get(MEMBER, [name]))),
        )


def audit(found: Iterable[Package], advisories: Iterable[Advisory]) -> Report:
    """Match packages with advisories, which are gone through once."""
    wanted: dict[tuple[str, str], list[Package]] = defaultdict(list)
    counts: Counter[str] = Counter()
    others: dict[str, set[str]] = defaultdict(set)
    for package in _distinct(found):
        if is_known(package.ecosystem):
            wanted[base(package.ecosystem), package.name].append(package)
            counts[package.ecosystem] += 1
        else:
            others[package.ecosystem].add(f"{package.name} {package.version}".strip())
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
                    by_commit |= {advisory.id} if commits_only(said) else set()
    unidentified = others.pop(UNIDENTIFIED, set())
    return Report(
        findings=tuple(sorted(_joined(findings), key=_order)),
        packages=sum(counts.values()) + sum(map(len, others.values())),
        advisories=read,
        withdrawn=withdrawn,
        uncovered={
            ecosystem: count
            for ecosystem, count in sorted(counts.items())
            if not covered & {ecosystem, base(ecosystem)}
        },
        by_commit=tuple(sorted(by_commit)),
        unmatched={name: tuple(sorted(rows)) for name, rows in sorted(others.items())},
        unidentified=tuple(sorted(unidentified)),
    )


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
            return CODENAMES.get(distribution, f"{purl.type}:{distribution}"), source, version
        case _:
            return purl.type, purl.name, version


def _key(said: Affected) -> tuple[str, str]:
    ecosystem = base(said.ecosystem)
    return ecosystem, normalise(said.name) if ecosystem == "PyPI" else said.name


def _same_release(package: Package, said: Affected) -> bool:
    """Compare the releases of distributions; an advisory without one means all of them."""
    return said.ecosystem in (package.ecosystem, base(package.ecosystem))


def _judge(package: Package, advisory: Advisory, said: Affected) -> Iterator[Finding]:
    if is_affected(package.version, said):
        known = fixes(package.version, said)
        yield Finding(
            ids=(advisory.id,),
            aliases=advisory.aliases,
            severity=said.severity,
            score=said.score,
            summary=advisory.summary,
            package=package,
            fixed=known.versions,
            unclear=known.unclear,
        )


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
        unclear=tuple(dict.fromkeys((*one.unclear, *other.unclear))),
    )


def _order(finding: Finding) -> tuple[int, float, str, str, tuple[str, ...]]:
    score = -(finding.score or 0.0)
    package = finding.package
    return SEVERITIES.index(finding.severity), score, package.name, package.purl, finding.ids
