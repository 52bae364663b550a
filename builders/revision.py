"""Which commit a source tree lies on, and whether the files that go in are those of the commit.

Asked only when something is built from the tree: never by a build with nothing to do. The files
themselves are compared, by their blobs' names: neither the index nor rules of what to ignore have
a say, and no program that the checkout names is run. So a file that git would convert on its way
in (line ends, large files kept elsewhere, other filters) is not the commit's: it is what was
built that counts.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from builders.command import capture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.step import SourceFile, SourceTree

_PATIENCE = 20.0
"""Seconds; on a network file system a large checkout takes some."""
_FILE, _PROGRAM, _LINK = "100644", "100755", "120000"
"""Modes of a commit's entries."""
_SHA1_LENGTH = 40
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Revision:
    """The state of a folder's checkout.

    Attributes:
        commit: base 16; None where there is none, and then `reason` says why.
        dirty: whether a file that goes in differs from the commit or is not in it, or one of the
            commit is gone; None where nobody can tell.
        path: the folder within the checkout, with a slash at its end, empty for all of it.
    """

    commit: str | None = None
    dirty: bool | None = None
    path: str = ""
    reason: str = ""


def look(tree: SourceTree) -> Revision:
    """Compare a tree with its commit; whatever keeps git from answering is the reason of none."""
    try:
        found = _git(tree.root, "rev-parse", "--show-prefix", "HEAD")
        if isinstance(found, Revision):
            return found
        path, commit = os.fsdecode(found).rstrip("\n").rsplit("\n", 1)
        listed = _git(tree.root, "ls-tree", "-r", "-z", commit)
    except FileNotFoundError:
        return Revision(reason="git is not installed")
    except TimeoutExpired:
        return Revision(reason=f"git took longer than {_PATIENCE:.0f} s")
    except OSError as fault:
        return Revision(reason=f"git cannot be run: {fault.strerror or fault}")
    dirty = None if isinstance(listed, Revision) else not _is_as_committed(tree, _entries(listed))
    return Revision(commit, dirty, path.encode(errors="replace").decode())


def _entries(listed: bytes) -> dict[str, tuple[str, str]]:
    """Read what `git ls-tree -z` says: path → mode and name of the object."""
    found = {}
    for row in listed.split(b"\0")[:-1]:
        about, _, path = row.partition(b"\t")
        mode, _, blob = about.decode().split(" ")
        found[os.fsdecode(path)] = mode, blob
    return found


def _is_as_committed(tree: SourceTree, entries: Mapping[str, tuple[str, str]]) -> bool:
    taken = {file.path for file in tree.files}
    # What the commit has and the source leaves out, by its own rules, must still be there.
    left_out = [path for path in entries if path not in taken]
    return all(os.path.lexists(tree.root / path) for path in left_out) and all(
        _is_blob(tree.root, file, *entries.get(file.path, ("", ""))) for file in tree.files
    )


def _is_blob(root: Path, file: SourceFile, mode: str, blob: str) -> bool:
    """Tell whether a file is what the commit has, and still what went in."""
    if file.link is not None:
        return mode == _LINK and _named(os.fsencode(file.link), blob) == blob
    if mode != (_PROGRAM if file.executable else _FILE):
        return False
    try:
        return _names(root / file.path, blob) == (file.sha256, blob)
    except OSError:
        return False


def _names(file: Path, like: str) -> tuple[str, str]:
    """Hash a file's bytes, and them as a blob in the manner of another, while reading it once."""
    content = hashlib.sha256()
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        blob = _blob(like, os.fstat(stream.fileno()).st_size)
        while chunk := stream.read(_CHUNK):
            content.update(chunk)
            blob.update(chunk)
    return content.hexdigest(), blob.hexdigest()


def _named(data: bytes, like: str) -> str:
    made = _blob(like, len(data))
    made.update(data)
    return made.hexdigest()


def _blob(like: str, size: int) -> hashlib._Hash:
    """Begin the name of a blob, in the hash that the repository uses."""
    sort = "sha1" if len(like) == _SHA1_LENGTH else "sha256"
    return hashlib.new(sort, b"blob %d\0" % size, usedforsecurity=False)


def _git(folder: Path, *words: str) -> bytes | Revision:
    # Programs that the checkout's own settings name: a file system monitor, hooks.
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    command = ["git", *safe, "-C", str(folder), *words]
    done = capture(command, env=_environment(), timeout=_PATIENCE)
    if done.code == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return Revision(reason=said[0] if said else f"git ended with exit code {done.code}")


def _environment() -> Mapping[str, str]:
    """Leave out what would point git at another repository, as its own hooks do.

    The user's own settings stay: they alone may say that another's checkout is safe to read.
    Objects are those that are here: none is fetched, and none stands in for another.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **own,
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
