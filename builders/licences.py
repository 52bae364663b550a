"""What packages say of their licences, as SPDX expressions where they are, else by name.

Pure. Nothing is guessed: a classifier counts as an SPDX id only where it means just one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX = "License :: "
_CLASSIFIERS = {
    "OSI Approved :: Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "OSI Approved :: ISC License (ISCL)": "ISC",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: MIT No Attribution License (MIT-0)": "MIT-0",
    "OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "OSI Approved :: The Unlicense (Unlicense)": "Unlicense",
    "OSI Approved :: Universal Permissive License (UPL)": "UPL-1.0",
    "OSI Approved :: Zero-Clause BSD (0BSD)": "0BSD",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
}
"""Classifiers of one meaning. `Apache Software License`, `BSD License`, `GPLv3` have several."""
_LONGEST = 100
"""Characters; what is longer is a licence's text, not its name."""
_MACHINE_READABLE = re.compile(
    r"\AFormat(?:-Specification)?:\s*\S*copyright-format", re.IGNORECASE | re.ASCII
)
_LICENCE = re.compile(r"^License:[ \t]*(\S[^\n]*)$", re.MULTILINE | re.IGNORECASE)


def of_wheel(expression: str, licence: str, classifiers: Iterable[str]) -> tuple[str, ...]:
    """Choose among a wheel's three fields; the later only count where the earlier say nothing.

    `License-Expression` (PEP 639), then classifiers, then `License`, which may hold anything.
    """
    if expression:
        return (expression,)
    named = [text.removeprefix(_PREFIX) for text in classifiers if text.startswith(_PREFIX)]
    spoken = _name(licence)
    ids = [_CLASSIFIERS[text] for text in named if text in _CLASSIFIERS]
    if ids and len(ids) == len(named):
        return tuple(ids)
    if spoken:
        return (spoken,)
    return tuple(_CLASSIFIERS.get(text, text.rpartition(" :: ")[2]) for text in named)


def of_npm(said: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever a package.json says
    """Read npm's `license`: an expression, or one of the older forms with `type`."""
    if isinstance(said, str):
        name = _name(said)
        return (name,) if name else ()
    if isinstance(said, dict):
        return of_npm(said.get("type"))
    if isinstance(said, list):
        return tuple(dict.fromkeys(name for each in said for name in of_npm(each)))
    return ()


def of_debian(copyright_file: str) -> tuple[str, ...]:
    """List the short names in a machine-readable copyright file; of others nothing is known."""
    if not _MACHINE_READABLE.match(copyright_file.lstrip()):
        return ()
    names = (_name(found) for found in _LICENCE.findall(copyright_file))
    return tuple(sorted({name for name in names if name}))


def _name(text: str) -> str:
    text = text.strip()
    if "\n" in text or len(text) > _LONGEST or text.upper() in {"UNKNOWN", "NONE"}:
        return ""
    return text
