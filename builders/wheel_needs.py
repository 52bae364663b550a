"""What a wheel that was built here asks of a head: a glibc, an interpreter, and nothing else."""

from __future__ import annotations

import posixpath
import zipfile
from typing import TYPE_CHECKING

from builders import elf
from builders.build import BuildError
from builders.wheel_tags import Target, choose, parse_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.build import Build

RUNTIME = frozenset({"libgcc_s.so.1", "libstdc++.so.6"})
"""What every wheel with C++ in it takes from where it runs, those of the index too (PEP 600)."""


class NeedsError(BuildError):
    """A wheel that would not run where its recipe says."""

    slug = "wheel-needs-more"


def check_needs(file: Path, build: Build) -> None:
    """Refuse a wheel that asks for more than the step's interpreter and glibc.

    Raises:
        NeedsError: it needs a newer glibc, another interpreter, or a library that it lacks.
        ElfError: it holds a damaged library.
    """
    floor = build.step.arguments["glibc"]
    target = Target(_two(build.step.arguments["python"]), _two(floor))
    libraries = _libraries(file)
    need = elf.glibc_floor(libraries.values())
    if need is not None and _two(need) > target.glibc:
        raise NeedsError(
            f"{build.step.title}: the wheel needs glibc {need}, and the recipe promises {floor}",
            where=str(build.log_file),
            expected=f"at most GLIBC_{floor}",
            got=_needy(libraries, need),
            hint=f'glibc: "{need}", if every head has it',
        )
    if choose([parse_wheel(file.name)], target) is None:
        reason = f"{build.step.title}: the wheel does not run on {target}"
        raise NeedsError(reason, where=str(build.log_file), got=file.name)
    for lacking, name in _lacking(libraries, build.inputs["python"]):
        raise NeedsError(
            f"{build.step.title}: the wheel needs {lacking} of the head it runs on",
            where=str(build.log_file),
            got=name,
            hint="require a version that does without",
        )


def _two(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


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
