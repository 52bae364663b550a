"""The wheels that locks name, as pip is told of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.site import REPOSITORY
from builders.python_pins import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LOCKS = REPOSITORY / "recipes" / "locks"


@dataclass(frozen=True, slots=True)
class Pin:
    """One wheel of a lock, and the Python that the lock is for (`3.11`)."""

    wheel: Wheel
    python: str

    @property
    def key(self) -> str:
        """The key of the step that fetches it."""
        return f"fetch:{self.wheel.integrity}"

    @property
    def size(self) -> int:
        """Bytes, as far as the lock says."""
        return self.wheel.size or 0

    @property
    def platforms(self) -> list[str]:
        """The platforms in its name, in pip's words."""
        return self.wheel.filename.removesuffix(".whl").rpartition("-")[2].split(".")

    def line(self, *, by_address: bool = False) -> str:
        """Spell the requirement."""
        asked = f"{self.wheel.name} @ {self.wheel.url}" if by_address else self.wheel.pin
        return f"{asked} --hash=sha256:{self.wheel.sha256}"


@dataclass(frozen=True, slots=True)
class Round:
    """Wheels that one run of pip can take: one Python, one version of each package."""

    python: str
    pins: tuple[Pin, ...]

    @property
    def platforms(self) -> list[str]:
        """All platforms that occur."""
        return sorted({tag for pin in self.pins for tag in pin.platforms})


def lock_file(name: str) -> Path:
    """Name a recipe's lock."""
    return LOCKS / f"{name}.pylock.toml"


def read_wheels(name: str) -> Iterator[Pin]:
    """Read the wheels of one recipe's lock; packages that are sdists have none."""
    content = tomllib.loads(lock_file(name).read_text())
    python = content["requires-python"].removeprefix("==").removesuffix(".*")
    for package in content["packages"]:
        for said in package.get("wheels", ()):
            yield Pin(
                Wheel(
                    package["name"],
                    package["version"],
                    said["url"],
                    said["hashes"]["sha256"],
                    said.get("size"),
                ),
                python,
            )


def locked_wheels(names: Iterable[str]) -> list[Pin]:
    """Read the wheels of several locks, each file once."""
    found = {pin.key: pin for name in names for pin in read_wheels(name)}
    return list(found.values())


def rounds(pins: Iterable[Pin]) -> list[Round]:
    """Deal wheels out so that pip can take them, in as few runs as need be."""
    dealt: dict[tuple[str, int], dict[str, Pin]] = {}
    for pin in pins:
        number = 0
        while pin.wheel.name in dealt.get((pin.python, number), ()):
            number += 1
        dealt.setdefault((pin.python, number), {})[pin.wheel.name] = pin
    return [Round(python, tuple(found.values())) for (python, _), found in sorted(dealt.items())]
