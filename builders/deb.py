"""Kind `deb`: pinned Debian packages, unpacked into one store object that needs only glibc.

Maintainer scripts never run: what they would have made (alternatives, users, caches) is not
there. Which packages and which bytes is for the lock; the archive format for `builders.archive`.
"""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Any

from builders import elf
from builders.archive import reading, unpack_deb
from builders.deb_sources import load
from builders.lock_files import lock_file
from builders.prune import pruner
from builders.scripts.extract import FILE
from builders.step import Download, Step
from builders.tree import Policy, Tree
from store.errors import InputError
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builders.build import Build
    from builders.deb_pins import DebLock
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

VERSION = 1

DOCUMENTATION = (
    "**/share/doc/*/*",
    # Licences stay, and so do the links between packages' folders.
    "!**/share/doc/*/copyright",
    *(f"**/share/{name}" for name in ("bug", "doc-base", "info", "lintian", "locale", "man")),
    "**/share/menu",
)
MERGED = ("bin", "lib", "lib64", "sbin")
"""Folders of the root that are links into `usr` on a merged-usr system."""
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "lib", "usr/lib64")
"""Where an object's own libraries lie, in the order of preference."""


class PackageError(InputError):
    """Packages that do not make an object that works: something is missing, or leads nowhere."""

    slug = "incomplete-packages"
    exit_code = 1


def plan(recipe: Recipe, _source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a fetch of each package, and one step that unpacks them all.

    Raises:
        LockError: if the lock does not pin just these packages.
    """
    options = recipe.options
    lock = packages_lock(recipe, project)
    arguments = {
        "packages": versions(lock),
        "merge_usr": bool(options.get("merge_usr", False)),
        "prune": sorted(options.get("prune", ())),
        "executables": sorted(options.get("executables", ())),
    }
    if options.get("links"):
        arguments["links"] = dict(options["links"])
    lead = recipe.name if recipe.name in lock.packages else options["packages"][0]
    step = Step(
        key=recipe.name,
        name=store_name(f"{recipe.name}-{lock.packages[lead].version}"),
        recipe=recipe.name,
        builder="deb",
        version=VERSION,
        inputs={**recipe.inputs, **package_inputs(lock)},
        arguments=arguments,
    )
    return (*fetches(recipe, lock, project), step)


def build(build: Build) -> None:
    """Unpack the packages, make the executables find their libraries, and look it all over.

    Raises:
        ArchiveError: if a package is damaged, or holds what may not be in the store.
        PackageError: if a library is missing, or a link leads nowhere.
        BuildError: if patchelf fails.
    """
    arguments = build.step.arguments
    merged = bool(arguments["merge_usr"])
    pruned = pruner((*DOCUMENTATION, *arguments["prune"]))
    policy = Policy(
        rename=merge_usr if merged else str,
        keep=lambda place: not pruned(place),
        rooted=True,
        empty=False,
    )
    tree = lay_packages(build, policy)
    with reading(build.step.recipe):
        for place, target in sorted(arguments.get("links", {}).items()):
            tree.link(place, target)
    if merged:
        link_usr(build.out)
    folders = library_folders(tree)
    for executable in arguments["executables"]:
        set_search_path(build, executable, folders)
    finish(build, tree, folders)


def packages_lock(recipe: Recipe, project: Project) -> DebLock:
    """Load the lock of a recipe that names packages.

    Raises:
        LockError: if it does not pin just these, or the closure of these.
    """
    return load(lock_file(recipe, project.settings), recipe, project.settings)


def unpacking(
    recipe: Recipe,
    lock: DebLock,
    *,
    version: str,
    builder: tuple[str, int],
    arguments: Mapping[str, Any],
) -> Step:
    """Make the step of a toolchain that is laid out of packages.

    `version` is that of its store path's name; `builder` is its row of `builders.kinds` and that
    row's version.
    """
    row, number = builder
    return Step(
        key=recipe.name,
        name=store_name(f"{recipe.options['language']}-{version}"),
        recipe=recipe.name,
        builder=row,
        version=number,
        inputs={**recipe.inputs, **package_inputs(lock)},
        arguments={
            "packages": versions(lock),
            "prune": sorted(recipe.options.get("prune", ())),
            **arguments,
        },
    )


def fetches(recipe: Recipe, lock: DebLock, project: Project) -> tuple[Step, ...]:
    """Plan the fetch of every package of a lock."""
    return tuple(
        Step(
            key=f"fetch:{pinned.integrity}",
            name=store_name(pinned.basename),
            recipe=recipe.name,
            builder="fetch",
            download=Download(
                urls=lock.urls(name, project.settings.mirrors),
                integrity=pinned.integrity,
                size=pinned.size,
            ),
        )
        for name, pinned in lock.packages.items()
    )


def package_inputs(lock: DebLock) -> dict[str, str]:
    """Give each package a role: its name with `.deb`, which no other role ends with."""
    return {f"{name}.deb": f"fetch:{pinned.integrity}" for name, pinned in lock.packages.items()}


def versions(lock: DebLock) -> dict[str, str]:
    """Give the version of each package of a lock."""
    return {name: pinned.version for name, pinned in lock.packages.items()}


def lay_packages(build: Build, policy: Policy) -> Tree:
    """Unpack all packages of a step into its output.

    Raises:
        ArchiveError: if a package is damaged, refused, or holds a file of another's.
    """
    tree = Tree(str(build.out))
    for name in sorted(build.step.arguments["packages"]):
        build.log.write(f"unpack {name}\n")
        unpack_deb(build.inputs[f"{name}.deb"], tree, policy)
    return tree


def merge_usr(path: str) -> str:
    """Move what lies in /bin, /lib, /lib64 and /sbin into /usr."""
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


def link_usr(root: Path) -> None:
    """Link each merged folder that there is from the root."""
    for name in MERGED:
        if (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")


def library_folders(tree: Tree) -> list[str]:
    """List the folders of a tree where shared libraries lie."""
    libraries = (name for name in tree.kinds if ".so" in posixpath.basename(name))
    holding = {posixpath.dirname(name) for name in libraries}
    return [folder for folder in LIBRARIES if folder in holding]


def set_search_path(build: Build, executable: str, folders: Sequence[str]) -> None:
    """Make an executable look for its libraries beside itself, wherever the object lies.

    RPATH, not RUNPATH: it holds for the libraries' libraries and for what they load later.

    Raises:
        PackageError: if there is no such executable.
        BuildError: if patchelf fails.
    """
    path = search_path(executable, folders)
    run_patchelf(build, executable, ["--force-rpath", "--set-rpath", path])


def search_path(executable: str, folders: Sequence[str]) -> str:
    """Spell folders of an object as one of its executables finds them."""
    start = posixpath.dirname(executable) or "."
    return ":".join(f"$ORIGIN/{posixpath.relpath(folder, start)}" for folder in folders)


def run_patchelf(build: Build, executable: str, words: Sequence[str]) -> None:
    """Change an executable of a step's output with the input `patchelf`.

    Raises:
        PackageError: if there is no such executable.
        BuildError: if patchelf fails.
    """
    file = build.out / executable
    if not file.is_file() or file.is_symlink():
        raise _no_executable(build, executable)
    tool = build.inputs["patchelf"]
    env = {"LD_LIBRARY_PATH": str(tool / LIBRARIES[0])}
    build.run([str(tool / "usr/bin/patchelf"), *words, build.inside(file)], env=env)


def finish(
    build: Build, tree: Tree, folders: Sequence[str], *, own_glibc: str | None = None
) -> None:
    """Look the object over and record in it what it was made of and what it asks of a head.

    With `own_glibc`, the version that it runs with wherever it is, it asks for none.

    Raises:
        ArchiveError: if a link leaves the object.
        PackageError: if a library is missing, a link leads nowhere, or its own glibc is too old.
    """
    with reading(build.step.recipe):
        dangling = tree.check()
    files = dict(_elf_files(build.out, tree))
    missing = [*_dangling(dangling, tree), *_missing(files, _library_names(tree, folders))]
    if missing:
        raise PackageError(
            f"{build.step.recipe} is incomplete: {len(missing)} things are missing",
            where=build.step.recipe,
            got="; ".join(missing),
            hint="add the packages that hold them under `packages:`, or leave out under `prune:`"
            " what needs them",
        )
    record = {
        "format": 1,
        "name": build.step.recipe,
        "packages": build.step.arguments["packages"],
        **elf.glibc_need(files, own=own_glibc, where=build.step.recipe),
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (build.out / "sealift.json").write_text(text, encoding="utf-8")


def _elf_files(root: Path, tree: Tree) -> Iterator[tuple[str, elf.Elf]]:
    for name, kind in sorted(tree.kinds.items()):
        if kind == FILE and (parsed := _read_elf(root / name)) is not None:
            yield name, parsed


def _read_elf(file: Path) -> elf.Elf | None:
    with file.open("rb") as stream:
        if stream.read(len(elf.MAGIC)) != elf.MAGIC:
            return None
        stream.seek(0)
        return elf.parse(stream.read(), where=str(file))


def _library_names(tree: Tree, folders: Iterable[str]) -> set[str]:
    """List the names under which the loader finds libraries: files and links that lead to one."""
    return {
        posixpath.basename(name)
        for name in tree.kinds
        if posixpath.dirname(name) in folders and tree.kinds.get(tree.resolve(name)) == FILE
    }


def _missing(files: Mapping[str, elf.Elf], present: set[str]) -> Iterator[str]:
    known = present | elf.GLIBC_LIBRARIES
    for name, file in files.items():
        for library in file.needed:
            if library not in known:
                yield f"{library}, which {name} needs"


def _dangling(names: Iterable[str], tree: Tree) -> Iterator[str]:
    for name in names:
        yield f"{tree.links[name]}, to which {name} links"


def _no_executable(build: Build, executable: str) -> PackageError:
    return PackageError(
        f"no package holds the executable {executable!r}",
        where=build.step.recipe,
        hint="correct the path under `executables:`",
    )
