"""Make a lock of Python packages: ask uv, and the index as it is today.

uv sees nothing of its user: no configuration, no cache, no variables but those of the network.
It reads metadata alone and runs code of nobody, so a package without a wheel is refused here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.command import capture
from builders.python_lock import (
    PUBLIC_FILES,
    LockError,
    NoWheelError,
    ResolveError,
    Wheel,
    YankedError,
    render,
    requirements_of,
    target_of,
)
from builders.requirements import normalise
from builders.wheel_tags import choose, parse_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.command import Completed
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.requirements import Requirements
    from builders.settings import Mirrors
    from builders.step import SourceTree
    from builders.wheel_tags import Target

_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_FLOORS = (17, 28, *range(31, 41))
"""The glibc minors that uv knows; it is asked for the nearest below, and we choose exactly."""
_PATIENCE = 600.0
"""Seconds."""
_YANKED = re.compile(r"`([^`]+)` is yanked(?: \(reason: \"(.*)\"\))?")
_WHEELLESS = re.compile(r"Because (?:only )?(\S+?)(?: has no usable wheels| has no wheels)")


def lock(recipe: Recipe, source: SourceTree | None, project: Project) -> str:
    """Resolve a recipe's requirements and return the text of its lock.

    Raises:
        RequirementError: a requirement cannot be locked.
        ResolveError: there is no answer, or the index cannot be asked.
        NoWheelError: a package has no wheel for the target.
        YankedError: a release was taken back.
    """
    requirements = requirements_of(recipe, source)
    target = target_of(recipe, project)
    mirrors = project.settings.mirrors
    where = f"{recipe.name} ({recipe.file})"
    found = resolve(requirements, target, index=mirrors.pypi_index, where=where)
    wheels = [pick(package, target, mirrors, where) for package in found]
    return render(wheels, requirements, target)


def resolve(
    requirements: Requirements, target: Target, *, index: str, where: str
) -> list[Mapping[str, Any]]:
    """Ask uv for one version of each package; give its `packages` table.

    Raises:
        ResolveError: there is no answer, or the index cannot be asked.
        NoWheelError: a package has no wheel for the target.
        YankedError: a release was taken back.
    """
    if not requirements.lines:
        return []
    with tempfile.TemporaryDirectory(prefix="sealift-lock-") as folder:
        done = _run(Path(folder), requirements, target, index)
    said = done.stderr.decode(errors="replace")
    yanked = _YANKED.search(said)
    if yanked:
        raise YankedError(
            f"{yanked[1]} was taken back by its authors",
            where=where,
            got=yanked[2],
            hint="require another version",
        )
    if done.code != 0:
        raise _failure(said, where)
    packages: list[Mapping[str, Any]] = tomllib.loads(done.stdout.decode()).get("packages", [])
    return packages


def _run(folder: Path, requirements: Requirements, target: Target, index: str) -> Completed:
    asked = folder / "requirements.in"
    asked.write_text("\n".join(requirements.lines) + "\n", encoding="utf-8")
    argv = [find_uv(), "--no-config", "--no-cache", "--color", "never", "pip", "compile"]
    argv += ["--format", "pylock.toml", "--no-header", "--no-python-downloads", "--no-sources"]
    argv += ["--only-binary", ":all:", "--python", sys.executable, "--default-index", index]
    argv += ["--python-version", f"{target.python[0]}.{target.python[1]}"]
    argv += ["--python-platform", _platform(target), str(asked)]
    if requirements.constraints:
        held = folder / "constraints.in"
        held.write_text("\n".join(requirements.constraints) + "\n", encoding="utf-8")
        argv += ["--constraints", str(held)]
    try:
        return capture(argv, env=_environment(folder), cwd=folder, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as fault:
        raise ResolveError(f"uv found no answer in {_PATIENCE:.0f} seconds") from fault


def find_uv() -> str:
    """Return where uv is: beside this interpreter, or on PATH.

    Raises:
        ResolveError: it is nowhere.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise ResolveError("uv, the resolver, is not installed", hint="make setup")
    return found


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: os.environ[name]
        for base in _NETWORK
        for name in (base, base.lower())
        if name in os.environ
    }
    bundle = next((file for file in _CERTIFICATES if Path(file).is_file()), None)
    if bundle and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & kept.keys():
        # uv has a list of authorities of its own; a site's own one is in the system's.
        kept["SSL_CERT_FILE"] = bundle
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **kept}


def _platform(target: Target) -> str:
    major, floor = target.glibc
    known = max((minor for minor in _FLOORS if minor <= floor), default=_FLOORS[0])
    return f"{target.machine}-manylinux_{major}_{known}"


def _failure(said: str, where: str) -> ResolveError | NoWheelError:
    reason = " ".join(said.partition("error:")[2].split()) or said.strip()
    wheelless = _WHEELLESS.search(reason)
    if wheelless:
        return NoWheelError(
            f"{wheelless[1]} has no wheel for this interpreter and platform",
            where=where,
            got=reason,
            hint="require a version that has one; building from sdists is not there yet",
        )
    return ResolveError(
        "the requirements have no answer" if "No solution" in reason else "uv failed",
        where=where,
        got=reason,
        hint="is the index up, and is `mirrors:` in sealift.yaml right?"
        if "fetch" in reason
        else "change the requirements",
    )


def pick(package: Mapping[str, Any], target: Target, mirrors: Mirrors, where: str) -> Wheel:
    """Choose the one wheel of a resolved package.

    Raises:
        NoWheelError: none runs on the target.
        LockError: the package is no release of an index, or its index gives no SHA-256.
    """
    name, version = package["name"], package.get("version", "")
    offered = {_file_of(wheel): wheel for wheel in package.get("wheels", ())}
    best = choose(map(parse_wheel, offered), target)
    if best is None:
        raise NoWheelError(
            f"{name} {version} has no wheel for {target}",
            where=where,
            got=", ".join(sorted(offered)) or "an sdist alone",
            hint="require a version that has one; building from sdists is not there yet",
        )
    wheel = offered[best.filename]
    if "url" not in wheel or "sha256" not in wheel.get("hashes", {}):
        raise LockError(f"the index gives no SHA-256 of {best.filename}", where=where)
    url = str(wheel["url"])
    if url.startswith(mirrors.pypi_files):
        url = PUBLIC_FILES + url.removeprefix(mirrors.pypi_files).lstrip("/")
    return Wheel(normalise(name), version, url, wheel["hashes"]["sha256"], wheel.get("size"))


def _file_of(wheel: Mapping[str, Any]) -> str:
    return str(wheel.get("name") or wheel.get("url", "").rpartition("/")[2].partition("#")[0])
