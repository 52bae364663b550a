"""What stands at /usr where a recipe's sdists are compiled: the compiler's root, and more.

The packages of the recipe `compiler`, the headers of the interpreter, and the recipe's own
`build_packages`, as one pinned closure; nothing of the machine that builds. Its step is one for
all recipes whose closures are equal. Finding the closure is for `builders.native_lock`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from builders.archive import reading, unpack_deb
from builders.deb import (
    DOCUMENTATION,
    fetches,
    link_usr,
    merge_usr,
    package_inputs,
    versions,
)
from builders.deb_pins import Asked, load_closure
from builders.deb_sources import sources
from builders.lock_files import debs_file
from builders.prune import pruner
from builders.recipe import Kind
from builders.roles import filler
from builders.scripts.extract import FILE
from builders.step import Step
from builders.tree import Policy, Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.build import Build
    from builders.deb_pins import DebLock
    from builders.deb_sources import Source
    from builders.project import Project
    from builders.recipe import Recipe

COMPILER = "compiler"
"""The recipe whose packages every such root has, and the role in which another may stand for it."""
VERSION = 1
_PRUNE = (
    # The interpreter is the store's own; of Debian's, headers alone are wanted.
    "/usr/lib/python3*",
    "/usr/bin/python3*",
)


def load(recipe: Recipe, project: Project) -> DebLock:
    """Load the closure of a recipe that builds sdists.

    Raises:
        LockError: it is missing, damaged, or was made for other packages.
    """
    packages, found = question(recipe, project)
    return load_closure(debs_file(recipe, project.settings), Asked.of(packages, found), recipe.name)


def key(recipe: Recipe, project: Project) -> str:
    """Name the step of a recipe's root by all that decides it: equal keys mean equal steps.

    Raises:
        LockError: see `load`.
    """
    return _key(load(recipe, project), _compiler(recipe, project))


def _key(lock: DebLock, compiler: Recipe) -> str:
    facts = [VERSION, package_inputs(lock), _arguments(lock, compiler)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"native:{digest[:12]}"


def plan(recipe: Recipe, project: Project) -> tuple[Step, ...]:
    """Plan a fetch of each package, and the step that joins them.

    Raises:
        LockError: see `load`.
    """
    lock, compiler = load(recipe, project), _compiler(recipe, project)
    step = Step(
        key=_key(lock, compiler),
        name="native-root",
        recipe=recipe.name,
        builder="native",
        version=VERSION,
        inputs=package_inputs(lock),
        arguments=_arguments(lock, compiler),
    )
    return (*fetches(recipe, lock, project), step)


def build(build: Build) -> None:
    """Unpack the packages into one root with a merged /usr, and note whose library is whose.

    Raises:
        ArchiveError: a package is damaged, or holds what may not be in the store.
    """
    arguments = build.step.arguments
    pruned = pruner((*DOCUMENTATION, *_PRUNE, *arguments["prune"]))
    policy = Policy(
        rename=merge_usr, keep=lambda place: not pruned(place), rooted=True, empty=False
    )
    tree = Tree(str(build.out))
    owners: dict[str, str] = {}
    for name in sorted(arguments["packages"]):
        build.log.write(f"unpack {name}\n")
        known = len(tree.kinds)
        unpack_deb(build.inputs[f"{name}.deb"], tree, policy)
        owners |= dict.fromkeys(_libraries(tree, known), name)
    with reading("the packages' links"):
        for place, target in sorted(arguments["links"].items()):
            tree.link(place, target)
        # That some lead to nothing is as it is on a Debian system: what needs them will say so.
        tree.check()
    link_usr(build.out)
    record = {"format": 1, "packages": arguments["packages"], "libraries": owners}
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (build.out / "sealift.json").write_text(text, encoding="utf-8")


def _libraries(tree: Tree, known: int) -> list[str]:
    """List the shared libraries that were laid after the first `known` names."""
    return [name for name in list(tree.kinds)[known:] if _is_library(name, tree)]


def _is_library(name: str, tree: Tree) -> bool:
    return ".so" in name.rpartition("/")[2] and tree.kinds[name] == FILE


def question(recipe: Recipe, project: Project) -> tuple[list[str], tuple[Source, ...]]:
    """Give all packages that are asked for, and where: what the interpreter is made of decides.

    Raises:
        InputError: the project has no recipe `compiler`, or one of another kind.
    """
    compiler = _compiler(recipe, project)
    python = project.recipes[recipe.inputs["python"]]
    headers = f"libpython{python.options['version']}-dev"
    own = recipe.options.get("build_packages", ())
    packages = sorted({*compiler.options["packages"], headers, *own})
    suites = python.options.get("suites") or compiler.options.get("suites")
    return packages, sources(suites, project.settings)


def _compiler(recipe: Recipe, project: Project) -> Recipe:
    missing = f"{recipe.name} builds sdists, and to compile them there is no recipe"
    return filler(recipe, COMPILER, Kind.DEB, project, missing=missing)


def _arguments(lock: DebLock, compiler: Recipe) -> Mapping[str, Any]:
    return {
        "packages": versions(lock),
        "prune": sorted(compiler.options.get("prune", ())),
        "links": dict(compiler.options.get("links", {})),
    }
