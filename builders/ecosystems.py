"""What OSV calls the worlds that packages come from, however it is spelled, and their orders."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from builders.debian import parse_version
from builders.semver import precedence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CODENAMES = {
    "buster": "Debian:10",
    "bullseye": "Debian:11",
    "bookworm": "Debian:12",
    "trixie": "Debian:13",
    "forky": "Debian:14",
    "bionic": "Ubuntu:18.04:LTS",
    "focal": "Ubuntu:20.04:LTS",
    "jammy": "Ubuntu:22.04:LTS",
    "noble": "Ubuntu:24.04:LTS",
}
_ORDER: Mapping[str, Callable[[str], Any]] = {
    "PyPI": Version,
    "npm": precedence,
    "Debian": parse_version,
    "Ubuntu": parse_version,
    "crates.io": precedence,
}
"""How each ecosystem orders its versions; all raise ValueError for what is none."""
_SPELLED = {name.lower(): name for name in _ORDER}
_UBUNTU = re.compile(r"(?:pro:)?(\d+\.\d+)(?::lts)?")
"""Pro gets more fixes for the packages of the same release; its FIPS packages are others."""


def base(ecosystem: str) -> str:
    """Give an ecosystem without the release that stands behind it."""
    return ecosystem.partition(":")[0]


def is_known(ecosystem: str) -> bool:
    """Tell whether packages of an ecosystem can be looked up."""
    return base(ecosystem) in _ORDER


def order_of(ecosystem: str) -> Callable[[str], Any]:
    """Give what orders the versions of an ecosystem: it raises ValueError for what is none."""
    return _ORDER.get(base(ecosystem), _unordered)


@lru_cache(maxsize=1024)
def canonical(spelled: str) -> str:
    """Give the one spelling of an ecosystem; one that is not known stays as it is."""
    name, colon, release = spelled.strip().partition(":")
    known = _SPELLED.get(name.lower())
    if known is None:
        return spelled
    if known == "Ubuntu" and (found := _UBUNTU.fullmatch(release.lower())):
        return f"{known}:{found[1]}:LTS"
    return CODENAMES.get(release.lower(), f"{known}{colon}{release}")


def _unordered(version: str) -> Any:  # noqa: ANN401 - there is no order
    raise ValueError(version)
