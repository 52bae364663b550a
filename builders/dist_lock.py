"""The lock of a frontend, made anew by the pinned npm from what the registry has now.

The lock is npm's own file. It is written without the registry's address, so that it serves behind
any mirror; what stands in it already stays, as far as `package.json` still allows.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builders.command import capture
from builders.dist import FrontendError, manifest_text
from builders.lay import lay
from builders.lock_files import NPM, lock_file
from builders.npm_lock import LockError, parse
from builders.npm_modules import npm_environment
from builders.plan import plan
from builders.realise import realise
from store.local import LocalStore

if TYPE_CHECKING:
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

_COMMAND = (
    "install",
    "--package-lock-only",
    "--ignore-scripts",
    "--omit-lockfile-registry-resolved",
)
_SAID = 12
"""Lines of npm's complaint that are shown."""


_PASSED = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")
"""How this machine reaches the network; nothing else of the caller's environment counts."""


def lock(recipe: Recipe, source: SourceTree | None, project: Project) -> str:
    """Resolve a frontend's `package.json` and give the new text of its lock.

    Raises:
        FrontendError: if the source has no `package.json`.
        LockError: if npm cannot resolve it, or the result could not be built from.
    """
    if source is None:
        raise FrontendError(f"{recipe.name} has no source", where=str(recipe.file))
    manifest_text(recipe, source)
    file = lock_file(recipe, project.settings)
    with tempfile.TemporaryDirectory(prefix="sealift-lock-") as folder:
        project_folder = Path(folder) / "source"
        lay(source, project_folder)
        if file.is_file():
            (project_folder / NPM).write_bytes(file.read_bytes())
        _resolve(recipe, project, project_folder)
        text = (project_folder / NPM).read_text(encoding="utf-8")
    parse(text, where=str(file), renew=f"sealift lock {recipe.name}")
    return text


def _resolve(recipe: Recipe, project: Project, folder: Path) -> None:
    node = _toolchain(recipe, project)
    environment = {
        **npm_environment(node, {}),
        "HOME": str(folder.parent),
        "npm_config_cache": str(folder.parent / "cache"),
        "npm_config_offline": "false",
        "npm_config_omit_lockfile_registry_resolved": "true",
        "npm_config_registry": f"{project.settings.mirrors.npm.rstrip('/')}/",
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
    }
    done = capture([str(node / "bin" / "npm"), *_COMMAND], env=environment, cwd=folder)
    if done.code != 0:
        said = done.stderr.decode(errors="replace").splitlines()[:_SAID]
        raise LockError(
            f"npm cannot resolve {recipe.name}",
            where=str(lock_file(recipe, project.settings)),
            got="\n".join(line.removeprefix("npm error ") for line in said),
        )


def _toolchain(recipe: Recipe, project: Project) -> Path:
    """Build the recipe's Node if it is not there, and give its path."""
    name = recipe.inputs["node"]
    with LocalStore.open(project.settings.store_dir) as store:
        result = realise(plan(project, lambda _recipe: None, (name,)), store)
        for failure in result.failures:
            raise failure.error
        return store.real(result.outputs[name])
