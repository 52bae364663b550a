"""Where packages come from: the suites that a recipe names, and the lock that pins them.

All that planning needs, and no door to the network; making a lock is for `builders.deb_lock`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.deb_pins import Asked, DebLock, load_closure, load_lock, mirror_of
from builders.recipe import SuiteSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builders.recipe import Recipe
    from builders.settings import Settings

ARCHITECTURE = "amd64"
SUITES = ("bookworm", "bookworm-updates", "bookworm-security")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One suite of a mirror, and the keyring whose keys may sign it.

    `label` is what a lock calls it: the suite's name alone where the mirror is a setting, which
    may be another tomorrow; else the mirror and the suite.
    """

    mirror: str
    suite: str
    keyring: Path
    components: tuple[str, ...] = ("main",)
    label: str = ""

    @property
    def name(self) -> str:
        """The label, or one made of mirror and suite."""
        return self.label or f"{self.mirror} {self.suite}"

    def __str__(self) -> str:
        return " ".join((self.name, *self.components))


def load(file: Path, recipe: Recipe, settings: Settings) -> DebLock:
    """Load the lock of a recipe, which must answer what the recipe asks now.

    Raises:
        LockError: if it does not.
    """
    packages = recipe.options["packages"]
    if not recipe.options.get("closure"):
        return load_lock(file, packages, recipe.name)
    found = sources(recipe.options.get("suites"), settings)
    return load_closure(file, Asked.of(packages, found), recipe.name)


def sources(suites: Sequence[str | SuiteSpec] | None, settings: Settings) -> tuple[Source, ...]:
    """Give the sources that a recipe's `suites:` mean; those of Debian 12 if it has none."""
    return tuple(_source(suite, settings) for suite in suites or SUITES)


def _source(suite: str | SuiteSpec, settings: Settings) -> Source:
    spec = SuiteSpec(suite) if isinstance(suite, str) else suite
    keyring = settings.recipes_dir / spec.keyring if spec.keyring else settings.keyring
    return Source(
        mirror=spec.mirror or mirror_of(spec.suite, settings.mirrors),
        suite=spec.suite,
        components=spec.components,
        keyring=keyring,
        label="" if spec.mirror else spec.suite,
    )
