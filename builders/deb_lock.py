"""Locking .debs: the newest version of each package that the mirror's signed indexes have.

Whatever the recipe does not name is not in the lock: there is no dependency solver, and a library
that is missing shows when the object is built.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from builders.deb_index import read_suite
from builders.deb_pins import DebLock, LockError, Pinned, mirror_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.deb_index import Suite
    from builders.debian import Stanza
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

ARCHITECTURE = "amd64"
SUITES = ("bookworm", "bookworm-updates", "bookworm-security")


def lock(recipe: Recipe, _source: SourceTree | None, project: Project) -> str:
    """Pin the newest version of each of the recipe's packages that the suites have.

    Raises:
        LockError: if a package is in none of them.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
    """
    wanted = frozenset(recipe.options["packages"])
    mirrors, keyring = project.settings.mirrors, project.settings.keyring
    names = tuple(recipe.options.get("suites") or SUITES)
    suites = [read_suite(mirror_of(name, mirrors), name, wanted, keyring=keyring) for name in names]
    packages = {name: _choose(name, suites, recipe) for name in sorted(wanted)}
    used = {pinned.suite for pinned in packages.values()}
    moments = {suite.name: _moment(suite) for suite in suites if suite.name in used}
    return str(DebLock(moments, packages))


def _choose(name: str, suites: Sequence[Suite], recipe: Recipe) -> Pinned:
    found = [
        (stanza, suite)
        for suite in suites
        for stanza in suite.stanzas
        if stanza.name == name and stanza.architecture in (ARCHITECTURE, "all")
    ]
    if not found:
        raise LockError(
            f"no suite has a package {name!r}",
            where=str(recipe.file),
            expected=f"one of {', '.join(suite.name for suite in suites)}",
            hint="correct the name under `packages:`",
        )
    # The first of equals: a suite named earlier in the recipe is the better known one.
    stanza, suite = max(found, key=lambda pair: pair[0].version)
    return _pin(stanza, suite)


def _pin(stanza: Stanza, suite: Suite) -> Pinned:
    return Pinned(
        version=str(stanza.version),
        architecture=stanza.architecture,
        suite=suite.name,
        filename=stanza.filename,
        sha256=stanza.sha256,
        size=stanza.size,
    )


def _moment(suite: Suite) -> str:
    # snapshot.debian.org gives the last state before a moment, and looks a few times a day: at
    # the Release's own date it may not have it yet.
    moment = suite.release.date.astimezone(UTC) + timedelta(days=1)
    return moment.strftime("%Y%m%dT%H%M%SZ")
