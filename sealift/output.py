"""Where results go: standard output and standard error that say when they fail, and files.

A reader that has left, and a disk that is full, are no bugs and no answers: `sealift.__main__`
tells them from both. So that it can, what the two streams raise has a type of its own.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import Error, InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

CLOSED = 141
"""The exit code that shells give to what ends by a closed pipe: 128 and SIGPIPE."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NAMES = {1: "standard output", 2: "standard error"}


class OutputError(OSError):
    """A stream that takes no more.

    It has no `errno`: who handles those of files, as click does, would take it for one.
    """

    def __init__(self, fault: OSError, where: str) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.where = where

    @property
    def closed(self) -> bool:
        """Whether the reader has left."""
        return self.fault.errno == errno.EPIPE


class _Descriptor(io.FileIO):
    """A descriptor of this process whose faults say that they are its own."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as fault:
            raise OutputError(fault, _NAMES[self.fileno()]) from fault


class _Stream(io.TextIOWrapper):
    """Text that several threads write: Python's own may mix it with other memory then."""

    _writing = threading.RLock()

    def write(self, text: str, /) -> int:
        with self._writing:
            return super().write(text)

    def flush(self) -> None:
        with self._writing:
            super().flush()


def guard() -> None:
    """Let the process's own streams raise `OutputError`; those that were replaced stay."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout = _guarded(sys.stdout)
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = _guarded(sys.stderr)


def _guarded(stream: io.TextIOBase | object) -> io.TextIOWrapper:
    if not isinstance(stream, io.TextIOWrapper):
        raise TypeError(stream)
    stream.flush()
    return _Stream(
        io.BufferedWriter(_Descriptor(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.isatty(),
    )


def flush() -> None:
    """Write what still waits.

    Raises:
        OutputError: it cannot be.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def drop() -> None:
    """Let what still waits, and all that follows, go nowhere: it would fail again at the end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


def refusal(fault: OSError, where: str) -> Error:
    """Give the error that says why something cannot be written."""
    # Loaded here because nearly no run needs it, and it brings the database along.
    from store.database import DiskFullError

    if fault.errno in _FULL:
        return DiskFullError("the disk is full", where=where, hint="make room, or write elsewhere")
    return InputError(f"it cannot be written: {fault.strerror or fault}", where=where)


def write_file(file: Path, text: str) -> None:
    """Write a file, whole or not at all; what is no regular file is written to as it is.

    Raises:
        InputError: it cannot be written there.
        DiskFullError: there is no room.
    """
    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8")
        else:
            _replace(Path(os.path.realpath(file)), text)
    except OSError as fault:
        raise refusal(fault, str(file)) from fault


def _replace(file: Path, text: str) -> None:
    mode = file.stat().st_mode & 0o777 if file.exists() else None
    fresh = file.with_name(f".{file.name[:64]}.{os.urandom(8).hex()}")
    try:
        with fresh.open("x", encoding="utf-8") as out:
            if mode is not None:
                os.fchmod(out.fileno(), mode)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
