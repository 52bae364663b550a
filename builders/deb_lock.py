"""Locking .debs: the newest version of each named package, or the whole closure of them.

The mirrors' signed indexes say what there is; what a closure needs is for apt's solver, in
`builders.apt_solver`. Without `closure: true` whatever a recipe does not name is not in its
lock, and a library that is missing shows when the object is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.apt_solver import NoPackageError, pinned, read, solve
from builders.deb_pins import DebLock, Pinned, moment
from builders.deb_sources import ARCHITECTURE, sources
from builders.debian import parse_packages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.deb_index import Index
    from builders.deb_sources import Source
    from builders.debian import Stanza
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree


def lock(recipe: Recipe, _source: SourceTree | None, project: Project) -> str:
    """Pin the packages that a recipe names, each in the newest version that its suites have.

    With `closure: true` all that they need is pinned as well.

    Raises:
        NoPackageError: if a package is in none of them.
        LockError: if its needs cannot be met.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
    """
    packages = recipe.options["packages"]
    found = sources(recipe.options.get("suites"), project.settings)
    if recipe.options.get("closure"):
        return str(solve(packages, found, architecture=ARCHITECTURE, where=str(recipe.file)))
    return str(_newest(frozenset(packages), found, recipe))


def _newest(wanted: frozenset[str], found: Sequence[Source], recipe: Recipe) -> DebLock:
    indexes = {source: read(source, ARCHITECTURE) for source in found}
    stanzas = [
        (stanza, source)
        for source, index in indexes.items()
        for stanza in _stanzas(index, wanted, source)
    ]
    packages = {name: _choose(name, stanzas, found, recipe) for name in sorted(wanted)}
    used = {pin.suite for pin in packages.values()}
    return DebLock(
        suites={
            source.name: moment(index.release.date)
            for source, index in indexes.items()
            if source.name in used
        },
        packages=packages,
        mirrors={
            source.name: source.mirror
            for source in found
            if source.name in used and not source.label
        },
    )


def _stanzas(index: Index, wanted: frozenset[str], source: Source) -> list[Stanza]:
    where = f"{source.mirror}/dists/{source.suite}"
    texts: Mapping[str, str] = index.texts
    return [
        stanza
        for path, text in texts.items()
        for stanza in parse_packages(text, wanted, where=f"{where}/{path}")
        if stanza.architecture in (ARCHITECTURE, "all")
    ]


def _choose(
    name: str,
    stanzas: Sequence[tuple[Stanza, Source]],
    tried: Sequence[Source],
    recipe: Recipe,
) -> Pinned:
    found = [pair for pair in stanzas if pair[0].name == name]
    if not found:
        raise NoPackageError(
            f"no suite has a package {name!r}",
            where=str(recipe.file),
            expected=f"one of {', '.join(source.name for source in tried)}",
            hint="correct the name under `packages:`",
        )
    # The first of equals: a suite named earlier in the recipe is the better known one.
    stanza, source = max(found, key=lambda pair: pair[0].version)
    return pinned(stanza, source.name)
