"""Which commit a source tree lies on, and whether it has been changed since.

Asked only when something is built from the tree: never by a build with nothing to do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from builders.command import capture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PATIENCE = 20.0
"""Seconds; on a network file system a large checkout takes some."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The state of a folder's checkout.

    Attributes:
        commit: base 16; None where there is none, and then `reason` says why.
        dirty: whether the folder differs from the commit; None where nobody can tell.
        path: the folder within the checkout, with a slash at its end, empty for all of it.
    """

    commit: str | None = None
    dirty: bool | None = None
    path: str = ""
    reason: str = ""


def look(folder: Path) -> Revision:
    """Ask git about a folder; whatever keeps it from answering is the reason of no commit."""
    try:
        found = _git(folder, "rev-parse", "--show-prefix", "HEAD")
        if isinstance(found, Revision):
            return found
        path, commit = found.rstrip("\n").split("\n")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    except FileNotFoundError:
        return Revision(reason="git is not installed")
    except TimeoutExpired:
        return Revision(reason=f"git took longer than {_PATIENCE:.0f} s")
    except OSError as fault:
        return Revision(reason=f"git cannot be run: {fault.strerror or fault}")
    dirty = None if isinstance(changed, Revision) else bool(changed.strip())
    return Revision(commit, dirty, path)


def _git(folder: Path, *words: str) -> str | Revision:
    # A file system monitor is a program that the checkout's own settings name.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    done = capture(command, env=_environment(), timeout=_PATIENCE)
    if done.code == 0:
        return done.stdout.decode(errors="replace")
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return Revision(reason=said[0] if said else f"git ended with exit code {done.code}")


def _environment() -> Mapping[str, str]:
    """Leave out what would point git at another repository, as its own hooks do."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**own, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
