"""Find what looks like a secret: private keys in any file, passwords in files of settings.

A finding says where it is and what it is called. Its value is never kept, shown or logged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The marker alone is no key: code that reads keys names it. Key material must follow, across
# line ends (also spelled \n inside a string), quotes and PEM headers.
_BETWEEN = rb"(?:[\s\"'+,]|\\[nr]|[A-Za-z0-9-]+: [^\r\n]*[\r\n])*"
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----" + _BETWEEN + rb"[A-Za-z0-9+/=]{16}"
    rb"|PuTTY-User-Key-File-\d+: "
    rb"|AGE-SECRET-KEY-1[0-9A-Z]{50}"
)
_KEY_HINTS = (b"PRIVATE KEY", b"PuTTY-User-Key", b"AGE-SECRET-KEY")

_SETTINGS_FILE = re.compile(
    r"(?:\.env(?:\..+|rc)?|.+\.env|\.flaskenv|\.npmrc|\.yarnrc|\.pypirc|\.my\.cnf)\Z"
)
_SECRET_NAME = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?"
    r"|(?:^|[_.-])pass"
    r"|(?:api|secret|private|access|auth|encryption|signing|session)[_.-]?key(?:[_.-]?base)?)"
    r"[_.-]?\d*\Z",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(
    r"\s*(?:export\s+)?(?:([^\s=#][^\s=]*)\s*=|([\w.-]+)\s*:\s)\s*(.*?)\s*\Z", re.DOTALL
)
_QUOTED = re.compile(r"(['\"])(.*?)\1\s*(?:#.*)?\Z", re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#")
_URL_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@")
_REFERENCE = re.compile(r"\$\{?\w+\}?\Z|\$\{\w+:?[-?+=]\}\Z|<[^<>]*>\Z|\{(?:secret:)?\w+\}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that looks like a secret, by place and name; its value is not in here."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def scan(path: str, content: bytes) -> list[Finding]:
    """Find what looks like a secret in a file; `path` is relative to the source."""
    found = list(_keys(path, content))
    if _SETTINGS_FILE.match(path.rpartition("/")[2]):
        found += _assignments(path, content.decode("utf-8", "replace"))
    return sorted(found)


def secret_name(name: str) -> bool:
    """Tell whether a setting of this name would hold a secret."""
    return _SECRET_NAME.search(name) is not None


def holds_secret(name: str, value: str) -> bool:
    """Tell whether a setting holds a secret: not if it is empty or refers to another place."""
    value = value.strip("\"' ")
    if any(_given(match[1]) for match in _URL_PASSWORD.finditer(value)):
        return True
    return secret_name(name) and _given(value)


def _given(value: str) -> bool:
    return bool(value) and _REFERENCE.match(value) is None


def _keys(path: str, content: bytes) -> Iterator[Finding]:
    if not any(hint in content for hint in _KEY_HINTS):
        return
    for match in _PRIVATE_KEY.finditer(content):
        line = content.count(b"\n", 0, match.start()) + 1
        yield Finding(path, line, "a private key")


def _assignments(path: str, content: str) -> Iterator[Finding]:
    for number, line in enumerate(content.split("\n"), start=1):
        assigned = _ASSIGNMENT.match(line)
        if assigned is None:
            continue
        name = assigned[1] or assigned[2]
        if holds_secret(name, _bare(assigned[3])):
            yield Finding(path, number, f"a value for {name}")


def _bare(value: str) -> str:
    """Drop quotes, and a comment that follows."""
    quoted = _QUOTED.match(value)
    return quoted[2] if quoted is not None else _COMMENT.split(value, maxsplit=1)[0]
