"""Gitignore patterns: whether a path below a folder is named by the last pattern that matches.

The rules are those of gitignore(5). That nothing below an ignored folder can come back is not
said here: whoever walks does not go in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_NEVER = r"(?!)"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line: what it matches, and whether that is left out or brought back.

    A `floating` pattern has no slash and matches a name at any depth; another one matches the
    whole path. `folders` means folders only.
    """

    expression: re.Pattern[str]
    floating: bool
    folders: bool
    negated: bool

    def matches(self, path: str, *, folder: bool) -> bool:
        """Tell whether it matches a path, relative to the folder of the patterns."""
        if self.folders and not folder:
            return False
        subject = path.rpartition("/")[2] if self.floating else path
        return self.expression.fullmatch(subject) is not None


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of one ignore file; `base` is its folder, as a prefix of the paths asked."""

    base: str
    lines: tuple[Pattern, ...]

    def verdict(self, path: str, *, folder: bool) -> bool | None:
        """Return True if the path is left out, False if brought back, None if not named."""
        within = path[len(self.base) :]
        for line in reversed(self.lines):
            if line.matches(within, folder=folder):
                return not line.negated
        return None


def parse(content: str, base: str = "") -> Patterns:
    """Parse an ignore file; a line that means nothing is passed over, as git does."""
    lines = (pattern(line) for line in content.removeprefix("\ufeff").split("\n"))
    return Patterns(base, tuple(line for line in lines if line is not None))


def pattern(line: str) -> Pattern | None:
    """Parse one line; None for a comment or an empty one."""
    glob = _trim(line)
    if not glob or glob.startswith("#"):
        return None
    negated = glob.startswith("!")
    glob = glob[negated:]
    folders = glob.endswith("/")
    glob = glob.removesuffix("/")
    floating = "/" not in glob
    expression = _translate(glob.removeprefix("/"), floating=floating)
    return Pattern(re.compile(expression, re.DOTALL), floating, folders, negated)


def _trim(line: str) -> str:
    """Drop a carriage return, and the spaces at the end that no backslash keeps."""
    line = line.removesuffix("\r")
    bare = line.rstrip(" ")
    if bare == line:
        return line
    kept = (len(bare) - len(bare.rstrip("\\"))) % 2
    return line[: len(bare) + kept]


def _translate(glob: str, *, floating: bool) -> str:
    out, at = [], 0
    while at < len(glob):
        piece, at = _piece(glob, at, floating=floating)
        out.append(piece)
    return "".join(out)


def _piece(glob: str, at: int, *, floating: bool) -> tuple[str, int]:
    match glob[at]:
        case "*":
            return _stars(glob, at, floating=floating)
        case "?":
            return "[^/]", at + 1
        case "[":
            return _bracket(glob, at + 1)
        case "\\":
            return (re.escape(glob[at + 1]), at + 2) if at + 1 < len(glob) else (_NEVER, at + 1)
        case other:
            return re.escape(other), at + 1


def _stars(glob: str, at: int, *, floating: bool) -> tuple[str, int]:
    end = at
    while end < len(glob) and glob[end] == "*":
        end += 1
    alone = at == 0 or glob[at - 1] == "/"
    if floating or end - at != 2 or not alone or glob[end : end + 1] not in ("", "/"):  # noqa: PLR2004
        return "[^/]*", end
    if end == len(glob):
        return ".+" if at else ".*", end
    return "(?:.*/)?", end + 1


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """Translate what follows `[`; without its `]` the pattern matches nothing."""
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    items, first = [], True
    while at < len(glob) and (glob[at] != "]" or first):
        item, at = _member(glob, at)
        items.append(item)
        first = False
    if at >= len(glob) or _NEVER in items:
        return _NEVER, len(glob)
    body = "".join(items)
    return f"(?!/)[{'^' if negated else ''}{body}]" if body else _NEVER, at + 1


def _member(glob: str, at: int) -> tuple[str, int]:
    if glob.startswith("[:", at) and (end := glob.find(":]", at)) > 0:
        return _CLASSES.get(glob[at + 2 : end], _NEVER), end + 2
    low, at = _literal(glob, at)
    if glob[at : at + 1] != "-" or glob[at + 1 : at + 2] in ("", "]"):
        return re.escape(low), at
    high, at = _literal(glob, at + 1)
    return (f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""), at


def _literal(glob: str, at: int) -> tuple[str, int]:
    at += glob[at] == "\\" and at + 1 < len(glob)
    return glob[at], at + 1
