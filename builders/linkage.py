"""What a store object asks of the system that it runs on: glibc, and libraries that nothing brings.

Read from the ELF files themselves: what a wheel's name promises is a bound, and names no library.
"""

from __future__ import annotations

import json
import mmap
import os
import posixpath
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from builders import elf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KEYS = ("glibc", "own_glibc")
_EXECUTABLE = 0o111


def elf_files(folders: Iterable[Path]) -> dict[str, elf.Elf]:
    """Read every program and library below some folders; links are not followed.

    A damaged one asks for nothing: it cannot be loaded.
    """
    return {str(file): read for file in _likely(folders) if (read := _read(file)) is not None}


def need(files: Mapping[str, elf.Elf], runtime: Path, *, where: str) -> dict[str, str | None]:
    """Say which glibc some files ask of a head when the toolchain `runtime` runs them.

    Raises:
        OwnGlibcError: if they need a later one than the toolchain's own.
    """
    known = need_of(runtime)
    return elf.glibc_need(files, own=known.get("own_glibc"), where=where, more=[known.get("glibc")])


def need_of(path: Path) -> dict[str, str | None]:
    """Return what a store object's `sealift.json` says of glibc."""
    try:
        record = json.loads((path / "sealift.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {key: record[key] for key in KEYS if key in record}


def missing(files: Mapping[str, elf.Elf], runtime: Path) -> list[tuple[str, str]]:
    """List the libraries that neither the files nor their toolchain bring, each with one user."""
    folder = runtime / "lib"
    present = {posixpath.basename(name) for name in files} | elf.GLIBC_LIBRARIES
    present |= {file.soname for file in files.values() if file.soname}
    present |= set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - names alone
    users = {
        library: name
        for name, file in sorted(files.items(), reverse=True)
        for library in file.needed
        if library not in present
    }
    return sorted(users.items())


def _likely(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                file = Path(parent, name)
                mode = file.lstat().st_mode
                if stat.S_ISREG(mode) and (".so" in name or mode & _EXECUTABLE):
                    yield file


def _read(file: Path) -> elf.Elf | None:
    """Parse a file out of memory that the kernel fills as it is read: a few pages of each."""
    with file.open("rb") as stream:
        if stream.read(len(elf.MAGIC)) != elf.MAGIC:
            return None
        with (
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
            suppress(elf.ElfError),
        ):
            return elf.parse(data, where=str(file))
        return None
