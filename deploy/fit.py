"""Whether a release fits a head: the glibc that its programs need against the one that is there.

A program that does not fit would not even start; it is refused while all that runs still runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.command import run
from deploy.errors import GlibcTooOldError, HeadError
from deploy.programs import PATH

if TYPE_CHECKING:
    from deploy.release import Release

ASK = ("getconf", "GNU_LIBC_VERSION")
PLACES = tuple(
    Path(folder, "libc.so.6")
    for folder in ("/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
)
"""Where distributions keep the C library that the system's own programs use."""
UNTOLD = ""
"""The version of a glibc that nothing on the head tells."""
_BANNER = re.compile(rb"GNU C Library [^\0\n]*\bversion ([0-9]+(?:\.[0-9]+)+)")
_TIMEOUT = 10.0
_SHOWN = 6
"""Names in a line; the rest is counted."""


def check(wanted: Release, there: str | None, *, where: str) -> None:
    """Refuse a release that needs a later glibc than `there`.

    None is a system without one, `UNTOLD` one that does not tell.

    Raises:
        GlibcTooOldError: says which programs need which, and what the head has.
    """
    late: dict[str, list[str]] = {}
    for name, version in wanted.glibc.items():
        if not there or _parts(version) > _parts(there):
            late.setdefault(version, []).append(name)
    if not late:
        return
    needs = [f"{version} ({_names(late[version])})" for version in sorted(late, key=_parts)]
    raise GlibcTooOldError(
        _reason(there),
        where=where,
        expected=f"glibc {', '.join(needs)}",
        got=f"glibc {there}" if there else None,
        hint="install getconf, which comes with glibc"
        if there == UNTOLD
        else "build what needs it on an interpreter with a glibc of its own, as python-3.13 is "
        '(python: "3.13"), or bring the head\'s system up to date',
    )


def glibc() -> str | None:
    """Return the version of this system's glibc, None if it has another C library.

    Asked of a program of the system, or read in the library itself: this very interpreter may have
    a glibc of its own. `UNTOLD` if there is neither.
    """
    try:
        said = run(ASK, env={"PATH": PATH}, timeout=_TIMEOUT).output
    except HeadError:
        return _banner()
    match = re.search(r"\bglibc ([0-9.]+)", said)
    return match[1] if match else None


def _banner() -> str:
    """Return the version that the system's C library would print if it were run."""
    for place in PLACES:
        try:
            found = _BANNER.search(place.read_bytes())
        except OSError:
            continue
        if found is not None:
            return found[1].decode()
    return UNTOLD


def _reason(there: str | None) -> str:
    if there:
        return "the head's glibc is too old for this release"
    if there is None:
        return "the head has no glibc"
    return "the version of the head's glibc cannot be told: it has no getconf, and no libc.so.6"


def _names(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {rest} more" if rest > 0 else shown


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
