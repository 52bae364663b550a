"""Kind `toolchain`, language `python`: CPython out of Debian packages, movable and compiled ahead.

The object is `bin/python3`, its standard library under `lib/`, and every shared library that
these need but glibc; with the input `libc` also glibc, as a store path of its own. Fetching,
unpacking and looking over are those of `builders.deb`.
"""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING

from builders.deb import (
    DOCUMENTATION,
    PackageError,
    fetches,
    finish,
    lay_packages,
    packages_lock,
    run_patchelf,
    search_path,
    unpacking,
)
from builders.prune import pruner
from builders.tree import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree, Step
    from builders.tree import Tree

VERSION = 2
NOWHERE = "unwanted"
LOADER = "lib/ld-linux-x86-64.so.2"
SHARED = ("libstdc++.so.6", "libgcc_s.so.1")
"""What wheels may take from the system (PEP 600) and do not bring, besides glibc.

Loaded with the interpreter itself: whoever asks for it later is given what is loaded, even where
its own search path (RUNPATH) would have led to the head's.
"""
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")

PRUNE = (
    # Rules and settings of Debian, for its own interpreter.
    "lib/python*/EXTERNALLY-MANAGED",
    "lib/python*/sitecustomize.py",
    # What only CPython's own tests need.
    "lib/python*/test",
    "lib/python*/**/test",
    "lib/python*/**/tests",
    # What needs Tk.
    "lib/python*/idlelib",
    "lib/python*/tkinter",
    "lib/python*/turtle.py",
    "lib/python*/turtledemo",
    "lib/python*/lib-dynload/_test*",
    "lib/python*/lib-dynload/_ctypes_test*",
    "lib/python*/lib-dynload/_xxtestfuzz*",
    "lib/python*/lib-dynload/xxlimited*",
)


def plan(recipe: Recipe, _source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a fetch of each package, and one step that makes the interpreter of them.

    Raises:
        LockError: if the lock does not pin just the recipe's packages.
    """
    lock = packages_lock(recipe, project)
    python = f"python{recipe.options['version']}"
    pinned = lock.packages.get(f"{python}-minimal") or next(iter(lock.packages.values()))
    step = unpacking(
        recipe,
        lock,
        version=pinned.version,
        builder=("python", VERSION),
        arguments={"python": python},
    )
    return (*fetches(recipe, lock, project), step)


def build(build: Build) -> None:
    """Lay the interpreter out, make it movable, and compile its standard library.

    Raises:
        ArchiveError: if a package is damaged or refused.
        PackageError: if a library is missing, or a link leads nowhere.
        BuildError: if patchelf, the compilation or the first import fails.
    """
    python = build.step.arguments["python"]
    tree = lay_out(build, python, PRUNE)
    _link(build, f"bin/{python}")
    (build.out / "bin" / "python3").symlink_to(python)
    libc = build.inputs.get("libc")
    finish(build, tree, ["lib"], own_glibc=None if libc is None else own_glibc(libc))
    _compile(build, python)


def own_glibc(libc: Path) -> str:
    """Return the version of a glibc that `builders.toolchain_glibc` made.

    Raises:
        PackageError: if it is something else.
    """
    record = json.loads((libc / "sealift.json").read_text(encoding="utf-8"))
    version = record.get("own_glibc")
    if not isinstance(version, str) or not (libc / LOADER).is_file():
        raise PackageError(
            "the input `libc` is no glibc that can be run with",
            where=str(libc),
            hint="name a recipe of kind toolchain and language glibc",
        )
    return version


def lay_out(build: Build, name: str, prune: Sequence[str]) -> Tree:
    """Unpack a toolchain's packages as `layout` says, without what is pruned or has no place.

    Raises:
        ArchiveError: if a package is damaged or refused.
    """
    unwanted = pruner((f"/{NOWHERE}", *DOCUMENTATION, *prune, *build.step.arguments["prune"]))
    policy = Policy(
        rename=layout(name), keep=lambda place: not unwanted(place), rooted=True, empty=False
    )
    return lay_packages(build, policy)


def layout(python: str) -> Callable[[str], str]:
    """Make the map from a package's paths to the object's; what has no place goes nowhere."""
    moves = {
        f"usr/bin/{python}": f"bin/{python}",
        f"usr/lib/{python}": f"lib/{python}",
        "usr/share/doc": "share/doc",
    }

    def place(path: str) -> str:
        folder, name = posixpath.split(path)
        if folder in _LIBRARIES and ".so" in name:
            return f"lib/{name}"
        for old, new in moves.items():
            if path == old or path.startswith(f"{old}/"):
                return new + path[len(old) :]
        return f"{NOWHERE}/{path}"

    return place


def _link(build: Build, executable: str) -> None:
    """Tell the interpreter where its libraries are, and its loader if that is its own."""
    path = search_path(executable, ["lib"])
    libc = build.inputs.get("libc")
    if libc is not None:
        path += f":{libc / 'lib'}"
        run_patchelf(build, executable, ["--set-interpreter", str(libc / LOADER)])
    shared = [name for name in SHARED if (build.out / "lib" / name).exists()]
    # One by one: patchelf 0.14 loses the search path when it is to do several things at once.
    for name in shared:
        run_patchelf(build, executable, ["--add-needed", name])
    run_patchelf(build, executable, ["--force-rpath", "--set-rpath", path])


def _compile(build: Build, python: str) -> None:
    """Compile without times or build paths, in one process: the order decides some bytes."""
    interpreter = build.inside(build.out / "bin" / python)
    library = build.out / "lib" / python
    root = build.inside(build.out)
    options = ("--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/")
    command = (interpreter, "-I", "-S", "-B", "-m", "compileall", "-q", "-f", *options)
    build.run((*command, build.inside(library)))
