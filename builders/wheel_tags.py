"""Which wheel a target takes: file names, and the tags it supports, best first.

Pure. PEP 425 and PEP 600; the order is that of `packaging.tags`, with which the tests compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC = 5
_WHEEL = re.compile(
    r"(?P<name>[^-/]+)-(?P<version>[^-/]+)(?:-(?P<build>\d[^-/]*))?"
    r"-(?P<python>[^-/]+)-(?P<abi>[^-/]+)-(?P<platform>[^-/]+)\.whl"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels must run on: a CPython, on Linux with at least this glibc."""

    python: tuple[int, int]
    glibc: tuple[int, int] = (2, 28)
    machine: str = "x86_64"

    def __str__(self) -> str:
        major, minor = self.glibc
        return f"cp{self.python[0]}{self.python[1]}-manylinux_{major}_{minor}_{self.machine}"


@dataclass(frozen=True, slots=True)
class WheelName:
    """A wheel's file name, taken apart."""

    filename: str
    name: str
    version: str
    build: str
    tags: frozenset[str]

    @property
    def build_number(self) -> int:
        """The number at the start of the build tag, which decides between equal tags."""
        found = re.match(r"\d+", self.build)
        return int(found[0]) if found else -1


def parse_wheel(filename: str) -> WheelName:
    """Take a wheel's file name apart.

    Raises:
        InputError: it is no wheel's name.
    """
    found = _WHEEL.fullmatch(filename)
    if found is None:
        raise InputError(f"{filename!r} is not the name of a wheel")
    tags = {
        f"{python}-{abi}-{platform}"
        for python in found["python"].split(".")
        for abi in found["abi"].split(".")
        for platform in found["platform"].split(".")
    }
    return WheelName(
        filename, found["name"], found["version"], found["build"] or "", frozenset(tags)
    )


def choose(names: Iterable[WheelName], target: Target) -> WheelName | None:
    """Return the wheel that a target likes best, or None if none runs there."""
    ranks = _ranks(target)
    fitting = [
        (min(ranks[tag] for tag in name.tags if tag in ranks), -name.build_number, name.filename)
        for name in names
        if not name.tags.isdisjoint(ranks)
    ]
    best = min(fitting, default=None)
    return None if best is None else parse_wheel(best[2])


@lru_cache(maxsize=8)
def _ranks(target: Target) -> Mapping[str, int]:
    return {tag: rank for rank, tag in enumerate(supported(target))}


def supported(target: Target) -> Iterator[str]:
    """Yield the tags that a target supports, the best first."""
    major, minor = target.python
    own = f"cp{major}{minor}"
    platforms = list(_platforms(target))
    for abi in (own, f"abi{major}", "none"):
        yield from (f"{own}-{abi}-{platform}" for platform in platforms)
    for older in range(minor - 1, 1, -1):
        yield from (f"cp{major}{older}-abi{major}-{platform}" for platform in platforms)
    pure = [f"py{major}{minor}", f"py{major}"]
    pure += [f"py{major}{older}" for older in range(minor - 1, -1, -1)]
    yield from (f"{python}-none-{platform}" for python in pure for platform in platforms)
    yield f"{own}-none-any"
    yield from (f"{python}-none-any" for python in pure)


def _platforms(target: Target) -> Iterator[str]:
    major, newest = target.glibc
    for minor in range(newest, _OLDEST_GLIBC - 1, -1):
        yield f"manylinux_{major}_{minor}_{target.machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{target.machine}"
    yield f"linux_{target.machine}"
