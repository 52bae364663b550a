"""Walk a source's folder: hash each file that goes in, and refuse what must not.

Which entries go in is decided by `builders.source_rules`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builders.ignore import Patterns, parse
from builders.secrets_scan import Finding, scan
from builders.source_errors import SecretError, SourceError
from builders.source_links import check_links
from builders.source_rules import Scope, ignored, rules_of
from builders.stat_cache import Stamp, settled, stamp, stamp_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader

    from builders.recipe import SourceSpec

LARGEST_SCANNED = 16 << 20
"""Bytes: larger files are hashed in pieces and not searched for private keys."""
LARGEST_TAKEN = 512 << 20
"""Bytes: larger files go in only if `include` names them, since nobody means them to be code."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What a walk looked at, as rows for JSON: a path and its stamp first.

    Each row of `files` goes on with executable, SHA-256 and link target. `rules` are ignore
    files, with absolute paths.
    """

    files: list[list[Any]] = field(default_factory=list)
    folders: list[list[Any]] = field(default_factory=list)
    rules: list[list[Any]] = field(default_factory=list)


def walk(
    spec: SourceSpec,
    root: str,
    above: Sequence[str],
    *,
    before: Mapping[str, Sequence[Any]],
    now: int,
) -> Seen:
    """Look at each entry below `root`.

    `above` are the ignore files that may lie above it, the nearest first; rows of `before` whose
    stamp still holds are not read again; `now` is the time in nanoseconds before the walk.

    Raises:
        SourceError: see `builders.source.collect`.
        SecretError: likewise.
    """
    top = _parent(above[-1]) if above else root
    walker = _Walker(spec, root, top, before, now)
    walker.folder("", Scope.TRACKED, [walker.ignore_file(file) for file in above])
    if walker.findings:
        raise _secrets(spec, root, sorted(walker.findings))
    if not walker.seen.files:
        raise SourceError(
            f"source {spec.path!r} holds no file that goes in",
            where=root,
            hint="see `include`, `exclude` and the .gitignore files",
        )
    _check_only(spec, root)
    links = {path: target for path, _, _, _, target in walker.seen.files if target is not None}
    check_links(root, (row[0] for row in walker.seen.files), links)
    walker.seen.files.sort(key=lambda row: str(row[0]))
    return walker.seen


class _Walker:
    """One walk below `root`; paths for ignore files are relative to `top`, above it."""

    def __init__(
        self,
        spec: SourceSpec,
        root: str,
        top: str,
        before: Mapping[str, Sequence[Any]],
        now: int,
    ) -> None:
        self.seen = Seen()
        self.findings: list[Finding] = []
        self._rules = rules_of(spec)
        self._named = {glob.removeprefix("/") for glob in spec.include}
        self._root = root
        self._top = top
        self._prefix = _prefix(top, root)
        self._before = before
        self._now = now

    def folder(self, folder: str, scope: Scope, ignores: Sequence[Patterns]) -> None:
        """Look at a folder's entries; `folder` is empty or ends with a slash."""
        full = f"{self._root}/{folder}"
        # The stamp comes first: what is added while we read makes it out of date.
        self.seen.folders.append([folder, settled(stamp(full), self._now)])
        entries = _entries(full)
        if any(entry.name == ".gitignore" for entry in entries):
            file = f"{full}.gitignore"
            self.seen.rules.append([file, settled(stamp(file), self._now)])
            ignores = [self.ignore_file(file), *ignores]
        for entry in entries:
            self._entry(folder + entry.name, entry, scope, ignores)

    def ignore_file(self, file: str) -> Patterns:
        """Read an ignore file; none is empty, and like git we follow no symbolic link to one."""
        if not stat.S_ISREG((stamp(file) or [0])[0]):
            return Patterns("", ())
        _, content = _read(file)
        base = _prefix(self._top, _parent(file))
        return parse(content.decode("utf-8", "surrogateescape"), base)

    def _entry(
        self, path: str, entry: os.DirEntry[str], scope: Scope, ignores: Sequence[Patterns]
    ) -> None:
        folder, link = entry.is_dir(follow_symlinks=False), entry.is_symlink()
        left_out = ignored(self._prefix + path, ignores, folder=folder)
        inner = self._rules.scope(path, scope, folder=folder, link=link, ignored=left_out)
        if inner is None:
            return
        if folder:
            self.folder(f"{path}/", inner, ignores)
        elif link:
            self._link(_utf8(path, self._root))
        elif entry.is_file(follow_symlinks=False):
            self._file(_utf8(path, self._root))
        else:
            raise SourceError(
                f"{path!r} is a special file (a pipe, socket or device)",
                where=entry.path,
                hint="remove it, or name it under `exclude`",
            )

    def _link(self, path: str) -> None:
        full = f"{self._root}/{path}"
        found, target = stamp(full), _utf8(os.readlink(full), full)  # noqa: PTH115 - a Path respells it
        lexical = os.path.normpath(f"{_parent(path)}/{target}" if "/" in path else target)
        inside = f"{os.path.realpath(full)}/".startswith(f"{self._root}/")
        if target.startswith("/") or lexical.split("/")[0] == ".." or not inside:
            raise SourceError(
                f"symbolic link {path!r} leads out of the source",
                where=full,
                expected="a relative link to a file of the same source",
                got=target,
                hint="put the file itself in, or name the link under `exclude`",
            )
        sha = hashlib.sha256(target.encode()).hexdigest()
        self.seen.files.append([path, settled(found, self._now), False, sha, target])

    def _file(self, path: str) -> None:
        full = f"{self._root}/{path}"
        known = self._before.get(path)
        if known is not None and stamp(full) == known[1]:
            self.seen.files.append(list(known))
            return
        size = os.lstat(full).st_size
        if size > LARGEST_TAKEN and path not in self._named:
            raise SourceError(
                f"{path!r} is too large for a source",
                where=full,
                expected=f"at most {LARGEST_TAKEN >> 20} MiB, unless `include` has its path",
                got=f"{size >> 20} MiB",
                hint=f"leave it out: exclude: [{path}]; if it must go in: include: [{path}]",
            )
        found, sha = self._hash(path, full)
        executable = bool(found[0] & 0o100)
        self.seen.files.append([path, settled(found, self._now), executable, sha, None])

    def _hash(self, path: str, full: str) -> tuple[Stamp, str]:
        if os.lstat(full).st_size > LARGEST_SCANNED:
            return _hash_large(full)
        found, content = _read(full)
        if not self._rules.secrets.verdict(path, folder=False):
            self.findings += scan(path, content)
        return found, hashlib.sha256(content).hexdigest()


def _entries(full: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(full) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as fault:
        raise _unreadable(full, fault) from fault


def _read(full: str) -> tuple[Stamp, bytes]:
    """Read a file that holds still meanwhile."""
    for _ in range(_ATTEMPTS):
        with _opened(full) as stream:
            found = stamp_of(os.fstat(stream.fileno()))
            content = stream.read()
            if found == stamp_of(os.fstat(stream.fileno())):
                return found, content
    raise SourceError("the file changes while it is read", where=full, hint="try again")


def _hash_large(full: str) -> tuple[Stamp, str]:
    with _opened(full) as stream:
        found = stamp_of(os.fstat(stream.fileno()))
        return found, hashlib.file_digest(stream, "sha256").hexdigest()


def _opened(full: str) -> BufferedReader:
    """Open a regular file; O_NONBLOCK so that a pipe put in its place cannot hold us up."""
    try:
        return os.fdopen(os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as fault:
        raise _unreadable(full, fault) from fault


def _unreadable(full: str, fault: OSError) -> SourceError:
    return SourceError(
        f"cannot be read: {fault.strerror}",
        where=full,
        hint="give the builder's user access, or name it under `exclude`",
    )


def _utf8(name: str, where: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as fault:
        raise SourceError(
            f"name {os.fsencode(name)!r} is not UTF-8",
            where=where,
            hint="rename it, or name its folder under `exclude`",
        ) from fault
    return name


def _check_only(spec: SourceSpec, root: str) -> None:
    for path in spec.only:
        if not os.path.lexists(f"{root}/{path}"):
            raise SourceError(
                f"source {spec.path!r} has no {path!r}, which `only` names",
                where=root,
            )


def _secrets(spec: SourceSpec, root: str, found: Sequence[Finding]) -> SecretError:
    first, others = found[0], found[1:]
    more = [f"{finding} ({finding.what})" for finding in others]
    return SecretError(
        f"source {spec.path!r} holds {first.what}",
        where=f"{root}/{first}",
        got=f"also {', '.join(more)}" if more else None,
        hint=f"take it out and list the name under `secrets`; "
        f"if it may go in: allow_secrets: [{first.path}]",
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _prefix(top: str, folder: str) -> str:
    """Return a folder relative to `top`, which is it or above it: empty, or with a slash."""
    return f"{folder[len(top) + 1 :]}/" if folder != top else ""
