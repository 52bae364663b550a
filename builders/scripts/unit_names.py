"""What units, their instances and their users are called. Pure.

An instance is named after its store path and the text of its units, so that another text never
goes by the name of one that runs.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import PurePosixPath

from builders.scripts.unit_words import joined

LONGEST_USER = 31
"""Characters of a user's name (utmp)."""
HASH = 32
"""Characters of a store path's name that are its hash."""
MARK = 8
"""Characters that tell the texts of two units of one store path apart."""
UNIT_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")


def instance(path: str, template: str, socket: str = "") -> str:
    """Name an instance: after its store path, and what its template and its socket say.

    No instance is ever started anew under another text, and two may run whatever differs.
    """
    text = f"{template}\0{listening(socket)}"
    return f"{PurePosixPath(path).name[:HASH]}-{digest(text)}"


def named(name: str, path: str, files: dict[str, str]) -> str:
    """Return the instance of a service among the texts of its release's units."""
    socket = files.get(f"sealift-{name}.socket", "")
    return instance(path, files[f"sealift-{name}@.service"], socket)


def listens(socket: str) -> str:
    """Return a digest of how a socket listens; nothing where there is none."""
    return digest(listening(socket)) if socket else ""


def listening(socket: str) -> str:
    """Leave out which instance comes next: that says nothing of how a socket listens."""
    return joined([each for each in socket.splitlines() if not each.startswith("Service=")])


def digest(text: str) -> str:
    """Return a short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:MARK]


def user(name: str) -> str:
    """Return the user that a service runs as: a legal name, another one for each service."""
    plain = f"sealift-{name}"
    if len(plain) <= LONGEST_USER and re.fullmatch(r"[A-Za-z0-9_-]+", plain):
        return plain
    mark = hashlib.sha256(name.encode()).hexdigest()[:6]
    squashed = re.sub(r"[^A-Za-z0-9_-]", "-", plain)
    return f"{squashed[: LONGEST_USER - len(mark) - 1]}-{mark}"


def check_name(name: str) -> None:
    """Refuse a service after which no unit can be called."""
    if not UNIT_NAME.fullmatch(name):
        sys.exit(f"no unit can be called after {name!r}")
