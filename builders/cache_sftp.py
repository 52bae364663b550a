"""Bytes under names behind sshd, by fsspec's file system, over a connection that is given.

Of itself fsspec takes any host key. Here it gets sessions of a connection that knows the site's
pinned keys alone; who makes that is above this package. A session serves one thread at a time.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any

from fsspec.implementations.sftp import SFTPFileSystem

from builders.cache_faults import refused, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from builders.cache_urls import CacheUrl
    from store.binary_cache import ByteStore

SESSIONS = 6
"""Over one SSH connection: servers allow ten."""
_PIECE = 1 << 20
_TURNS = 3
"""Times that folders are tried to be made: so many lie in each other below a cache's own."""


@contextmanager
def sftp(url: CacheUrl, session: Callable[[], Any]) -> Iterator[ByteStore]:
    """Open a folder behind sshd; `session` begins one more SFTP session on the connection."""
    place = _Sftp(url, session)
    try:
        yield place
    finally:
        place.close()


class _Files(SFTPFileSystem):  # type: ignore[misc] # fsspec has no types
    """Files of one session."""

    cachable = False

    def __init__(self, host: str, session: Callable[[], Any]) -> None:
        self._session = session
        super().__init__(host)

    def _connect(self) -> None:
        """Begin a session; its connection is there already, and was made by stricter rules."""
        self.ftp = self._session()


class _Sftp:
    """A `store.binary_cache.ByteStore` whose sessions are used again."""

    def __init__(self, url: CacheUrl, session: Callable[[], Any]) -> None:
        self._url = url
        self._session = session
        self._idle: LifoQueue[_Files] = LifoQueue()
        self._room = BoundedSemaphore(SESSIONS)
        self._made: set[str] = set()
        self._making = Lock()

    def close(self) -> None:
        """End all sessions."""
        with suppress(Empty):
            while True:
                self._idle.get_nowait().ftp.close()

    def get(self, name: str, /) -> BinaryIO | None:
        """Open a file, to be read once from its start.

        Raises:
            CacheError: it cannot be read, or not in time; also from the stream.
        """
        files = self._take(name)
        try:
            with told(self._url, name):
                file = files.open(self._path(name), "rb")
                # Asks for all of it at once: each piece by itself would cost a round trip.
                file.prefetch(file.stat().st_size)
        except FileNotFoundError:
            self.give(files)
            return None
        except PermissionError as fault:
            self.give(files)
            raise refused(self._url, name, "read") from fault
        except BaseException:
            self.drop(files)
            raise
        return io.BufferedReader(_Stream(self, files, file, name), _PIECE)

    def put(self, name: str, source: BinaryIO, /) -> None:
        """Write a file next to its place, and put it there.

        Raises:
            CacheError: it cannot be written.
        """
        target = self._path(name)
        folder = target.rpartition("/")[0]
        spare = f"{folder}/.tmp-{os.urandom(8).hex()}"
        with self._using(name, "written") as files:
            self._make(files, folder)
            try:
                files.ftp.putfo(source, spare)
                files.mv(spare, target)
            except BaseException:
                with suppress(Exception):
                    files.ftp.remove(spare)
                raise

    def exists(self, name: str, /) -> bool:
        """Tell whether there is such a file.

        Raises:
            CacheError: nobody says so, or not in time.
        """
        with self._using(name, "read") as files:
            try:
                files.ftp.stat(self._path(name))
            except FileNotFoundError:
                return False
        return True

    def read(self, file: Any, size: int, name: str) -> bytes:  # noqa: ANN401 - paramiko's
        """Read the next piece of an open file."""
        try:
            with told(self._url, name):
                piece: bytes = file.read(size)
        except (FileNotFoundError, PermissionError) as fault:
            raise refused(self._url, name, "read") from fault
        return piece

    def give(self, files: _Files) -> None:
        """Let others use a session."""
        self._idle.put(files)
        self._room.release()

    def drop(self, files: _Files) -> None:
        """End a session that may still get answers to what nobody waits for any more."""
        with suppress(Exception):
            files.ftp.close()
        self._room.release()

    @contextmanager
    def _using(self, name: str, what: str) -> Iterator[_Files]:
        files = self._take(name)
        try:
            with told(self._url, name):
                yield files
        except (FileNotFoundError, PermissionError) as fault:
            self.give(files)
            raise refused(self._url, name, what) from fault
        except BaseException:
            self.drop(files)
            raise
        self.give(files)

    def _path(self, name: str) -> str:
        return f"{self._url.path}/{name}"

    def _make(self, files: _Files, folder: str) -> None:
        """Make a folder with those above it; another writer may do so at this moment."""
        with self._making:
            for turn in range(_TURNS):
                if folder in self._made:
                    return
                try:
                    files.makedirs(folder, exist_ok=True)
                    self._made.add(folder)
                except OSError:
                    if turn + 1 == _TURNS:
                        raise

    def _take(self, name: str) -> _Files:
        self._room.acquire()
        with suppress(Empty):
            return self._idle.get_nowait()
        try:
            with told(self._url, name):
                return _Files(self._url.host, self._session)
        except BaseException:
            self._room.release()
            raise


class _Stream(io.RawIOBase):
    """A file that holds its session until it is closed."""

    def __init__(self, place: _Sftp, files: _Files, file: Any, name: str) -> None:  # noqa: ANN401
        self._place = place
        self._files = files
        self._file = file
        self._name = name
        self._whole = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any writable buffer
        piece = self._place.read(self._file, len(buffer), self._name)
        buffer[: len(piece)] = piece
        self._whole = not piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            with suppress(Exception):
                self._file.close()
            (self._place.give if self._whole else self._place.drop)(self._files)
        super().close()
