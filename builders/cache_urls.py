"""Addresses of shared caches, and how the places that they name are opened.

An address is read when the settings are; fsspec, and what it needs to speak to S3 or a web server,
is loaded when a build has something to ask. No address holds a secret: of S3 the key is where
Amazon's tools have it, of sshd it is the user's or the agent's, of a web server it is in `.netrc`.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from store.cache_folder import CacheFolder
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias
    from urllib.parse import SplitResult

    from store.binary_cache import ByteStore

    Dial: TypeAlias = "Callable[[CacheUrl, Patience], AbstractContextManager[Callable[[], Any]]]"
    """Connects to a host of `sftp`; gives what opens one more SFTP session of paramiko's there."""

S3_WORDS = ("endpoint", "region", "profile", "anonymous")
_SCHEMES = ("file", "http", "https", "s3", "sftp")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST = 2000


class CacheError(Error):
    """A shared cache that cannot be asked, read or written."""

    slug = "cache-failed"


class CacheLateError(CacheError):
    """A shared cache that takes longer than it may."""

    slug = "cache-slow"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a shared cache may take, in seconds; a build waits no longer than all of it.

    `connect` until it answers at all, `silence` between two pieces of an answer, `asking` for all
    questions of one build, `grace` for what is taken beyond the time that its building took, and
    `longest` for all that is taken in one build, however long somebody said that building took.
    """

    connect: float = 5.0
    silence: float = 10.0
    asking: float = 30.0
    grace: float = 20.0
    longest: float = 3600.0


WRITING = Patience(connect=10.0, silence=60.0)
"""Of who fills a cache: a server may be silent for long until it has put away a large file."""


@dataclass(frozen=True, slots=True)
class CacheUrl:
    """An address, in its parts; `path` starts with a slash, unless it is empty, and ends without.

    `options` are what follows the `?`: of S3 alone.
    """

    scheme: str
    host: str
    path: str
    user: str | None = None
    port: int | None = None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> CacheUrl:
        """Read an address.

        Raises:
            InputError: it is none of a cache, or holds a password, which is not shown.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as fault:
            raise _bad("no address of a cache", str(fault)) from fault
        _check(text, parts)
        return cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            path=unquote(parts.path).rstrip("/"),
            user=parts.username,
            port=port,
            options=tuple(sorted(parse_qsl(parts.query))),
        )

    @property
    def place(self) -> str:
        """Host and port, as addresses spell them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{self.place}{self.path}"


def _check(text: str, parts: SplitResult) -> None:
    options = dict(parse_qsl(parts.query))
    if parts.password is not None or (parts.username is not None and parts.scheme != "sftp"):
        raise _bad("a user or password in the address of a cache", None)
    if parts.scheme not in _SCHEMES or len(text) > _LONGEST or not text.isprintable():
        raise _bad("no address of a cache", repr(text[:100]))
    if parts.fragment or {*options} - {*(S3_WORDS if parts.scheme == "s3" else ())}:
        raise _bad("an address that says more than is known", repr(text[:100]))
    if ".." in parts.path.split("/"):
        raise _bad("an address that leads upwards", repr(text[:100]))
    if parts.scheme == "file" and (parts.netloc or len(parts.path) < len("/x")):
        raise _bad("no address of a folder", repr(text[:100]))
    if parts.scheme == "s3" and not _BUCKET.fullmatch(parts.netloc):
        raise _bad("no name of a bucket", repr(parts.netloc))
    if parts.scheme != "file" and not parts.hostname:
        raise _bad("an address without a host", repr(text[:100]))


def _bad(reason: str, got: str | None) -> InputError:
    return InputError(
        reason,
        expected="file:///folder, http(s)://host/path, sftp://user@host/folder or "
        "s3://bucket/path?endpoint=https://host&region=…",
        got=got,
    )


@contextmanager
def opened(url: CacheUrl, patience: Patience, *, dial: Dial | None = None) -> Iterator[ByteStore]:
    """Open the place that an address names; it is closed when the block ends.

    `dial` is needed for `sftp` alone. A folder is `store.cache_folder`'s, which follows no link and
    writes whole files; fsspec's own would do neither.

    Raises:
        CacheError: what is needed to speak to it lacks.
        Error: the host of an `sftp` address cannot be reached, or is not who it should be.
    """
    if url.scheme == "file":
        yield CacheFolder(Path(url.path))
        return
    with ExitStack() as stack:
        try:
            place = stack.enter_context(_remote(url, patience, dial))
        except ImportError as fault:
            raise _lacking(url, fault) from fault
        yield place


@contextmanager
def _remote(url: CacheUrl, patience: Patience, dial: Dial | None) -> Iterator[ByteStore]:
    # Loaded here because most builds ask no cache, and it takes as long as they do.
    if url.scheme == "sftp":
        from builders.cache_sftp import sftp  # noqa: PLC0415

        if dial is None:
            raise TypeError("nobody said how to reach hosts by SSH")
        with dial(url, patience) as session, sftp(url, session) as place:
            yield place
    else:
        from builders.cache_web import http, s3  # noqa: PLC0415

        with (s3 if url.scheme == "s3" else http)(url, patience) as place:
            yield place


def _lacking(url: CacheUrl, fault: ImportError) -> CacheError:
    return CacheError(
        f"caches by {url.scheme} need packages that are not installed",
        where=str(url),
        got=str(fault),
        hint="pip install 'sealift[caches]'",
    )
