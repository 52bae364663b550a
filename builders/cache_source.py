"""One shared cache during one build: asked, taken from, and given up as soon as it is no help.

Nothing that goes wrong here is an error of the build: it is kept as what `Source.said` tells. What
to ask for is for `builders.substitute` to decide.
"""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from builders.cache_record import FOLDER, RECORD_LIMIT, Record, parse, record_name
from builders.cache_urls import CacheError, CacheLateError, opened
from store.binary_cache import INFO, TEXT_LIMIT, BadCacheError, check_store
from store.cache_read import Taken, look_up, take
from store.errors import Error, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from builders.cache_urls import CacheUrl, Dial, Patience
    from store.binary_cache import ByteStore
    from store.cache_keys import PublicKey
    from store.local import LocalStore
    from store.narinfo import NarInfo
    from store.path import StorePath

ASKING = 16
"""Questions at once: over a network each costs a round trip."""
TAKING = 6
"""NARs at once."""
BATCH = 64 << 20
"""Bytes of NARs that are registered together: what came before a cache fails is kept."""
ANSWERS = 32 << 20
"""Bytes of all records and narinfos that one cache may give in one build: none is signed yet."""
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Cache:
    """A shared cache of the settings, and the keys that are believed there."""

    url: CacheUrl
    keys: tuple[PublicKey, ...]
    dial: Dial | None = None


class Source:
    """A cache that is opened when it is first asked.

    Attributes:
        cache: what the settings say of it.
        usable: whether it may still be asked.
        said: why it was given up, and what else is wrong with it; each once.
    """

    def __init__(self, cache: Cache, store: LocalStore, patience: Patience) -> None:
        self.cache = cache
        self.usable = True
        self.said: list[Error] = []
        self._store = store
        self._patience = patience
        self._stack = ExitStack()
        self._files: _Watched | None = None
        self._left = patience.asking
        self._spent = 0.0
        self._mutex = Lock()

    def close(self) -> None:
        """Let go of it."""
        self._stack.close()

    def ask(self, digests: Sequence[str]) -> dict[str, Record]:
        """Return what it says that derivations gave, as far as a trusted key has signed it."""
        found: dict[str, Record] = {}
        began = time.monotonic()
        files = self._opened()
        if files is None:
            return found
        files.deadline = began + self._left
        try:
            with ThreadPoolExecutor(ASKING) as pool:
                records = pool.map(partial(self._asked, files), digests)
                told = zip(digests, records, strict=True)
                found.update((digest, record) for digest, record in told if record is not None)
        except Error as error:
            self.give_up(error)
        self._left -= time.monotonic() - began
        return found

    def take(
        self,
        paths: Collection[StorePath],
        seconds: float,
        observe: Callable[[Taken], None],
    ) -> None:
        """Take paths with their closures, as far as they are there and good.

        `seconds` is how long all that was taken from here in this build may last.
        """
        files = self._opened()
        if files is None or not paths:
            return
        began = time.monotonic()
        files.deadline = began + min(seconds, self._patience.longest) - self._spent
        try:
            for batch in _batches(self._entries(sorted(paths), files)):
                self._take(batch, files, observe)
        except Error as error:
            self.give_up(error)
        self._spent += time.monotonic() - began

    def give_up(self, error: Error) -> None:
        """Ask it no more in this build."""
        self.usable = False
        self.said.append(error)

    def stop(self) -> None:
        """Let whatever waits for it end now: from another thread."""
        if self._files is not None:
            self._files.fault = CacheError("the build was stopped", where=str(self.cache.url))
        self.close()

    def _opened(self) -> _Watched | None:
        if self._files is None and self.usable:
            try:
                files = self._stack.enter_context(
                    opened(self.cache.url, self._patience, dial=self.cache.dial)
                )
                self._files = _Watched(files, time.monotonic() + self._left)
                if not check_store(self._files, str(self._store.store_dir)):
                    raise BadCacheError(
                        "there is no cache", where=str(self.cache.url), expected=f"a file {INFO}"
                    )
            except Error as error:
                self.give_up(error)
        return self._files if self.usable else None

    def _asked(self, files: _Watched, digest: str) -> Record | None:
        text = files.text(record_name(digest))
        return None if text is None else self._believed(text, digest)

    def _believed(self, text: str, digest: str) -> Record | None:
        """Return what is signed by a trusted key, and no more of it than that."""
        try:
            record = parse(text, digest, str(self._store.store_dir))
        except BadCacheError as error:
            self._complain(error)
            return None
        if record.signed_by(self.cache.keys):
            return replace(record, signatures=())
        signers = sorted({each.partition(":")[0] for each in record.signatures})
        self._complain(
            BadCacheError(
                "what it says is not signed by a key that the settings name for it",
                where=f"{self.cache.url}/{record_name(digest)}",
                expected=", ".join(key.name for key in self.cache.keys),
                got=", ".join(signers),
            )
        )
        return None

    def _entries(self, tops: Sequence[StorePath], files: ByteStore) -> list[NarInfo]:
        """Look up what has to be taken; of tops that cannot be had, none of the rest suffers."""
        try:
            return look_up(self._store, tops, files, trusted=self.cache.keys)
        except IntegrityError as error:
            self._complain(error)
        found: dict[StorePath, NarInfo] = {}
        for top in tops:
            try:
                for entry in look_up(self._store, [top], files, trusted=self.cache.keys):
                    found.setdefault(entry.info.path, entry)
            except IntegrityError as error:
                self._complain(error)
        return list(found.values())

    def _take(
        self, batch: Sequence[NarInfo], files: ByteStore, observe: Callable[[Taken], None]
    ) -> None:
        """Take some paths; if one of them is not what it should be, each by itself."""
        try:
            observe(self._take_all([each.info.path for each in batch], files))
        except IntegrityError as error:
            self._complain(error)
            for entry in batch:
                try:
                    observe(self._take_all([entry.info.path], files))
                except IntegrityError as again:
                    self._complain(again)

    def _take_all(self, paths: Iterable[StorePath], files: ByteStore) -> Taken:
        return take(
            self._store,
            paths,
            files,
            trusted=self.cache.keys,
            observe=_ignore,
            threads=TAKING,
        )

    def _complain(self, error: Error) -> None:
        """Keep the first of each sort: a cache that is half there lacks hundreds of files."""
        with self._mutex:
            if all(type(error) is not type(each) for each in self.said):
                self.said.append(error)


class _Watched:
    """A `store.binary_cache.ByteStore` that is over at a deadline, and reads narinfos once.

    Small files have a limit each, and one together: whatever they say is not believed yet.

    Attributes:
        deadline: by the monotonic clock, in seconds.
        fault: what went wrong with the place; whoever asks then is told so at once, as hundreds of
            questions may be waiting.
    """

    def __init__(self, files: ByteStore, deadline: float) -> None:
        self.deadline = deadline
        self.fault: Error | None = None
        self._files = files
        self._texts: dict[str, bytes | None] = {}
        self._size = 0
        self._mutex = Lock()

    def get(self, name: str, /) -> BinaryIO | None:
        """Open a file; its stream ends with an error when the time is up."""
        if name in self._texts:
            known = self._texts[name]
            return None if known is None else io.BytesIO(known)
        with self.failing(name):
            found = self._open(name)
            stream = None if found is None else io.BufferedReader(_Limited(found, self, name))
            if name.startswith("nar/"):
                return stream
            data = None if stream is None else self._small(stream, name)
        if not name.startswith(FOLDER):
            self._texts[name] = data
        return None if data is None else io.BytesIO(data)

    def put(self, name: str, source: BinaryIO, /) -> None:
        """Write nothing: builds only read."""
        del source
        raise TypeError(f"{name} cannot be written during a build")

    def exists(self, name: str, /) -> bool:
        """Tell whether there is such a file."""
        with self.failing(name):
            return self._files.exists(name)

    def text(self, name: str) -> str | None:
        """Read a small file; what is no text becomes one that says nothing."""
        stream = self.get(name)
        return None if stream is None else stream.read().decode(errors="replace")

    def check(self, name: str) -> None:
        """Raise if the time is up, or something went wrong before."""
        if self.fault is not None:
            raise self.fault
        if time.monotonic() > self.deadline:
            raise CacheLateError("the cache takes longer than it may", where=name)

    def _small(self, stream: BinaryIO, name: str) -> bytes:
        """Read a small file; each piece counts before it is kept."""
        limit = RECORD_LIMIT if name.startswith(FOLDER) else TEXT_LIMIT
        data = bytearray()
        with stream:
            while piece := stream.read(min(_PIECE, limit + 1 - len(data))):
                with self._mutex:
                    self._size += len(piece)
                    size = self._size
                _within(len(data) + len(piece), limit, name)
                _within(size, ANSWERS, name)
                data += piece
        return bytes(data)

    def _open(self, name: str) -> BinaryIO | None:
        """Ask, and once more if the answer was neither yes nor no."""
        try:
            return self._files.get(name)
        except CacheLateError:
            raise
        except CacheError:
            self.check(name)
            return self._files.get(name)

    @contextmanager
    def failing(self, name: str) -> Iterator[None]:
        """Keep what goes wrong with the place in the block; a file that is not good is no such."""
        self.check(name)
        try:
            yield
        except IntegrityError:
            raise
        except Error as fault:
            if self.fault is None:
                self.fault = fault
                raise
            raise self.fault from fault


def _within(size: int, limit: int, name: str) -> None:
    if size > limit:
        raise CacheError(
            "the cache says more than is listened to",
            where=name,
            expected=f"at most {limit} bytes",
            got=f"more than {limit} bytes",
        )


class _Limited(io.RawIOBase):
    """A stream that is over when its cache's time is."""

    def __init__(self, stream: BinaryIO, watched: _Watched, name: str) -> None:
        # Of each read no more than is there: what drips would fill a large one for ever.
        self._stream = cast("io.BufferedReader", stream)
        self._watched = watched
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any writable buffer
        with self._watched.failing(self._name):
            piece = self._stream.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _batches(entries: Sequence[NarInfo]) -> Iterable[list[NarInfo]]:
    """Cut a list, references first, into pieces of some size."""
    batch: list[NarInfo] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.info.nar_size
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ignore(done: int, total: int) -> None:
    del done, total
