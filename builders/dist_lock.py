"""The lock of an npm project, made anew by the pinned npm from what the registry has now.

The lock is npm's own file. It is written without the registry's address, so that it serves behind
any mirror; what stands in it already stays, as far as `package.json` still allows.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builders.command import capture
from builders.lay import lay
from builders.lock_files import NPM, lock_file
from builders.npm_lock import GitDependencyError, LockError, parse
from builders.npm_modules import npm_environment
from builders.npm_project import MANIFEST, ProjectError, manifest_text
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
    # Only at this level npm names the package whose request it is at.
    "--loglevel=silly",
    # What git would bring is refused anyhow; so npm need not wait for a host to answer.
    "--git=/nonexistent/git",
)
_SAID = 12
"""Lines of npm's complaint that are shown."""


_ERROR = "npm error "
_FROM_GIT = re.compile(
    r"^npm silly placeDep \S+ (?P<name>\S+)@\S* OK for: (?P<who>\S+)"
    r" want: (?P<what>(?:git|github:|gitlab:|bitbucket:|gist:|ssh:)\S*)",
    re.MULTILINE,
)

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_AUTHORITIES = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PATIENCE = 600.0
"""Seconds."""


def lock(recipe: Recipe, source: SourceTree | None, project: Project) -> str:
    """Resolve a project's `package.json` and give the new text of its lock.

    Raises:
        ProjectError: if the source has no `package.json`.
        GitDependencyError: if something in it comes from git.
        LockError: if npm cannot resolve it, or the result could not be built from.
    """
    if source is None:
        raise ProjectError(f"{recipe.name} has no source", where=str(recipe.file))
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
        **_network(),
    }
    command = [str(node / "bin" / "npm"), *_COMMAND]
    try:
        done = capture(command, env=environment, cwd=folder, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as fault:
        raise _refusal(recipe, project, f"npm said nothing for {_PATIENCE:.0f} s") from fault
    if done.code != 0:
        raise _complaint(recipe, project, done.stderr.decode(errors="replace"))


def _complaint(recipe: Recipe, project: Project, text: str) -> LockError:
    """Say what npm failed at; a request for something from git is told by its name."""
    found = _FROM_GIT.search(text)
    if found is not None:
        return GitDependencyError(
            f"'{found['name']}' comes from git ({found['what']}): no bytes are pinned",
            where=str(_manifest(recipe, project)),
            got=f"asked for by {found['who']}",
            hint="name a released version in package.json:"
            f' "overrides": {{"{found["name"]}": "VERSION"}}',
        )
    said = [line for line in text.splitlines() if line.startswith(_ERROR)][:_SAID]
    return _refusal(recipe, project, "\n".join(line.removeprefix(_ERROR) for line in said))


def _manifest(recipe: Recipe, project: Project) -> Path:
    spec = recipe.source
    folder = project.settings.sources_dir / (f"{spec.path}/{spec.subdir}" if spec else "")
    return folder / MANIFEST


def _refusal(recipe: Recipe, project: Project, said: str) -> LockError:
    where = str(lock_file(recipe, project.settings))
    return LockError(f"npm cannot resolve {recipe.name}", where=where, got=said)


def _network() -> dict[str, str]:
    """Say how this machine reaches the network; nothing else of the caller's environment counts.

    Node has a list of authorities of its own; a site's own one is in the system's.
    """
    kept = {
        name: os.environ[name]
        for upper in _PROXIES
        for name in (upper, upper.lower())
        if name in os.environ
    }
    said = (os.environ[name] for name in _AUTHORITIES if name in os.environ)
    bundle = next((file for file in (*said, *_BUNDLES) if Path(file).is_file()), None)
    return kept if bundle is None else {**kept, "NODE_EXTRA_CA_CERTS": bundle}


def _toolchain(recipe: Recipe, project: Project) -> Path:
    """Build the recipe's Node if it is not there, and give its path."""
    name = recipe.inputs["node"]
    with LocalStore.open(project.settings.store_dir) as store:
        result = realise(plan(project, lambda _recipe: None, (name,)), store)
        for failure in result.failures:
            raise failure.error
        return store.real(result.outputs[name])
