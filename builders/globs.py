"""Patterns over paths, where a match takes all that lies below with it.

`*` and `?` stay within one component, `**` goes across; a whole path must match, from the root.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]/]+\]|.", re.DOTALL)
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Make the test whether a path, or a folder it lies in, matches one of the patterns."""
    union = "|".join(f"(?:{_expression(pattern)})" for pattern in patterns)
    if not union:
        return lambda _path: False
    expression = re.compile(f"(?:{union})(?:/.*)?\\Z", re.DOTALL)
    return lambda path: expression.match(path) is not None


def _expression(pattern: str) -> str:
    return "".join(_token(token) for token in _TOKENS.findall(pattern.strip("/")))


def _token(token: str) -> str:
    if len(token) > 1 and token.startswith("["):
        return token.replace("[!", "[^", 1).replace("\\", "\\\\")
    return _MEANINGS.get(token) or re.escape(token)
