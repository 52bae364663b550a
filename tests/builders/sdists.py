"""Sdists made here, each with a backend of its own, and this machine's Python in a sandbox."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from builders import sdist, wheel
from builders.kinds import BUILDERS
from builders.plan import arrange
from builders.python_pins import Sdist
from builders.realise import Result, realise
from builders.recipe import Kind, Recipe
from builders.step import Step
from tests.builders.debs import Entry, tar_bytes
from tests.builders.wheels import HOST, Site, html
from tests.builders.workbench import lay_base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.build import Build
    from builders.python_pins import Distribution
    from store.local import LocalStore
    from tests.builders.registry import Registry

BACKEND = """\
import base64, hashlib, os, sys, time, zipfile

def get_requires_for_build_wheel(config_settings=None):
    return {requires!r}

def write(folder, name={name!r}, version={version!r}, tag="py3-none-any", content="x = 1\\n"):
    info = name + "-" + version + ".dist-info/"
    stem = name + "-" + version + "-" + tag
    with zipfile.ZipFile(os.path.join(folder, stem + ".whl"), "w") as archive:
        archive.writestr(name + "/__init__.py", content)
        about = "Metadata-Version: 2.1\\nName: " + name + "\\nVersion: " + version + "\\n"
        archive.writestr(info + "METADATA", about)
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: " + tag + "\\n")
        archive.writestr(info + "RECORD", name + "/__init__.py,,\\n" + info + "RECORD,,\\n")
    return stem + ".whl"

def build_wheel(folder, config_settings=None, metadata_directory=None):
{body}
"""
PYPROJECT = """\
[build-system]
requires = {requires!r}
build-backend = "made"
backend-path = ["."]
"""


def make_sdist(
    name: str = "small",
    version: str = "1.0",
    body: str = "    return write(folder)",
    *,
    requires: Sequence[str] = (),
    asks: Sequence[str] = (),
    depends: Sequence[str] = (),
    files: Mapping[str, str] = MappingProxyType({}),
    more: Sequence[Entry] = (),
) -> bytes:
    """Make an sdist: `body` is what its backend does, `asks` what that asks for when it runs."""
    top = f"{name}-{version}"
    lines = [f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Dist: {line}" for line in depends]
    contents = {
        "PKG-INFO": "\n".join(lines) + "\n",
        "pyproject.toml": PYPROJECT.format(requires=list(requires)),
        "made.py": BACKEND.format(name=name, version=version, requires=list(asks), body=body),
        **files,
    }
    entries = [Entry(f"{top}/{place}", text.encode()) for place, text in contents.items()]
    return gzip.compress(tar_bytes(*entries, *more), mtime=0)


@lru_cache(maxsize=1)
def host_libraries() -> tuple[str, ...]:
    """List what this machine's Python and its extension modules link to."""
    modules = Path(sys.base_prefix, "lib", f"python{HOST}", "lib-dynload").glob("*.so")
    argv = ["ldd", os.path.realpath(sys.executable), *map(str, modules)]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return tuple(sorted(set(re.findall(r"(/\S+) \(0x", listed))))


def lay_root(build: Build) -> None:
    """Lay a shell's base system, and the libraries of this machine's Python."""
    lay_base(build)
    for library in host_libraries():
        folder = "lib64" if "/ld-linux" in library else "lib/x86_64-linux-gnu"
        place = build.out / "usr" / folder / Path(library).name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy(os.path.realpath(library), place)


def lay_interpreter(build: Build) -> None:
    """Lay this machine's Python, without what was installed into it."""
    library = Path(sys.base_prefix, "lib", f"python{HOST}")
    unwanted = shutil.ignore_patterns(
        "__pycache__", "config-*", "ensurepip", "idlelib", "site-packages", "test", "tkinter"
    )
    shutil.copytree(library, build.out / "lib" / library.name, ignore=unwanted)
    (build.out / "bin").mkdir()
    shutil.copy(os.path.realpath(sys.executable), build.out / "bin" / "python3")


@dataclass
class Yard:
    """A site whose sdists are built in a sandbox, by this machine's Python, with no compiler."""

    site: Site
    store: LocalStore

    def __post_init__(self) -> None:
        self.site.add(Recipe("repair", Kind.ENV, self.site.root / "repair.yaml"))

    @property
    def recipe(self) -> Recipe:
        """The recipe that asks for the sdists."""
        return Recipe(
            "asking",
            Kind.ENV,
            self.site.root / "asking.yaml",
            options={"requirements": (), "glibc": "2.36"},
            inputs={"python": "python", "base": "root", "wheel-tools": "repair"},
        )

    def pin(self, content: bytes, name: str = "small", version: str = "1.0", **of: Any) -> Sdist:
        """Publish an sdist and pin it, with the steps that build it."""
        sha = hashlib.sha256(content).hexdigest()
        filename = f"{name}-{version}.tar.gz"
        url = self.site.registry.put(f"/sdists/{sha[:8]}/{filename}", content)
        pinned = Sdist(name, version, url, sha, len(content), **of)
        return sdist._keyed(replace(pinned, root="root"), self.recipe)

    def build(self, *pinned: Distribution, target: str = "", **options: Any) -> Result:
        """Build what is pinned; without a target, as unpacked wheels."""
        recipe, project = self.recipe, self.site.project
        host = [Step(name, name, name, name) for name in ("root", "python", "repair")]
        steps = {step.key: step for step in (*host, *self._steps(pinned, recipe))}
        wanted = [target] if target else [wheel.key(each, recipe) for each in pinned]
        assert project.recipes
        builders = {
            **{name: BUILDERS[name] for name in ("env", "sdist", "wheel")},
            "root": lay_root,
            "python": lay_interpreter,
            "repair": lay_nothing,
        }
        return realise(arrange(steps.values(), wanted), self.store, builders=builders, **options)

    def _steps(self, packages: Sequence[Distribution], recipe: Recipe) -> list[Step]:
        found: list[Step] = []
        for pinned in packages:
            found += (wheel.fetch(pinned, recipe, ""), wheel.unpack(pinned, recipe))
            if isinstance(pinned, Sdist):
                found += self._steps(pinned.build, recipe)
                found.append(sdist._environment(pinned, recipe))
                found.append(sdist._step(pinned, recipe, self.site.project))
        return found


def lay_nothing(build: Build) -> None:
    """Lay an empty folder."""
    build.out.mkdir()


def publish_sdist(registry: Registry, name: str, content: bytes, version: str = "1.0") -> str:
    """Put an sdist on the registry and in its index, beside what is there; give its path."""
    sha = hashlib.sha256(content).hexdigest()
    path, page = f"/sdists/{sha[:8]}/{name}-{version}.tar.gz", f"/simple/{name}/"
    link = f'<a href="{registry.put(path, content)}#sha256={sha}">{name}-{version}.tar.gz</a>'
    before = registry.files.get(page, b"<html><body></body></html>").decode()
    registry.put(page, before.replace("</body>", f"{link}</body>").encode())
    registry.faults[page] = html
    return path
