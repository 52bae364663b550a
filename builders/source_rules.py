"""Decide which entries of a source's folder go in. Pure: patterns and paths, no disk.

From the last word to the first: `.git` never goes in; `exclude`; `include`; what never goes in
by default; the ignore files. Beneath an included folder the ignore files are not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from builders.ignore import Pattern, Patterns, parse, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builders.recipe import SourceSpec

NEVER = (
    *(".env", ".env.*", ".netrc", ".pgpass", ".ssh/", ".gnupg/"),
    *("*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"),
    *("venv/", ".venv/", "node_modules/", "__pycache__/", "*.py[co]", "dist/", "logs/", "*.pid"),
)
"""What goes in only if `include` says so: settings with secrets, keys, what tools have made."""

_NEVER = parse("\n".join(NEVER))


class Scope(Enum):
    """What holds for the entries of a folder."""

    TRACKED = "the ignore files decide"
    GIVEN = "an included folder: the ignore files are not asked"
    REACHING = "a folder left out, entered only for what is included by name"


@dataclass(frozen=True, slots=True)
class Rules:
    """A recipe's patterns; `reach` names the folders on the way to what is included."""

    include: Patterns
    exclude: Patterns
    secrets: Patterns
    reach: Patterns
    only: tuple[str, ...] = ()

    def scope(
        self, path: str, scope: Scope, *, folder: bool, link: bool, ignored: bool
    ) -> Scope | None:
        """Return how to go on with an entry of a folder in `scope`; None if it stays out.

        `ignored` is what the ignore files say of it.
        """
        if self.only and not self._wanted(path, folder=folder):
            return None
        if path.rpartition("/")[2] == ".git" or self.exclude.verdict(path, folder=folder):
            return None
        if self.include.verdict(path, folder=folder):
            return Scope.GIVEN
        out = (
            scope is Scope.REACHING
            or (scope is Scope.TRACKED and ignored)
            # `logs` is left out whether it is a folder or a link to one elsewhere.
            or _NEVER.verdict(path, folder=folder or link)
        )
        if not out:
            return scope
        return Scope.REACHING if folder and self.reach.verdict(path, folder=True) else None

    def _wanted(self, path: str, *, folder: bool) -> bool:
        """Tell whether a path is one of `only`, in one of them, or on the way to one."""
        return any(
            path == one or path.startswith(f"{one}/") or (folder and one.startswith(f"{path}/"))
            for one in self.only
        )


def rules_of(spec: SourceSpec) -> Rules:
    """Compile a recipe's patterns."""
    return Rules(
        include=_patterns(spec.include),
        exclude=_patterns(spec.exclude),
        secrets=_patterns(spec.allow_secrets),
        reach=_patterns([folder for glob in spec.include for folder in _on_the_way(glob)]),
        only=spec.only,
    )


def ignored(path: str, ignores: Sequence[Patterns], *, folder: bool) -> bool:
    """Tell whether the ignore files, the deepest first, leave a path out."""
    for patterns in ignores:
        verdict = patterns.verdict(path, folder=folder)
        if verdict is not None:
            return verdict
    return False


def _patterns(globs: Sequence[str]) -> Patterns:
    compiled: list[Pattern | None] = [pattern(glob) for glob in globs]
    return Patterns("", tuple(line for line in compiled if line is not None))


def _on_the_way(glob: str) -> Iterator[str]:
    """Yield patterns for the folders above an included path: `/a` and `/a/b` for `a/b/c`.

    A pattern without a slash inside, or one that starts with `**`, leads nowhere in particular;
    looking for it in every `node_modules` would be the price.
    """
    parts = glob.strip("/").split("/")
    for depth in range(1, len(parts)):
        if parts[depth - 1] == "**":
            yield from (["/" + "/".join(parts[:depth])] if depth > 1 else [])
            return
        yield "/" + "/".join(parts[:depth])
