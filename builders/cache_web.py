"""Bytes under names on web servers and in S3, by fsspec's file systems.

Whoever waits here waits no longer than `Patience` says. What the bytes mean is for
`store.binary_cache`.
"""

from __future__ import annotations

import io
import os
import shutil
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from fsspec.asyn import sync

from builders.attempt import authorities, trust
from builders.cache_faults import refused, told
from builders.cache_urls import CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    import aiohttp

    from builders.cache_urls import CacheUrl, Patience
    from store.binary_cache import ByteStore

CONNECTIONS = 32
"""To one server, at most."""
_PIECE = 1 << 20
_BLOCK = 16 << 20
"""Bytes of one part of a large upload to S3."""
_NO_HEAD = frozenset({405, 501})
_SHOWN = 200


@contextmanager
def http(url: CacheUrl, patience: Patience) -> Iterator[ByteStore]:
    """Open a folder of a web server; it must allow PUT to be written to.

    Passwords come from `.netrc`, and proxies from the environment.

    Raises:
        ImportError: aiohttp is not installed.
    """
    import aiohttp  # noqa: PLC0415 - not every cache needs it
    from fsspec.implementations.http import HTTPFileSystem  # noqa: PLC0415

    # None for the whole: a large file may take long, as long as it comes.
    limits = aiohttp.ClientTimeout(total=None, connect=patience.connect, sock_read=patience.silence)
    headers = {"User-Agent": "sealift", "Accept-Encoding": "identity"}

    context = trust() if url.scheme == "https" else True
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_stay)

    async def client(**words: Any) -> aiohttp.ClientSession:  # noqa: ANN401 - fsspec's
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers=headers,
            trust_env=True,
            trace_configs=[tracing],
            **words,
        )

    files = HTTPFileSystem(skip_instance_cache=True, get_client=client)
    with _closing(_Looped(files, _Http(), url, str(url), patience)) as place:
        yield place


@contextmanager
def s3(url: CacheUrl, patience: Patience) -> Iterator[ByteStore]:
    """Open a bucket, or a folder of one, on a server that speaks S3.

    Keys come from where Amazon's own tools have them: the environment, or files in the home.

    Raises:
        ImportError: s3fs is not installed.
    """
    from s3fs import S3FileSystem  # noqa: PLC0415 - not every cache needs it

    said = dict(url.options)
    endpoint = said.get("endpoint")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    # The site's own authorities, not only those that come with the client.
    bundle = os.environ.get("AWS_CA_BUNDLE") or authorities()
    client = {"verify": bundle} if bundle else {}
    if "region" in said:
        client["region_name"] = said["region"]
    files = S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        anon=said.get("anonymous") in {"1", "true"},
        profile=said.get("profile"),
        endpoint_url=endpoint,
        client_kwargs=client,
        config_kwargs={
            "connect_timeout": patience.connect,
            "read_timeout": patience.silence,
            "max_pool_connections": CONNECTIONS,
            "retries": {"total_max_attempts": 2},
            "http_session_cls": _staying(),
            # The bucket in the path: few servers but Amazon's have a name for each bucket.
            "s3": {"addressing_style": "path"} if endpoint else {},
        },
    )
    files.retries = 1  # the client below has its own
    with _closing(_Looped(files, _S3(), url, f"{url.host}{url.path}", patience)) as place:
        yield place


def _staying() -> type:
    """Make a client of S3's that goes where the settings say, and nowhere that a server says."""
    from aiobotocore.httpsession import AIOHTTPSession  # noqa: PLC0415 - as S3 itself

    class Staying(AIOHTTPSession):  # type: ignore[misc] # it has no types
        async def _get_session(self, proxy_url: str | None) -> Any:  # noqa: ANN401
            session = await super()._get_session(proxy_url)
            request = partial(session.request, allow_redirects=False)
            return SimpleNamespace(request=request)

    return Staying


async def _stay(_session: object, _context: object, params: Any) -> None:  # noqa: ANN401
    """Let a server send us to other names of its own, and nowhere else.

    Else whoever writes to a cache could have the builder ask what only the builder reaches.
    """
    answer = params.response
    target = answer.url.join(type(answer.url)(answer.headers.get("Location", "")))
    if (target.scheme, target.host, target.port) != (
        answer.url.scheme,
        answer.url.host,
        answer.url.port,
    ):
        answer.close()
        raise CacheError(
            "the cache sends us to another server, where we do not go",
            where=str(answer.url),
            got=f"{target.scheme}://{target.host}:{target.port}"[:_SHOWN],
            hint="name that address in the settings, if that is the cache",
        )


class _Body(Protocol):
    """What a server sends."""

    async def read(self, size: int) -> bytes:
        """Return up to `size` bytes, and none at the end."""

    def close(self) -> None:
        """Let go of it; the connection is used again if all was read."""


class _Speech(Protocol):
    """What web servers and S3 do each in its own way; `target` is a name as fsspec spells it."""

    async def open(self, files: Any, target: str) -> _Body:  # noqa: ANN401 - fsspec has no types
        """Begin to read; raise FileNotFoundError if there is no such file."""

    async def look(self, files: Any, target: str) -> None:  # noqa: ANN401
        """Raise FileNotFoundError if there is no such file."""

    def put(self, files: Any, target: str, source: BinaryIO) -> None:  # noqa: ANN401
        """Keep what `source` has left, whole or not at all."""

    def close(self, files: Any) -> None:  # noqa: ANN401
        """End all connections: fsspec does so only when it is forgotten."""


class _Http:
    def close(self, files: Any) -> None:  # noqa: ANN401
        if files._session is not None:  # noqa: SLF001 - there is no other way to it
            sync(files.loop, files._session.close, timeout=1)  # noqa: SLF001

    def put(self, files: Any, target: str, source: BinaryIO) -> None:  # noqa: ANN401
        sync(files.loop, files._put_file, source, target, method="put")  # noqa: SLF001

    async def open(self, files: Any, target: str) -> _Body:  # noqa: ANN401
        session = await files.set_session()
        answer = await session.get(files.encode_url(target))
        try:
            files._raise_not_found_for_status(answer, target)  # noqa: SLF001
        except BaseException:
            answer.release()
            raise
        return _Answer(answer)

    async def look(self, files: Any, target: str) -> None:  # noqa: ANN401
        session = await files.set_session()
        address = files.encode_url(target)
        async with session.head(address, allow_redirects=True) as answer:
            if answer.status not in _NO_HEAD:
                files._raise_not_found_for_status(answer, target)  # noqa: SLF001
                return
        async with session.get(address) as answer:
            files._raise_not_found_for_status(answer, target)  # noqa: SLF001


class _Answer:
    """The body of a web server's answer."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def read(self, size: int) -> bytes:
        return await self._answer.content.read(size)

    def close(self) -> None:
        self._answer.close()


class _S3:
    def close(self, files: Any) -> None:  # noqa: ANN401
        creator = getattr(files, "_s3creator", None)
        if creator is not None:
            sync(files.loop, creator.__aexit__, None, None, None, timeout=1)

    def put(self, files: Any, target: str, source: BinaryIO) -> None:  # noqa: ANN401
        """Send in parts what is large; nothing shows before all of it is there."""
        first = source.read(_BLOCK)
        if len(first) < _BLOCK:
            files.pipe_file(target, first)
            return
        out = files.open(target, "wb", block_size=_BLOCK, autocommit=False)
        try:
            out.write(first)
            shutil.copyfileobj(source, out, _BLOCK)
            out.close()
            out.commit()
        except BaseException:
            with suppress(Exception):  # what went wrong first is what matters
                out.discard()
            raise

    async def open(self, files: Any, target: str) -> _Body:  # noqa: ANN401
        bucket, key, _ = files.split_path(target)
        answer = await files._call_s3("get_object", Bucket=bucket, Key=key)  # noqa: SLF001
        body: _Body = answer["Body"]
        return body

    async def look(self, files: Any, target: str) -> None:  # noqa: ANN401
        bucket, key, _ = files.split_path(target)
        await files._call_s3("head_object", Bucket=bucket, Key=key)  # noqa: SLF001


class _Looped:
    """A `store.binary_cache.ByteStore` over a file system that works in fsspec's own thread.

    Some servers answer that a file is forbidden where there is none. So what is forbidden counts
    as absent, once anything at all could be read.
    """

    def __init__(
        self,
        files: Any,  # noqa: ANN401 - fsspec has no types
        speech: _Speech,
        url: CacheUrl,
        root: str,
        patience: Patience,
    ) -> None:
        self._files = files
        self._speech = speech
        self._url = url
        self._root = root
        self._late = patience.connect + patience.silence
        self._silence = patience.silence
        self._let_in = False

    def close(self) -> None:
        """End all connections."""
        with suppress(Exception):  # there is nothing more to lose
            self._speech.close(self._files)

    def get(self, name: str, /) -> BinaryIO | None:
        """Open a file, to be read once from its start.

        Raises:
            CacheError: it cannot be read, or not in time; also from the stream.
        """
        try:
            with told(self._url, name):
                body, first = self._run(self._open, name, wait=self._late)
        except FileNotFoundError:
            return None
        except PermissionError as fault:
            if self._let_in:
                return None
            raise refused(self._url, name, "read") from fault
        self._let_in = True
        return io.BufferedReader(_Stream(self, name, body, first), _PIECE)

    def put(self, name: str, source: BinaryIO, /) -> None:
        """Keep what `source` has left.

        Raises:
            CacheError: the server does not take it.
        """
        try:
            with told(self._url, name):
                self._speech.put(self._files, f"{self._root}/{name}", source)
        except (FileNotFoundError, PermissionError) as fault:
            raise refused(self._url, name, "written") from fault

    def exists(self, name: str, /) -> bool:
        """Tell whether there is such a file.

        Raises:
            CacheError: nobody says so, or not in time.
        """
        target = f"{self._root}/{name}"
        try:
            with told(self._url, name):
                self._run(self._speech.look, self._files, target, wait=self._late)
        except (FileNotFoundError, PermissionError):
            return False
        return True

    def more(self, body: _Body, name: str) -> bytes:
        """Read the next piece of an open file."""
        try:
            with told(self._url, name):
                piece: bytes = self._run(body.read, _PIECE, wait=self._silence)
        except (FileNotFoundError, PermissionError) as fault:
            raise refused(self._url, name, "read") from fault
        return piece

    def end(self, body: _Body) -> None:
        """Let go of an open file, read to its end or not."""
        with suppress(Exception):  # nothing more is wanted of it
            self._run(_end, body, wait=self._silence)

    def _run(self, work: Callable[..., Any], *words: Any, wait: float) -> Any:  # noqa: ANN401
        return sync(self._files.loop, work, *words, timeout=wait)

    async def _open(self, name: str) -> tuple[_Body, bytes]:
        """Ask for a file, and for its first bytes."""
        body = await self._speech.open(self._files, f"{self._root}/{name}")
        try:
            return body, await body.read(_PIECE)
        except BaseException:
            body.close()
            raise


async def _end(body: _Body) -> None:
    """Close it where it was opened: in the thread of the loop."""
    body.close()


@contextmanager
def _closing(place: _Looped) -> Iterator[_Looped]:
    try:
        yield place
    finally:
        place.close()


class _Stream(io.RawIOBase):
    """A file that comes over a network."""

    def __init__(self, place: _Looped, name: str, body: _Body, first: bytes) -> None:
        self._place = place
        self._name = name
        self._body = body
        self._window = memoryview(first)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any writable buffer
        if not self._window:
            self._window = memoryview(self._place.more(self._body, self._name))
        piece, self._window = self._window[: len(buffer)], self._window[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._place.end(self._body)
        super().close()
