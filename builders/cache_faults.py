"""What goes wrong on the way to a shared cache, as errors that name the cache.

fsspec raises what the libraries below it raise, and these are many; a cache must not break a build
by a kind of error that nobody thought of.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fsspec.exceptions import FSTimeoutError

from builders.cache_urls import CacheError, CacheLateError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.cache_urls import CacheUrl

_FORBIDDEN = 403
_GONE = frozenset({404, 410})


@contextmanager
def told(url: CacheUrl, name: str) -> Iterator[None]:
    """Turn what libraries raise into what an operator can act on.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it is forbidden.
        CacheLateError: nothing came in time.
        CacheError: anything else.
    """
    try:
        yield
    except (Error, FileNotFoundError, PermissionError):
        raise
    except (FSTimeoutError, TimeoutError) as fault:
        raise CacheLateError("the cache does not answer in time", where=f"{url}/{name}") from fault
    except Exception as fault:
        status = getattr(fault, "status", None)
        if status in _GONE:
            raise FileNotFoundError(name) from fault
        if status == _FORBIDDEN:
            raise PermissionError(name) from fault
        raise CacheError(
            "the cache cannot be used", where=f"{url}/{name}", got=_spelled(fault)
        ) from fault


def refused(url: CacheUrl, name: str, what: str) -> CacheError:
    """Make the error that a cache does not let us read or write, to be raised."""
    return CacheError(
        f"the cache refuses to be {what}",
        where=f"{url}/{name}",
        hint="is the address right, and are the keys there that it asks for?",
    )


def _spelled(fault: Exception) -> str:
    """Say in one line what went wrong, with the kind of error where its words say little."""
    said = getattr(fault, "strerror", None) or str(fault)
    return f"{type(fault).__name__}: {said}" if said else type(fault).__name__
