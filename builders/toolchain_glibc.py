"""Kind `toolchain`, language `glibc`: a C library of its own, which takes nothing from the head.

An interpreter that names it as its input `libc` runs on any head, whatever glibc that has. The
loader as Debian makes it would then look into the head's library folders, its cache and its
preload list, and libc into the head's locales and converters: files of another glibc. Those
names are blinded in the two binaries, in place and at their length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.deb import PackageError, fetches, finish, packages_lock, unpacking, versions
from builders.toolchain_python import LOADER, lay_out

if TYPE_CHECKING:
    from pathlib import Path

    from builders.build import Build
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree, Step

VERSION = 1
PACKAGE = "libc6"
LIBC = "lib/libc.so.6"
_FOLDERS = "/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib/", "/usr/lib/"
# The folders are one table, whose offsets are compiled in; a shorter match would be another text.
BLIND: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    (
        LOADER,
        (
            b"\0/etc/ld.so.cache\0",
            b"\0/etc/ld.so.preload\0",
            "".join(f"{folder}\0" for folder in _FOLDERS).encode(),
        ),
    ),
    (LIBC, (b"/usr/lib/locale", b"/usr/lib/x86_64-linux-gnu/gconv")),
)
PRUNE = ("lib/audit", "lib/gconv", "lib/libmemusage.so", "lib/libpcprofile.so")


def plan(recipe: Recipe, _source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a fetch of each package, and one step that makes the library of them.

    Raises:
        LockError: if the lock does not pin just the recipe's packages.
        PackageError: if it pins another version than the recipe is for.
    """
    lock = packages_lock(recipe, project)
    wanted = recipe.options["version"]
    pinned = versions(lock).get(PACKAGE, "none")
    if pinned.partition("-")[0] != wanted:
        raise PackageError(
            f"{recipe.name} is for glibc {wanted}, and its lock pins another",
            where=str(recipe.file),
            got=f"{PACKAGE} {pinned}",
            hint="correct `version`, or name suites that have it",
        )
    step = unpacking(
        recipe, lock, version=pinned, builder=("glibc", VERSION), arguments={"version": wanted}
    )
    return (*fetches(recipe, lock, project), step)


def build(build: Build) -> None:
    """Lay the library out and blind it.

    Raises:
        ArchiveError: if a package is damaged or refused.
        PackageError: if the binaries do not look for the head's files where they are known to.
    """
    arguments = build.step.arguments
    tree = lay_out(build, "glibc", PRUNE)
    for name, texts in BLIND:
        blind(build.out / name, texts)
    finish(build, tree, ["lib"], own_glibc=arguments["version"])


def blind(file: Path, texts: tuple[bytes, ...]) -> None:
    """Put names of folders that do not exist in the place of others.

    Raises:
        PackageError: if one of the names is not there: then it may be spelled in another way.
    """
    data = file.read_bytes()
    for text in texts:
        if text not in data:
            raise PackageError(
                f"{file.name} does not name what it is known to look for",
                where=str(file),
                expected=text.decode(errors="replace").strip("\0"),
                hint="this glibc is unknown: take the version that the recipe had before",
            )
        data = data.replace(text, blinded(text))
    file.write_bytes(data)


def blinded(text: bytes) -> bytes:
    """Spell names of the same length that no head has: underscores for the first folder."""
    return b"\0".join(_blinded(name) for name in text.split(b"\0"))


def _blinded(name: bytes) -> bytes:
    head, slash, rest = name[1:].partition(b"/")
    return name[:1] + b"_" * len(head) + slash + rest
