"""Closures, their order, and why one path needs another.

Pure: works over any look-up of path infos, so the local store, a bundle and a head are alike.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from store.info import PathInfo
    from store.path import StorePath

    Lookup = Callable[[StorePath], PathInfo | None]


class MissingReferenceError(IntegrityError):
    """A path of the closure that is not valid."""

    slug = "missing-reference"


class ReferenceCycleError(IntegrityError):
    """Paths that refer to each other in a circle, which content addresses cannot do."""

    slug = "reference-cycle"


def closure(paths: Iterable[StorePath], info: Lookup) -> list[PathInfo]:
    """Return the infos of `paths` and all they refer to, references before referrers.

    Raises:
        MissingReferenceError: `info` does not know a path.
        ReferenceCycleError: the references form a circle.
    """
    known: dict[StorePath, PathInfo] = {}
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path not in known:
            known[path] = _look_up(path, info)
            waiting.extend(known[path].references)
    return order(known)


def order(infos: Mapping[StorePath, PathInfo]) -> list[PathInfo]:
    """Sort so that references stand before referrers, and otherwise by path.

    References outside `infos` do not count.

    Raises:
        ReferenceCycleError: the references form a circle.
    """
    done: set[StorePath] = set()
    ordered: list[PathInfo] = []
    for start in sorted(infos):
        _visit(start, infos, done, ordered)
    return ordered


def why_depends(referrer: StorePath, path: StorePath, info: Lookup) -> tuple[StorePath, ...] | None:
    """Return the shortest chain of references from `referrer` to `path`, or None.

    Raises:
        MissingReferenceError: `info` does not know a path on the way.
    """
    came_from: dict[StorePath, StorePath | None] = {referrer: None}
    waiting = deque([referrer])
    while waiting and path not in came_from:
        current = waiting.popleft()
        for reference in _look_up(current, info).references:
            if reference not in came_from:
                came_from[reference] = current
                waiting.append(reference)
    return _chain(path, came_from) if path in came_from else None


def _chain(
    path: StorePath, came_from: Mapping[StorePath, StorePath | None]
) -> tuple[StorePath, ...]:
    chain = [path]
    while (before := came_from[chain[-1]]) is not None:
        chain.append(before)
    return tuple(reversed(chain))


def _look_up(path: StorePath, info: Lookup) -> PathInfo:
    found = info(path)
    if found is None:
        raise MissingReferenceError(f"{path} is not in the store", where=str(path))
    return found


def _visit(
    start: StorePath,
    infos: Mapping[StorePath, PathInfo],
    done: set[StorePath],
    ordered: list[PathInfo],
) -> None:
    """Append `start` after its references; an explicit stack, since chains may be long."""
    entered: set[StorePath] = set()
    stack = [start]
    while stack:
        path = stack[-1]
        if path in done:
            stack.pop()
        elif path in entered:
            done.add(stack.pop())
            ordered.append(infos[path])
        else:
            entered.add(path)
            stack.extend(_next(path, infos, done, entered))


def _next(
    path: StorePath,
    infos: Mapping[StorePath, PathInfo],
    done: set[StorePath],
    entered: set[StorePath],
) -> list[StorePath]:
    ahead = [path for path in infos[path].references if path in infos and path not in done]
    for reference in ahead:
        if reference in entered:
            raise ReferenceCycleError(f"{path} and {reference} refer to each other")
    return sorted(ahead, reverse=True)
