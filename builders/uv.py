"""Ask uv which versions answer some requirements, by the index as it is today.

uv sees nothing of its user: no configuration, no cache, no variables but those of the network.
It reads metadata alone and runs code of nobody: of a package that is taken as an sdist it is told
what `builders.sdist_archive` read, and so never builds one to ask it. What becomes of the answer
is for `builders.python_resolve`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.command import capture
from builders.python_lock import NoWheelError, ResolveError, YankedError
from builders.recipe import EMPTY
from builders.requirements import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builders.command import Completed
    from builders.requirements import Requirements
    from builders.sdist_archive import About
    from builders.wheel_tags import Target

_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_FLOORS = (17, 28, *range(31, 41))
"""The glibc minors that uv knows; it is asked for the nearest below, and we choose exactly."""
_RUNTIME = "libgcc_s.so.1"
"""The library that uv takes from where it runs, and that a machine with glibc alone lacks."""
_PATIENCE = 600.0
"""Seconds."""
_YANKED = re.compile(r"`([^`]+)` is yanked(?: \(reason: \"(.*)\"\))?")
_SOURCE = re.compile(r"Wheels are required for `([^`]+)`")
_WHEELLESS = re.compile(r"Because (?:only )?(\S+?)(?: has no usable wheels| has no wheels)")


class NeedsSourceError(NoWheelError):
    """A package that has an sdist and no wheel for the target; `package` is its name."""

    def __init__(self, package: str, *, where: str, got: str) -> None:
        super().__init__(f"{package} has an sdist alone", where=where, got=got)
        self.package = package


@dataclass(frozen=True, slots=True)
class Question:
    """What uv is asked, and where errors point.

    Attributes:
        requirements: what is asked for.
        target: what it must run on.
        index: address of the package index.
        where: what errors point at.
        sources: packages that are taken as sdists: name → what the sdist says, or None as long
            as nobody knows which version it is.
    """

    requirements: Requirements
    target: Target
    index: str
    where: str
    sources: Mapping[str, About | None] = field(default_factory=lambda: EMPTY)


def resolve(question: Question) -> list[Mapping[str, Any]]:
    """Ask uv for one version of each package; give its `packages` table.

    Raises:
        ResolveError: there is no answer, or the index cannot be asked.
        NeedsSourceError: a package has no wheel for the target, and an sdist.
        NoWheelError: a package has neither.
        YankedError: a release was taken back.
    """
    where = question.where
    if not question.requirements.lines:
        return []
    with tempfile.TemporaryDirectory(prefix="sealift-lock-") as folder:
        done = _run(Path(folder), question)
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
        raise _failure(said, question)
    packages: list[Mapping[str, Any]] = tomllib.loads(done.stdout.decode()).get("packages", [])
    return packages


def _run(folder: Path, question: Question) -> Completed:
    requirements, target = question.requirements, question.target
    asked, settings = folder / "requirements.in", folder / "uv.toml"
    asked.write_text("\n".join(requirements.lines) + "\n", encoding="utf-8")
    settings.write_text(_settings(question.sources), encoding="utf-8")
    argv = [find_uv(), "--config-file", str(settings), "--no-cache", "--color", "never"]
    argv += ["pip", "compile", "--format", "pylock.toml", "--no-header", "--no-python-downloads"]
    argv += ["--no-sources", "--only-binary", ":all:", "--python", sys.executable]
    argv += ["--default-index", question.index]
    argv += ["--python-version", f"{target.python[0]}.{target.python[1]}"]
    argv += ["--python-platform", _platform(target), str(asked)]
    for name in sorted(question.sources):
        argv += ["--no-binary", name]
    if constraints := [*requirements.constraints, *_pins(question.sources)]:
        held = folder / "constraints.in"
        held.write_text("\n".join(constraints) + "\n", encoding="utf-8")
        argv += ["--constraints", str(held)]
    try:
        return capture(argv, env=_environment(folder), cwd=folder, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as fault:
        raise ResolveError(f"uv found no answer in {_PATIENCE:.0f} seconds") from fault


def _settings(sources: Mapping[str, About | None]) -> str:
    """Tell uv what each sdist says; one that is not known yet needs nothing, for the moment."""
    lines: list[str] = []
    for name, about in sorted(sources.items()):
        lines += ["[[dependency-metadata]]", f"name = {json.dumps(name)}"]
        if about is not None:
            lines += [
                f"version = {json.dumps(about.version)}",
                f"requires-dist = {json.dumps(about.depends)}",
                f"provides-extra = {json.dumps(about.extras)}",
            ]
            if about.requires_python:
                lines.append(f"requires-python = {json.dumps(about.requires_python)}")
    return "\n".join(lines) + "\n"


def _pins(sources: Mapping[str, About | None]) -> list[str]:
    # Of another version nobody has read what it says, and uv would build it to find out.
    return [f"{name}=={about.version}" for name, about in sorted(sources.items()) if about]


def find_uv() -> str:
    """Return where uv is: beside this interpreter or its package, or on PATH.

    Raises:
        ResolveError: it is nowhere.
    """
    beside = (folder / "uv" for folder in _folders())
    found = next((str(file) for file in beside if file.is_file()), None) or shutil.which("uv")
    if found is None:
        raise ResolveError("uv, the resolver, is not installed", hint="make setup")
    return found


def _folders() -> Iterator[Path]:
    """Yield where uv lies beside this interpreter, or beside its package in a PEX or a shiv."""
    yield Path(sys.executable).parent
    package = find_spec("uv")
    if package is not None and package.origin is not None:
        root = Path(package.origin).parent.parent
        yield from (root / ".prefix" / "bin", root / "bin")


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
    libraries = Path(sys.prefix, "lib")
    if (libraries / _RUNTIME).is_file():
        # An interpreter that brings it brings it for what runs beside it.
        kept["LD_LIBRARY_PATH"] = str(libraries)
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **kept}


def _platform(target: Target) -> str:
    major, floor = target.glibc
    known = max((minor for minor in _FLOORS if minor <= floor), default=_FLOORS[0])
    return f"{target.machine}-manylinux_{major}_{known}"


def _failure(said: str, question: Question) -> ResolveError | NoWheelError:
    reason = " ".join(said.partition("error:")[2].split()) or said.strip()
    source = _SOURCE.search(reason)
    if source and normalise(source[1]) not in question.sources:
        return NeedsSourceError(normalise(source[1]), where=question.where, got=reason)
    wheelless = _WHEELLESS.search(reason)
    if wheelless:
        return NoWheelError(
            f"{wheelless[1]} has no wheel for this interpreter and platform, and no sdist",
            where=question.where,
            got=reason,
            hint="require a version that has one, or raise `glibc:`",
        )
    return ResolveError(
        "the requirements have no answer" if "No solution" in reason else "uv failed",
        where=question.where,
        got=reason,
        hint="is the index up, and is `mirrors:` in sealift.yaml right?"
        if "fetch" in reason
        else "change the requirements",
    )
