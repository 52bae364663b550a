"""Packages of the npm registry and locks, made on the spot, and the tools to build with them."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import sysconfig
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders import dist, node, npm_modules
from builders.build import BuildError
from builders.npm_lock import parse
from builders.npm_platform import Platform, installed
from builders.project import Project
from builders.recipe import Kind, Recipe, Route, SourceSpec
from builders.sandbox import SandboxMode
from builders.settings import load_settings
from builders.step import Step
from tests.builders.registry import integrity
from tests.builders.workbench import BUILDERS, Bench, lay_base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.build import Build
    from builders.npm_lock import NpmLock
    from store.local import LocalStore
    from tests.builders.registry import Registry

NODE = "20.20.2"
NPM = "11.19.1"
PLATFORM = Platform(NODE, NPM)
TOOLS = {"base": "base", "python": "python-3.11", "tools": "python-tools"}
RENEW = "sealift lock web"
PIN = integrity(b"", "sha512")


@dataclass(frozen=True)
class Entry:
    """One member of a tarball, as it should not always be."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    target: str = ""


def tarball(entries: Sequence[Entry]) -> bytes:
    """Pack members in the given order, as npm does: gzip, and no time in it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.mode, info.type = len(entry.data), entry.mode, entry.kind
            info.linkname = entry.target
            archive.addfile(info, io.BytesIO(entry.data))
    return gzip.compress(plain.getvalue(), mtime=0)


def package(name: str, version: str, files: Mapping[str, str] | None = None, **more: Any) -> bytes:
    """Pack a package with a manifest and files; scripts with a shebang are executable."""
    manifest = {"name": name, "version": version, **more}
    contents = {"package.json": json.dumps(manifest), "index.js": f"// {name}\n", **(files or {})}
    return tarball([Entry(f"package/{path}", text.encode()) for path, text in contents.items()])


@dataclass
class Tree:
    """A project whose packages a registry on this machine serves."""

    registry: Registry
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=lambda: {"name": "web", "version": "1.0.0"})

    def add(self, location: str, version: str, data: bytes | None = None, **entry: Any) -> None:
        """Lock a package at a place; without `data` one of no interest is made up."""
        name = entry.get("name", location.rpartition("node_modules/")[2])
        content = package(name, version) if data is None else data
        url = self.registry.put(f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz", content)
        pin = integrity(content, "sha512")
        self.packages[location] = {"version": version, "resolved": url, "integrity": pin, **entry}
        if location.count("node_modules/") == 1:
            self.manifest.setdefault("dependencies", {})[location[13:]] = version

    def lock(self) -> str:
        """Spell the lock."""
        packages = {"": self.manifest, **self.packages}
        document = {"name": "web", "version": "1.0.0", "lockfileVersion": 3, "requires": True}
        return json.dumps(document | {"packages": packages}, indent=2)

    def write(self, folder: Path, **manifest: Any) -> None:
        """Write `package.json` and the lock."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.manifest | manifest, ensure_ascii=False)
        (folder / "package.json").write_text(text, encoding="utf-8")
        (folder / "package-lock.json").write_text(self.lock())

    def steps(self, **options: Any) -> tuple[Step, ...]:
        """Plan its tree; the last step is the tree."""
        packages = installed(read(self.lock()), PLATFORM)
        tools = {**TOOLS, "node": "node-20"}
        tree = npm_modules.modules_step(packages, recipe="web", tools=tools, **options)
        return (*npm_modules.fetches(packages, recipe="web", registry=self.registry.url), tree)


def read(text: str) -> NpmLock:
    """Parse a lock."""
    return parse(text, where="package-lock.json", renew=RENEW)


def lay_python(build: Build) -> None:
    """Lay a link to the interpreter that runs the tests."""
    (build.out / "bin").mkdir(parents=True)
    (build.out / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))


def lay_tools(build: Build) -> None:
    """Lay a link to the packages of the environment that runs the tests; nodeenv is one."""
    build.out.mkdir()
    (build.out / "site").symlink_to(sysconfig.get_path("purelib"))


def lay_node(build: Build) -> None:
    """Lay a Node that compresses nothing, and an npm that runs a script with the shell."""
    (build.out / "bin").mkdir(parents=True)
    script = 'sed -n "s/.*\\"$2\\": \\"\\([^\\"]*\\)\\".*/\\1/p" package.json | sh -e'
    for name, text in (("npm", script), ("node", 'test -d "$2"')):
        tool = build.out / "bin" / name
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(0o755)


def bench(store: LocalStore) -> Bench:
    """Give a bench with everything that frontends need, without a sandbox."""
    rows = {
        **BUILDERS,
        "base": lay_base,
        "host-python": lay_python,
        "host-tools": lay_tools,
        "host-node": lay_node,
        "node": node.build,
        "node-modules": npm_modules.build,
        "dist": dist.build,
    }
    return Bench(store, rows, SandboxMode.OFF)


HOST = (
    Step("python-3.11", "python", "python-3.11", "host-python"),
    Step("python-tools", "tools", "python-tools", "host-tools"),
)
HOST_NODE = Step("node-20", "node", "node-20", "host-node")


def frontend(**fields: Any) -> Recipe:
    """Give the recipe of a frontend."""
    options = {"script": "build", "output": "dist", "install_scripts": ()}
    return Recipe(
        "web",
        Kind.DIST,
        Path("recipes/web.yaml"),
        source=SourceSpec("web"),
        inputs={"base": "base", "python": "python-3.11", "node": "node-20"},
        options=options | fields.pop("options", {}),
        routes=fields.pop("routes", (Route("/web/"),)),
        **fields,
    )


def toolchain(**options: Any) -> Recipe:
    """Give the recipe of Node."""
    said = {"language": "node", "version": NODE, "npm": NPM, "from": "npm"} | options
    file = Path("recipes/node-20.yaml")
    return Recipe("node-20", Kind.TOOLCHAIN, file, inputs=TOOLS, options=said)


def project(folder: Path, registry: Registry, *recipes: Recipe) -> Project:
    """Give a project whose registries are all this one."""
    mirrors = f"{{npm: '{registry.url}', nodejs: '{registry.url}/dist'}}"
    (folder / "sealift.yaml").write_text(f"sources: .\nstore_dir: store\nmirrors: {mirrors}\n")
    settings = load_settings(file=folder / "sealift.yaml")
    return Project(settings, {recipe.name: recipe for recipe in recipes})


def failure(result: Any) -> BuildError:
    """Give the one error of a build."""
    (only,) = result.failures
    assert isinstance(only.error, BuildError), only.error
    return only.error
