"""A folder being filled from archives, that no member and no link can leave.

Reading the archives is for `builders.scripts.extract` and `builders.archive`.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.scripts.extract import (
    DIRECTORY,
    FILE,
    HARDLINK,
    LIMITS,
    SYMLINK,
    BadArchiveError,
    Limits,
    Member,
    Readable,
    Tar,
    clean,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

MAX_HOPS = 40
"""Symbolic links that Linux follows in one path (path_resolution(7))."""


def _same(path: str) -> str:
    return path


def _always(_path: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Policy:
    """What a caller wants of an archive.

    Attributes:
        rename: gives each member its place, relative to the tree; link targets move with it.
        keep: whether a place is wanted; asked for everything but directories, which appear
            with what they hold.
        rooted: whether an absolute link target means the tree's root, as in a .deb.
        empty: whether directories are made although nothing lies in them.
        special: members whose setuid, setgid and sticky bits are dropped instead of refused.
    """

    rename: Callable[[str], str] = _same
    keep: Callable[[str], bool] = _always
    rooted: bool = False
    empty: bool = True
    special: Container[str] = frozenset()


PLAIN = Policy()


class Tree:
    """A folder being filled by us alone; no write goes through a link, nor outside."""

    def __init__(self, root: str) -> None:
        os.mkdir(root, 0o755)  # noqa: PTH102 - thousands of calls
        self.root = root
        self.kinds: dict[str, str] = {"": DIRECTORY}
        self.links: dict[str, str] = {}

    def fill(self, stream: Readable, policy: Policy = PLAIN, limits: Limits = LIMITS) -> None:
        """Lay all members of a tar stream.

        Links are judged one by one here, and all together by `check`.

        Raises:
            BadArchiveError: if anything is refused; the tree is then of no use.
        """
        tar = Tar(stream, limits)
        placed: dict[str, str] = {}
        for member in tar:
            place = _place(member, policy)
            if not _wanted(member, place, policy):
                continue
            if member.special and member.name not in policy.special:
                raise BadArchiveError("setuid, setgid or sticky", member=member.name)
            if member.kind == DIRECTORY:
                self._directory(place, member.name)
            else:
                self._lay(tar, member, place, policy, placed)
                placed[member.name] = place

    def link(self, place: str, target: str) -> None:
        """Add a link of the caller's own; `target` is relative to where the link lies.

        Raises:
            BadArchiveError: if something is there already, or the link would leave the tree.
        """
        member = Member(place, SYMLINK, target=target)
        self._vacate(place, place)
        self.links[place] = target = link_target(member, PLAIN)
        os.symlink(target, f"{self.root}/{place}")  # noqa: PTH211 - as above
        self.kinds[place] = SYMLINK

    def check(self) -> list[str]:
        """List the links that lead to nothing.

        Raises:
            BadArchiveError: if a link leaves the tree, or runs in a circle.
        """
        return [name for name in sorted(self.links) if self.resolve(name) not in self.kinds]

    def resolve(self, name: str) -> str:
        """Follow every link of a path, as the kernel would with the tree as its root.

        Raises:
            BadArchiveError: if a link leaves the tree, or runs in a circle.
        """
        parts: list[str] = []
        todo = name.split("/")[::-1]
        hops = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if not parts:
                    raise BadArchiveError("a link that leaves the archive", member=name)
                parts.pop()
                continue
            if part in ("", "."):
                continue
            parts.append(part)
            if (target := self.links.get("/".join(parts))) is not None:
                hops += 1
                if hops > MAX_HOPS:
                    raise BadArchiveError("a link in a circle", member=name)
                parts.pop()
                todo.extend(target.split("/")[::-1])
        return "/".join(parts)

    def _lay(
        self, tar: Tar, member: Member, place: str, policy: Policy, placed: dict[str, str]
    ) -> None:
        self._vacate(place, member.name)
        path = f"{self.root}/{place}"
        if member.kind == FILE:
            _write(path, tar.contents(), 0o755 if member.executable else 0o644)
        elif member.kind == HARDLINK:
            os.link(f"{self.root}/{self._linked(member, placed)}", path, follow_symlinks=False)
        else:
            self.links[place] = target = link_target(member, policy)
            os.symlink(target, path)  # noqa: PTH211 - as above
        self.kinds[place] = SYMLINK if member.kind == SYMLINK else FILE

    def _linked(self, member: Member, placed: dict[str, str]) -> str:
        place = placed.get(member.target)
        if place is None or self.kinds.get(place) != FILE:
            reason = f"a hard link to {member.target!r}, which is no file of the archive"
            raise BadArchiveError(reason, member=member.name)
        return place

    def _vacate(self, place: str, name: str) -> None:
        self._directory(posixpath.dirname(place), name)
        if place in self.kinds:
            raise BadArchiveError("it is there already", member=name)

    def _directory(self, place: str, name: str) -> None:
        kind = self.kinds.get(place)
        if kind == DIRECTORY:
            return
        if kind is not None:
            raise BadArchiveError(f"its folder {place!r} is a {kind}", member=name)
        self._directory(posixpath.dirname(place), name)
        os.mkdir(f"{self.root}/{place}", 0o755)  # noqa: PTH102 - as above
        self.kinds[place] = DIRECTORY


def link_target(member: Member, policy: Policy) -> str:
    """Spell a symbolic link's target relative to where the link comes to lie.

    Raises:
        BadArchiveError: if it is absolute and may not be, or climbs out of the archive.
    """
    absolute = member.target.startswith("/")
    if absolute and not policy.rooted:
        raise BadArchiveError(f"a link to {member.target!r}", member=member.name)
    start = "" if absolute else posixpath.dirname(member.name)
    goal = posixpath.normpath(posixpath.join(start, member.target.lstrip("/")))
    if goal == ".." or goal.startswith("../"):
        raise BadArchiveError(f"a link to {member.target!r}, outside", member=member.name)
    goal = "" if goal == "." else goal
    place, moved = policy.rename(member.name), policy.rename(goal)
    if not absolute and (place, moved) == (member.name, goal):
        return member.target
    return posixpath.relpath(moved or ".", posixpath.dirname(place) or ".")


def _wanted(member: Member, place: str, policy: Policy) -> bool:
    if member.kind == DIRECTORY and not (policy.empty and place):
        return False
    return policy.keep(place)


def _place(member: Member, policy: Policy) -> str:
    if not member.name:
        return ""
    place = policy.rename(member.name)
    if not place and member.kind != DIRECTORY:
        raise BadArchiveError("it has no place", member=member.name)
    return clean(place)


def _write(path: str, parts: Iterator[bytes], mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
