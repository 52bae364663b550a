"""An npm project as it lies in a source tree: `package.json`, and the lock that must fit it.

What the two say is read here for every kind that builds with Node; what is made of it, and which
scripts are run, is for `builders.dist` and `builders.node_service`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from builders.lock_files import NPM, lock_file
from builders.npm_lock import LockError, NpmLock, check_manifest, parse
from builders.npm_platform import Platform
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

MANIFEST = "package.json"


class ProjectError(InputError):
    """A source that is no npm project, or whose project cannot be built."""

    slug: ClassVar[str] = "bad-npm-project"


def read_lock(recipe: Recipe, source: SourceTree, project: Project) -> NpmLock:
    """Read the lock of a project and compare it with its `package.json`.

    Raises:
        LockError: if it is missing, stale, or holds what cannot be built from.
        ProjectError: if there is no `package.json`.
    """
    renew = f"sealift lock {recipe.name}"
    text = manifest_text(recipe, source)
    file = lock_file(recipe, project.settings)
    if recipe.lock is None and not holds(source, NPM):
        raise LockError(f"there is no {NPM} in the source", where=str(file), hint=renew)
    lock = parse(_text(file, LockError, hint=renew), where=str(file), renew=renew)
    check_manifest(lock, text, where=str(source.root / MANIFEST), renew=renew)
    return lock


def manifest_text(recipe: Recipe, source: SourceTree) -> str:
    """Read a project's `package.json`.

    Raises:
        ProjectError: if the source has none.
    """
    hint = "point `source` at the folder that holds package.json"
    if not holds(source, MANIFEST):
        reason = f"the source of {recipe.name} has no {MANIFEST}"
        raise ProjectError(reason, where=str(source.root), hint=hint)
    return _text(source.root / MANIFEST, ProjectError, hint=hint)


def platform(recipe: Recipe, project: Project) -> Platform:
    """Say what the packages of a recipe are chosen for: its own Node, on the heads' platform."""
    node = project.recipes[recipe.inputs["node"]]
    return Platform(node=node.options["version"], npm=node.options["npm"])


def holds(source: SourceTree, path: str) -> bool:
    """Tell whether a source has a file."""
    return any(file.path == path for file in source.files)


def _text(file: Path, kind: type[InputError], *, hint: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise kind(f"there is no {file.name}", where=str(file), hint=hint) from None
    except UnicodeDecodeError:
        raise kind(f"{file.name} is not UTF-8", where=str(file), hint=hint) from None
