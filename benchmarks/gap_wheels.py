"""Wheels that backends pin, and the release of each before: bumped by lines of their locks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.pins import lock_file

if TYPE_CHECKING:
    from tests.lab.platform import Site

SERVICE = "backend_5010"
_VERSION = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)
_WHEELS = re.compile(r"^wheels = (.*)$", re.MULTILINE)
_SHA256 = re.compile(r'sha256 = "([0-9a-f]+)"')
_SIZE = re.compile(r"size = (\d+)")


@dataclass(frozen=True, slots=True)
class Bump:
    """One wheel: its earlier release, as an index has it; the committed locks pin a later one."""

    name: str
    before: str
    url: str
    size: int
    sha256: str

    def lower(self, site: Site) -> None:
        """Pin the earlier release in the site's own copies of all locks that have the later one."""
        self._pin(site, self.before, f"[{self._wheel}]")

    def raise_(self, site: Site) -> None:
        """Pin what the committed lock pins, again in all of them."""
        self._pin(site, self.after, _found(_WHEELS, self._committed))

    def _pin(self, site: Site, version: str, wheels: str) -> None:
        for lock in sorted(site.recipes.glob("locks/*.pylock.toml")):
            text = lock.read_text()
            entry = _entries(text).get(self.name, "")
            if self._sha256_after in entry or self.sha256 in entry:
                pinned = _VERSION.sub(f'version = "{version}"', entry)
                pinned = _WHEELS.sub(f"wheels = {wheels}", pinned)
                lock.write_text(text.replace(entry, pinned))

    @property
    def after(self) -> str:
        """The version that the committed lock pins."""
        return _found(_VERSION, self._committed)

    @property
    def size_after(self) -> int:
        """The bytes of the wheel that the committed lock pins."""
        return int(_found(_SIZE, self._committed))

    @property
    def _sha256_after(self) -> str:
        return _found(_SHA256, self._committed)

    @property
    def _wheel(self) -> str:
        where = f'url = "{self.url}", size = {self.size}'
        return f'{{ {where}, hashes = {{ sha256 = "{self.sha256}" }} }}'

    @property
    def _committed(self) -> str:
        return _entries(lock_file(SERVICE).read_text())[self.name]


_FILES = "https://files.pythonhosted.org/packages"
_PLATFORM = "cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64"
BUMPS = (
    Bump(
        "redis",
        "8.0.1",
        f"{_FILES}/fd/0a/c2345ebf1ebe70840ce3f6c6ee612f8fa749cfbd1b03069c53bf0c62aaad/"
        "redis-8.0.1-py3-none-any.whl",
        502_406,
        "47daa35a058c23468d6437f17a8c76882cb316b838ef763036af99b96cedd743",
    ),
    Bump(
        "sqlalchemy",
        "2.1.8",
        f"{_FILES}/a7/99/b3735bdc14a913c292f9fb8e0aaf8d0cd24040edbf8f40ef9e4867719438/"
        f"sqlalchemy-2.1.8-{_PLATFORM}.whl",
        4_664_881,
        "99577caccafc97b712f250c0e251546e97e6e64676213cf6085a63386fa48595",
    ),
)
"""One of Python alone, and one with compiled modules."""


def _entries(text: str) -> dict[str, str]:
    """Split a lock into its packages, by name."""
    parts = text.split("[[packages]]")[1:]
    return {_found(re.compile(r'^name = "([^"]+)"$', re.MULTILINE), part): part for part in parts}


def _found(what: re.Pattern[str], text: str) -> str:
    match = what.search(text)
    if match is None:
        raise RuntimeError(f"the lock does not say {what.pattern}")
    return match[1]
