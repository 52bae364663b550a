"""Whether a release fits a head: the glibc that its programs need against the one that is there.

A program that does not fit would not even start; it is refused while all that runs still runs.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from deploy.command import run
from deploy.errors import GlibcTooOldError, HeadError
from deploy.programs import PATH

if TYPE_CHECKING:
    from deploy.release import Release

ASK = ("getconf", "GNU_LIBC_VERSION")
_TIMEOUT = 10.0
_SHOWN = 6
"""Names in a line; the rest is counted."""


def check(wanted: Release, there: str | None, *, where: str) -> None:
    """Refuse a release that needs a later glibc than `there`; None is a system without one.

    Raises:
        GlibcTooOldError: says which programs need which, and what the head has.
    """
    late: dict[str, list[str]] = {}
    for name, version in wanted.glibc.items():
        if there is None or _parts(version) > _parts(there):
            late.setdefault(version, []).append(name)
    if not late:
        return
    needs = [f"{version} ({_names(late[version])})" for version in sorted(late, key=_parts)]
    raise GlibcTooOldError(
        "the head's glibc is too old for this release" if there else "the head has no glibc",
        where=where,
        expected=f"glibc {', '.join(needs)}",
        got=f"glibc {there}" if there else None,
        hint="build what needs it on an interpreter with a glibc of its own, as python-3.13 is "
        '(python: "3.13"), or bring the head\'s system up to date',
    )


def glibc() -> str | None:
    """Return the version of this system's glibc, None if it has another C library.

    Asked of a program of the system: this very interpreter may have a glibc of its own.
    """
    try:
        said = run(ASK, env={"PATH": PATH}, timeout=_TIMEOUT).output
    except HeadError:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
    match = re.search(r"\bglibc ([0-9.]+)", said)
    return match[1] if match else None


def _names(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {rest} more" if rest > 0 else shown


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
