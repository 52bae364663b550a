"""Why an sdist could not be built, told from what its build said.

Pure: lines of a log in, a cause out. A build that fails for another reason keeps its own words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.build import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable


class NetworkError(BuildError):
    """A build that reaches for the network, of which the sandbox has none."""

    slug = "build-wants-network"


class OutsideError(BuildError):
    """A build that writes where it has no business."""

    slug = "build-writes-outside"


class MissingRequirementError(BuildError):
    """A build that wants what nothing locks for it."""

    slug = "build-requirement-missing"


@dataclass(frozen=True, slots=True)
class Cause:
    """What went wrong, the line that shows it, and what to do; `kind` is the error to raise."""

    kind: type[BuildError]
    reason: str
    line: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Sign:
    """How a cause shows in a log; `{0}` in reason and hint is what the pattern's group holds."""

    pattern: re.Pattern[str]
    kind: type[BuildError]
    reason: str
    hint: str


_NO_PACKAGE = "name the Debian package that has it under `build_packages`, and lock again"
_NO_NETWORK = "pin what it downloads: system packages under `build_packages`, Python packages under"
_SIGNS = (
    _Sign(
        re.compile(
            r"Temporary failure in name resolution|Name or service not known"
            r"|Network is unreachable|Could not resolve host|unable to resolve host"
            r"|Failed to establish a new connection|nodename nor servname"
            r"|Connection refused|urlopen error|Cannot assign requested address"
        ),
        NetworkError,
        "its build reaches for the network, of which a build has none",
        _NO_NETWORK + " `build_requirements`; or require a version that brings all it needs",
    ),
    _Sign(
        re.compile(r"Read-only file system:? '?(/[^']*)'?"),
        OutsideError,
        "its build writes outside its folder: {0}",
        "require a version whose build keeps to its own folder",
    ),
    _Sign(
        re.compile(r"^(?:E +)?ModuleNotFoundError: No module named '([^']+)'"),
        MissingRequirementError,
        "its build imports {0!r}, which nothing locks for it",
        "name the package that has it under `build_requirements`, and lock again",
    ),
    _Sign(
        re.compile(r"fatal error: (\S+): No such file or directory"),
        BuildError,
        "its build misses the header {0}",
        _NO_PACKAGE,
    ),
    _Sign(
        re.compile(r"cannot find -l(\S+)"),
        BuildError,
        "its build misses the library {0}",
        _NO_PACKAGE,
    ),
    _Sign(
        re.compile(r"Package '?([\w.+-]+)'?,? (?:required by .*)?(?:was )?not found"),
        BuildError,
        "pkg-config does not know {0}, which its build asks for",
        _NO_PACKAGE,
    ),
)


def cause_of(lines: Iterable[str]) -> Cause | None:
    """Find why a build failed: the first sign in the table's order, in its newest line."""
    said = list(lines)
    for sign in _SIGNS:
        for line in reversed(said):
            found = sign.pattern.search(line)
            if found is not None:
                groups = found.groups()
                return Cause(sign.kind, sign.reason.format(*groups), line.strip(), sign.hint)
    return None
