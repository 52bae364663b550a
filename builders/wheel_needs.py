"""What a wheel that was built here asks of a head: a glibc, an interpreter, and nothing else."""

from __future__ import annotations

import posixpath
import zipfile
from typing import TYPE_CHECKING

from builders import elf
from builders.build import BuildError
from builders.wheel_tags import choose, parse_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.wheel_tags import Target

RUNTIME = frozenset({"libgcc_s.so.1", "libstdc++.so.6"})
"""What every wheel with C++ in it takes from where it runs, those of the index too (PEP 600)."""


class NeedsError(BuildError):
    """A wheel that would not run where its recipe says."""

    slug = "wheel-needs-more"


def check_needs(file: Path, target: Target, python: Path, *, title: str) -> None:
    """Refuse a wheel that asks for more than a target's glibc and the interpreter `python`.

    Raises:
        NeedsError: it needs a newer glibc, another interpreter, or a library that it lacks.
        ElfError: it holds a damaged library.
    """
    floor = "{}.{}".format(*target.glibc)
    libraries = _libraries(file)
    need = elf.glibc_floor(libraries.values())
    if need is not None and tuple(map(int, need.split("."))) > target.glibc:
        raise NeedsError(
            f"{title}: the wheel needs glibc {need}, and the recipe promises {floor}",
            where=file.name,
            expected=f"at most GLIBC_{floor}",
            got=_needy(libraries, need),
            hint=f'glibc: "{need}", if every head has it',
        )
    if choose([parse_wheel(file.name)], target) is None:
        raise NeedsError(f"{title}: the wheel does not run on {target}", where=file.name)
    for lacking, name in _lacking(libraries, python):
        raise NeedsError(
            f"{title}: the wheel needs {lacking} of the head it runs on",
            where=file.name,
            got=name,
            hint="require a version that does without",
        )


def _libraries(file: Path) -> Mapping[str, elf.Elf]:
    found = {}
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            parsed = elf.parse(data, where=name) if data[:4] == elf.MAGIC else None
            if parsed is not None:
                found[name] = parsed
    return found


def _needy(libraries: Mapping[str, elf.Elf], need: str) -> str:
    symbol = f"GLIBC_{need}"
    names = [
        name
        for name, library in libraries.items()
        if any(symbol in symbols for symbols in library.versions.values())
    ]
    return f"{symbol} in {', '.join(sorted(names))}"


def _lacking(libraries: Mapping[str, elf.Elf], python: Path) -> list[tuple[str, str]]:
    """List libraries that neither the wheel, nor the interpreter, nor glibc has; and who asks."""
    own = {posixpath.basename(name) for name in libraries}
    there = own | {path.name for path in (python / "lib").glob("*.so*")}
    known = there | elf.GLIBC_LIBRARIES | RUNTIME
    return [
        (needed, name)
        for name, library in sorted(libraries.items())
        for needed in library.needed
        if needed not in known
    ]
