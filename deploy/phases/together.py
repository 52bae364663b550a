"""The same thing done on several heads of a phase at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from deploy.phases.errors import CrewError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.phases.member import Member

T = TypeVar("T")


def together(heads: Sequence[Member], do: Callable[[Member], T], parallel: int) -> dict[str, T]:
    """Do it on all heads, at most `parallel` at a time; return what came of it by name.

    All of them come to their end, whatever happens on one.

    Raises:
        CrewError: it failed on some of them; has the state of each.
        BaseException: a bug, which goes before what an operator can act on.
    """
    if not heads:
        return {}
    with ThreadPoolExecutor(max(1, parallel), thread_name_prefix="phase") as pool:
        running = {each.name: pool.submit(do, each) for each in heads}
    failures: dict[str, Error] = {}
    done: dict[str, T] = {}
    for name, future in running.items():
        error = future.exception()
        if isinstance(error, Error):
            failures[name] = error
        else:
            done[name] = future.result()
    if failures:
        raise CrewError(failures, done)
    return done
