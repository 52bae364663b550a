"""Commands that say what is inside: bills of materials, provenance, advisories that apply."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click

from builders.logs import plain
from sealift.complete import recipe_names
from sealift.options import as_json
from sealift.output import write_file
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from builders.audit import Finding, Package, Report
    from sealift.site import Location, Site
    from store.path import StorePath

Document = dict[str, Any]
_SHORT = 12
_SUFFIX = ".cdx.json"
_WIDTH = 8
_SHOWN = 6
_FACT = "sealift:storePath"
_CARRIED = "sealift:carried"
_FROM_SOURCES = ("Debian", "Ubuntu")
"""Ecosystems whose advisories name what packages are made from."""
ECOSYSTEMS = {"pypi": "PyPI", "npm": "npm", "deb": "Debian"}
"""Type of package URL → its name for people."""


@click.command()
@click.argument("name", metavar="NAME|PATH", shell_complete=recipe_names)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--summary", is_flag=True, help="Counts by ecosystem and licence instead.")
@click.pass_obj
def sbom(location: Location, name: str, *, output: Path | None, summary: bool) -> None:
    """Give the bill of materials of what was built last: CycloneDX 1.6 JSON.

    That of a release holds everything that it runs, and says which member has it.
    """
    with location.open() as site:
        text = find_bill(site, name).read_text(encoding="utf-8")
    if summary:
        text = "".join(f"{line}\n" for line in _summary(json.loads(text)))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_file(output, text)


def find_bill(site: Site, text: str) -> Path:
    """Return the file that is the bill of materials of a recipe as last built, or of a path.

    Raises:
        InputError: there is none.
    """
    from builders.contents import bill
    from store.roots import follow

    roots, store_dir = site.store.var_dir / "gcroots", site.store.store_dir
    known = None if "/" in text else follow(roots / bill(text), store_dir)
    if known is None:
        return _bill_of(site, site.path(text))
    file = site.store.real(known)
    told = _told(_load(file))
    if told is not None and told != str(site.store.real(site.path(text))):
        raise InputError(
            f"the bill of materials is that of an older {text}", hint=f"sealift build {text}"
        )
    return file


def _bill_of(site: Site, path: StorePath) -> Path:
    """Find the bill of a path: itself, in it where it is a release, or the one that tells of it."""
    real = site.store.real(path)
    carried = real / f"sbom{_SUFFIX}"
    if path.name.endswith(_SUFFIX) and real.is_file():
        return real
    if carried.is_file():
        return carried
    for info in site.store.paths():
        if path in info.references and info.path.name.endswith(_SUFFIX):
            file = site.store.real(info.path)
            if _told(_load(file)) == str(real):
                return file
    raise InputError(f"no bill of materials tells of {path}", hint="sealift build NAME")


def _load(file: Path) -> Document:
    loaded: Document = json.loads(file.read_bytes())
    return loaded


def _told(document: Document) -> str | None:
    """Return the path of the artefact that a bill is about; a release's own is not in it."""
    rows = document["metadata"]["component"].get("properties", ())
    return next((row["value"] for row in rows if row["name"] == _FACT), None)


def _summary(document: Document) -> Iterator[str]:
    found: dict[str, list[Document]] = defaultdict(list)
    for component in document.get("components", ()):
        found[_ecosystem(component)].append(component)
    name = document["metadata"]["component"]["name"]
    yield f"{name}: {sum(map(len, found.values()))} components"
    for ecosystem, components in sorted(found.items()):
        counts = Counter(licence for each in components for licence in _licences(each))
        common = [f"{licence} {count}" for licence, count in counts.most_common(_SHOWN)]
        more = [f"{len(counts) - _SHOWN} others"] if len(counts) > _SHOWN else []
        yield f"{ecosystem:<{_WIDTH}} {len(components):>5}  {', '.join(common + more)}".rstrip()


def _ecosystem(component: Mapping[str, Any]) -> str:
    kind = str(component.get("purl", "")).removeprefix("pkg:").partition("/")[0]
    return ECOSYSTEMS.get(kind, kind) or ("own" if _is_own(component) else "carried")


def _is_own(component: Mapping[str, Any]) -> bool:
    facts = {row["name"] for row in component.get("properties", ())}
    return "purl" not in component and _CARRIED not in facts


def _licences(component: Mapping[str, Any]) -> list[str]:
    said = component.get("licenses")
    if not said:
        return ["own" if _is_own(component) else "unknown"]
    return [
        row.get("expression") or row["license"].get("id") or row["license"]["name"] for row in said
    ]


@click.command()
@click.argument("name", metavar="NAME|PATH", shell_complete=recipe_names)
@as_json
@click.pass_obj
def provenance(location: Location, name: str, *, as_json: bool) -> None:
    """Show how a path was built here: of what, from which commit, when, by which sealift.

    With --json the whole in-toto statement (SLSA provenance v1).
    """
    from builders.provenance import BadRecordError, load

    with location.open() as site:
        path = site.path(name)
        said = load(site.store, path)
    if said is None:
        raise InputError(
            f"nothing is recorded about {path}",
            hint="downloads are pinned by the lock; of the rest, what was built here is recorded",
        )
    if as_json:
        click.echo(json.dumps(said))
        return
    try:
        rows = list(_told_of(said))
    except (LookupError, TypeError, AttributeError) as fault:
        raise BadRecordError(f"the record of {path} is damaged: {fault!r}") from fault
    for label, text in rows:
        click.echo(f"{label:<10} {text}")


def _told_of(said: Document) -> Iterator[tuple[str, str]]:
    definition, run = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    asked, times = definition["externalParameters"], run["metadata"]
    subject = said["subject"][0]
    yield "path", f"{asked['storeDir']}/{subject['name']}"
    yield "nar", f"sha256 {subject['digest']['sha256']}"
    yield "recipe", f"{asked['recipe']}, step {asked['step']}, builder {asked['builder']}"
    yield "built", f"{times['startedOn']} to {times['finishedOn']}, sandbox {asked['sandbox']}"
    version = run["builder"]["version"]
    yield "sealift", f"{version.get('sealift', 'not installed')}, code {version['code'][:_SHORT]}"
    yield "derivation", definition["internalParameters"]["derivationDigest"]
    for needed in definition["resolvedDependencies"]:
        if needed["name"] == "source" and "uri" not in needed:
            yield "source", _source(needed)
        else:
            yield "input", f"{needed['name']}  {needed['uri'].rpartition('/')[2]}"


def _source(said: Mapping[str, Any]) -> str:
    notes = said["annotations"]
    tree = f"{notes['files']} files, tree {said['digest']['sealiftTree'][:_SHORT]}"
    if notes["revision"] is None:
        return f"{tree}, no commit: {notes.get('reason', 'not asked')}"
    state = {True: "changed since", False: "unchanged", None: "perhaps changed since"}
    return f"{tree}, commit {notes['revision']} ({state[notes['dirty']]}), {notes['path'] or './'}"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME|PATH]...", shell_complete=recipe_names)
@click.option(
    "--advisories",
    "places",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE|DIR|ZIP",
    multiple=True,
    required=True,
    help="OSV JSON: one file, a folder of them, or a zip as OSV publishes it.",
)
@click.option("--runtime", is_flag=True, help="What only helped to build is shown, and no more.")
@as_json
@click.pass_obj
def audit(
    location: Location,
    names: tuple[str, ...],
    *,
    places: tuple[Path, ...],
    runtime: bool,
    as_json: bool,
) -> int:
    """Match what was built last with advisories that you bring; the release by default.

    Exits with 1 if something is affected; with --runtime, if something that runs is. Nothing is
    fetched.
    """
    from builders import advisories
    from builders.audit import audit as match
    from builders.audit import packages

    with location.open() as site:
        bills = {name: _load(find_bill(site, name)) for name in names or (site.release(),)}
    found = [package for name, bill in bills.items() for package in packages(bill, name)]
    report = match(found, (each for place in places for each in advisories.read(place)))
    if report.packages and not report.looked_at:
        raise advisories.AdvisoryError(
            f"nothing was looked at: no advisories for any of {report.packages} packages",
            where=", ".join(map(str, places)),
            expected=", ".join(report.uncovered) or None,
        )
    if as_json:
        click.echo(json.dumps(_record(report)))
    else:
        _show(report)
    counted = (e for e in report.findings if not (runtime and _only_builds(e)))
    return 1 if any(counted) else 0


def _only_builds(found: Finding) -> bool:
    return found.package.scope == "excluded"


def _record(report: Report) -> dict[str, Any]:
    return {
        "packages": report.packages,
        "advisories": report.advisories,
        "withdrawn": report.withdrawn,
        "uncovered": dict(report.uncovered),
        "by_commit": list(report.by_commit),
        "unmatched": {name: list(rows) for name, rows in report.unmatched.items()},
        "unidentified": list(report.unidentified),
        "findings": [_finding(each) for each in report.findings],
    }


def _finding(found: Finding) -> dict[str, Any]:
    package = found.package
    return {
        "ids": list(found.ids),
        "aliases": list(found.aliases),
        "severity": found.severity,
        "score": found.score,
        "summary": found.summary,
        "ecosystem": package.ecosystem,
        "package": package.name,
        "version": package.version,
        "purl": package.purl,
        "scope": package.scope,
        "fixed": list(found.fixed),
        "unclear": list(found.unclear),
        "in": list(package.members),
    }


def _show(report: Report) -> None:
    alike: dict[Finding, list[Package]] = defaultdict(list)
    for found in report.findings:
        package = replace(found.package, purl="", scope="", members=())
        alike[replace(found, package=package)].append(found.package)
    for found, packages in alike.items():
        click.echo("\n".join(_lines(found, packages)))
    affected = len({found.package.purl for found in report.findings})
    sys.stdout.flush()
    for line in (
        f"{report.packages} packages, {report.advisories} advisories: {affected} affected",
        *_gaps(report),
    ):
        click.echo(plain(line), err=True)


def _lines(found: Finding, packages: Iterable[Package]) -> Iterable[str]:
    """Tell of one flaw in one thing; of a source, with all packages that were made from it."""
    package = found.package
    score = "" if found.score is None else f" {found.score:.1f}"
    what = f"{package.ecosystem} {package.name} {package.version}"
    yield plain(f"{found.severity}{score}  {what}  {_fix(found)}")
    names = ", ".join((*found.ids, *found.aliases))
    yield plain(f"    {names}{': ' if found.summary else ''}{found.summary}")
    for each in packages:
        spoken = _spoken(each.purl)
        own = f"{spoken} " if package.ecosystem.startswith(_FROM_SOURCES) else ""
        only = " (only to build)" if each.scope == "excluded" else ""
        yield plain(f"    {own}in {', '.join(each.members)}{only}")


def _fix(found: Finding) -> str:
    if found.fixed:
        return f"fixed in {', '.join(found.fixed)}"
    return f"fix unclear: {', '.join(map(repr, found.unclear))}" if found.unclear else "no fix"


def _spoken(purl: str) -> str:
    """Give the name that stands in a package URL."""
    return unquote(purl.partition("?")[0].rpartition("@")[0].rpartition("/")[2])


def _gaps(report: Report) -> Iterator[str]:
    """Say what was not looked at: an audit that finds nothing must not seem to have seen all."""
    for ecosystem, count in report.uncovered.items():
        yield f"not looked at: {count} of {ecosystem}, for which no advisories were brought"
    if report.by_commit:
        yield f"not looked at: {_few(report.by_commit)}: advisories that speak of commits alone"
    for ecosystem, rows in report.unmatched.items():
        yield f"not looked at: {_few(rows)}: {ecosystem} packages are matched with no advisories"
    if report.unidentified:
        rows = report.unidentified
        known = "1 library" if len(rows) == 1 else f"{len(rows)} libraries"
        yield f"not looked at: {known} inside wheels that nothing identifies: {_few(rows)}"


def _few(rows: Sequence[str]) -> str:
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{', '.join(rows[:_SHOWN])}{more}"
