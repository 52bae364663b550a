"""A recipe's source: which files of the site's tree go in, and one digest over them.

This is the half that runs each time: if all that was looked at last time looks the same, the
digest of then is returned and nothing is opened. Finding the files is for
`builders.source_walk`, which is loaded only when something has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.source_errors import SourceError
from builders.stat_cache import recall, settled, stamp, unchanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.recipe import SourceSpec
    from builders.stat_cache import Record, StatCache
    from builders.step import SourceTree

_FORMAT = 1
_PARTS = ("rules", "folders", "files", "digest")


def collect(spec: SourceSpec, sources_dir: Path, *, cache: StatCache) -> SourceTree:
    """Return the files that go in, with their hashes.

    They are what git would track if the folder were added to it anew, less what never goes in
    (`builders.source_rules.NEVER`), plus `include`, less `exclude`. No git is asked, so that a
    checkout and a tarball of it give the same digest.

    Raises:
        SourceError: the folder is missing or outside, holds nothing, or holds a special file,
            an unreadable one, or a symbolic link that leads out.
        SecretError: a file looks like a secret.
    """
    # Loaded here because a build with nothing changed asks for the digest alone.
    from builders.step import SourceFile, SourceTree  # noqa: PLC0415

    root, seen = _see(spec, sources_dir, cache)
    files = tuple(SourceFile(path, run, sha, link) for path, _, run, sha, link in seen["files"])
    return SourceTree(Path(root), files, seen["digest"])


def source_digest(spec: SourceSpec, sources_dir: Path, *, cache: StatCache) -> str:
    """Return the digest of `collect`, without the files.

    Raises:
        SourceError: see `collect`.
        SecretError: likewise.
    """
    _, seen = _see(spec, sources_dir, cache)
    return str(seen["digest"])


def _see(spec: SourceSpec, sources_dir: Path, cache: StatCache) -> tuple[str, Record]:
    root = locate(spec, sources_dir)
    above = _ignore_files_above(root, sources_dir)
    key = _key(spec, root, above)
    known = recall(cache, key, *_PARTS)
    if known is not None and _as_remembered(known, root):
        return root, known
    seen = _look(spec, root, above, {row[0]: row for row in known["files"]} if known else {})
    cache.put(key, json.dumps(seen, ensure_ascii=False).encode())
    return root, seen


def locate(spec: SourceSpec, sources_dir: Path) -> str:
    """Return the real path of the source's folder, which lies inside the sources folder.

    Raises:
        SourceError: there is no such folder, or a symbolic link leads out of it.
    """
    base = os.path.realpath(sources_dir)
    if not Path(base).is_dir():
        raise SourceError(
            "the sources folder does not exist",
            where=str(sources_dir),
            hint="set `sources:` in sealift.yaml, or pass --sources DIR",
        )
    named = os.path.normpath(f"{base}/{spec.path}/{spec.subdir}")
    root = os.path.realpath(named)
    if root != base and not root.startswith(base.rstrip("/") + "/"):
        raise SourceError(
            f"source {_name(spec)!r} leads out of the sources folder",
            where=named,
            expected=f"a folder below {base}",
            got=root,
            hint="replace the symbolic link by the folder, or move `sources:` up",
        )
    if not Path(root).is_dir():
        raise _missing(spec, Path(named))
    return root


def _missing(spec: SourceSpec, named: Path) -> SourceError:
    what = "is not a folder" if os.path.lexists(named) else "is not there"
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    beside = [other.name for other in named.parent.iterdir()] if named.parent.is_dir() else []
    near = get_close_matches(named.name, sorted(beside), n=1)
    return SourceError(
        f"source {_name(spec)!r} {what}",
        where=str(named),
        hint=f"did you mean {near[0]!r}?" if near else "see `source:` in the recipe",
    )


def _name(spec: SourceSpec) -> str:
    return f"{spec.path}/{spec.subdir}" if spec.subdir else spec.path


def _ignore_files_above(root: str, sources_dir: Path) -> list[str]:
    """Return where ignore files above the source may be, the nearest first.

    They count up to the checkout's top; outside of a checkout, up to the sources folder.
    """
    base = os.path.realpath(sources_dir)
    found: list[str] = []
    folder, top = root.rstrip("/"), 0
    while not os.path.lexists(f"{folder}/.git"):
        if folder == base.rstrip("/"):
            top = len(found)
        if not folder:
            return found[:top]
        folder = folder.rpartition("/")[0]
        found.append(f"{folder}/.gitignore")
    return found


def _key(spec: SourceSpec, root: str, above: Sequence[str]) -> str:
    rules = [spec.include, spec.exclude, spec.allow_secrets, spec.only]
    return json.dumps(["source", _FORMAT, root, len(above), rules], ensure_ascii=False)


def _as_remembered(known: Record, root: str) -> bool:
    return (
        unchanged(known["rules"])
        and unchanged(known["folders"], f"{root}/")
        and unchanged(known["files"], f"{root}/")
    )


def _look(
    spec: SourceSpec, root: str, above: Sequence[str], before: dict[str, list[Any]]
) -> Record:
    """Walk the folder; rows of `before` spare reading again what has not changed."""
    # Loaded here because a build with nothing changed does without it.
    from builders.source_walk import walk  # noqa: PLC0415

    now = time.time_ns()
    outer = [[path, settled(stamp(path), now)] for path in above]
    seen = walk(spec, root, above, before=before, now=now)
    contents = [[path, *facts] for path, _, *facts in seen.files]
    digest = hashlib.sha256(json.dumps(["source", _FORMAT, contents]).encode()).hexdigest()
    rules = outer + seen.rules
    return {"rules": rules, "folders": seen.folders, "files": seen.files, "digest": digest}
