"""A folder reached from the root on, one name after the other, and held by a descriptor.

Links are followed where only root can lay them. Below a folder that others may change they are not:
whoever it is could lead root to any folder by one.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import SystemRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST = 40
"""Links on one way, as many as the kernel follows."""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
PRIVATE, PASSABLE = 0o700, 0o755


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder that is open; `ours` says that nobody but root can change what is on the way."""

    descriptor: int
    ours: bool


@contextmanager
def entered(root: Path, path: Path, *, make: bool = False) -> Iterator[int]:
    """Give a descriptor (`O_PATH`) of an absolute path's folder below `root`.

    To `make` is to make what is not there; the last one is nobody's but root's then.

    Raises:
        FileNotFoundError: it is not there, and is not to be made.
        SystemRefusedError: something else is on the way, or a link that others could have laid.
    """
    with ExitStack() as stack:
        way = _Way(path, stack, os.open(root, _ENTER & ~os.O_NOFOLLOW))
        stack.callback(os.close, way.top)
        names = path.parts[1:]
        above = way.follow(way.start, names[:-1], PASSABLE if make else None)
        yield way.follow(above, names[-1:], PRIVATE if make else None).descriptor


@dataclass(slots=True)
class _Way:
    """The way to one path; what is opened on it is closed by the stack."""

    path: Path
    stack: ExitStack
    top: int
    links: int = 0

    @property
    def start(self) -> _Folder:
        return _Folder(self.top, _is_ours(self.top))

    def follow(self, at: _Folder, names: Iterable[str], mode: int | None) -> _Folder:
        """Return the folder that names lead to; what lacks is made with the mode, if there is one.

        Raises:
            FileNotFoundError: one is not there.
            SystemRefusedError: it cannot be reached.
        """
        for name in names:
            at = self._step(at, name, mode)
        return at

    def _step(self, at: _Folder, name: str, mode: int | None) -> _Folder:
        try:
            return self._enter(at, name)
        except NotADirectoryError:
            return self._through(at, name)
        except FileNotFoundError:
            if mode is None:
                raise
        _make(at, name, mode)
        try:
            return self._enter(at, name)
        except OSError as error:
            raise self._refusal("something else comes in its place") from error

    def _enter(self, at: _Folder, name: str) -> _Folder:
        inner = os.open(name, _ENTER, dir_fd=at.descriptor)
        self.stack.callback(os.close, inner)
        return _Folder(inner, at.ours and _is_ours(inner))

    def _through(self, at: _Folder, name: str) -> _Folder:
        """Go where a link leads: to what is there already, or nowhere."""
        try:
            target = os.readlink(name, dir_fd=at.descriptor)
        except OSError:
            raise self._refusal("something else is there") from None
        if not at.ours:
            raise self._refusal(f"{name} is a link that others than root may have laid")
        if self.links == _MOST:
            raise self._refusal("links lead to one another")
        self.links += 1
        begin = self.start if target.startswith("/") else at
        try:
            return self.follow(begin, [each for each in target.split("/") if each], None)
        except FileNotFoundError:
            raise self._refusal(f"the link {name} leads nowhere") from None

    def _refusal(self, why: str) -> SystemRefusedError:
        reason = f"{self.path} is wanted as a folder, and {why}"
        return SystemRefusedError(reason, where=str(self.path))


def sync(descriptor: int) -> None:
    """Make the names in a folder durable."""
    inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
    try:
        os.fsync(inner)
    finally:
        os.close(inner)


def _make(at: _Folder, name: str, mode: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=at.descriptor)
    sync(at.descriptor)


def _is_ours(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & _OTHERS
