"""Programs on a host, over one session each: run to their end, or spoken to in lines.

A session is what paramiko calls a channel; opening one is for `deploy.transport`.
"""

from __future__ import annotations

import select
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deploy.ssh_errors import OverdueError, TransportError, lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

LARGEST = 64 << 20
"""Bytes that a command may say before it is taken for one that does not stop."""
LONGEST_LINE = 4 << 20
"""Bytes in a line of a channel."""
_CHUNK = 1 << 16
_CHUNKS = 32
"""Pieces that are taken before anything else is looked at."""
_KEPT = 1 << 16
"""Bytes of a channel's stderr that are kept, the last ones."""
_TICK = 0.02
"""Seconds after which a full window is looked at again."""
_LOOK = 1.0
"""Seconds after which a deadline is looked at again."""


class Session(Protocol):
    """One program at the other end; bytes that came wait inside until they are taken."""

    @property
    def closed(self) -> bool:
        """Whether it is gone at either end."""
        ...

    @property
    def eof_received(self) -> int:
        """Whether it says nothing more; a truth value."""
        ...

    @property
    def exit_status(self) -> int:
        """Its status once it has ended; -1 before, and where a signal ended it."""
        ...

    @property
    def status_event(self) -> threading.Event:
        """Set when the status is there, or will never be."""
        ...

    def fileno(self) -> int:
        """Give what is readable when there is something to take."""
        ...

    def recv_ready(self) -> bool:
        """Tell whether there is output to take."""
        ...

    def recv(self, nbytes: int, /) -> bytes:
        """Take output."""
        ...

    def recv_stderr_ready(self) -> bool:
        """Tell whether there are errors to take."""
        ...

    def recv_stderr(self, nbytes: int, /) -> bytes:
        """Take what it wrote to standard error."""
        ...

    def send_ready(self) -> bool:
        """Tell whether it takes input just now."""
        ...

    def send(self, data: bytes, /) -> int:
        """Give it input; say how much it took."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Give it all of this input, waiting as long as it takes it."""
        ...

    def shutdown_write(self) -> None:
        """End its input."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its status (-1: by a signal), and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


def finish(host: str, session: Session, argv: Sequence[str], rest: bytes, timeout: float) -> Ended:
    """Feed a program and take what it says, both at once, until it has ended.

    Raises:
        OverdueError: it did not end within `timeout` seconds.
        TransportError: it said more than anything of ours does.
    """
    out, err = bytearray(), bytearray()
    until = time.monotonic() + timeout
    view, feeding = memoryview(rest), True
    with _waiting(session) as wait:
        while not session.eof_received and not session.closed:
            if feeding:
                view, feeding = _fed(session, view)
            wait(min(_TICK if feeding else _LOOK, max(0.0, until - time.monotonic())))
            _take(session, out, err)
            if len(out) + len(err) > LARGEST:
                raise TransportError(f"it said more than {LARGEST} bytes", where=host, got=argv[0])
            if time.monotonic() >= until:
                break
    if not session.status_event.wait(max(0.0, until - time.monotonic())):
        reason = f"a command did not end within {timeout:g} s"
        raise OverdueError(reason, where=host, got=argv[0])
    _take_all(session, out, err)
    return Ended(session.exit_status, bytes(out), err.decode(errors="replace"))


class Channel:
    """A program on a host, spoken to in lines. One thread reads; others may send."""

    def __init__(self, host: str, session: Session) -> None:
        self._host = host
        self._session = session
        self._said = bytearray()
        self._errors = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stderr(self) -> str:
        """The end of what the program wrote to its standard error."""
        return bytes(self._errors).decode(errors="replace")

    def send(self, data: bytes) -> None:
        """Write to the program.

        Raises:
            LostError: it takes nothing more.
        """
        try:
            self._session.sendall(data)
        except (OSError, EOFError) as fault:
            raise lost(self._host, str(fault) or None) from fault

    def lines(self, timeout: float) -> Iterator[bytes | None]:
        """Yield its lines, without their ends, until it closes its output.

        None stands for `timeout` seconds without a line.

        Raises:
            TransportError: a line is longer than any of ours.
        """
        until = time.monotonic() + timeout
        with _waiting(self._session) as wait:
            while True:
                for line in self._whole():
                    yield line
                    until = time.monotonic() + timeout
                if self._session.eof_received or self._session.closed:
                    break
                if time.monotonic() >= until:
                    yield None
                    until = time.monotonic() + timeout
                wait(max(0.0, until - time.monotonic()))
        _take_all(self._session, self._said, self._errors)
        yield from self._whole()
        if self._said:
            yield bytes(self._said)
            self._said.clear()

    def end(self) -> None:
        """End the program's input; what it still says can be read."""
        with suppress(OSError, EOFError):
            self._session.shutdown_write()

    def close(self) -> None:
        """End the program's input, and let go of it."""
        self.end()
        with suppress(OSError, EOFError):
            self._session.close()

    def status(self, timeout: float = 5.0) -> int | None:
        """Return its exit status, which may come some seconds after its last line.

        None: it has not ended, or nobody can tell any more.
        """
        self._session.status_event.wait(timeout)
        return None if self._session.exit_status == -1 else self._session.exit_status

    def _whole(self) -> Iterator[bytes]:
        """Take what has come, and yield the lines that are whole."""
        _take(self._session, self._said, self._errors)
        del self._errors[:-_KEPT]
        *lines, rest = bytes(self._said).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise TransportError(f"a line of more than {LONGEST_LINE} bytes", where=self._host)
        self._said[:] = rest
        yield from lines


def _fed(session: Session, view: memoryview) -> tuple[memoryview, bool]:
    """Send as much as the other side takes now; say what is left and whether to come again."""
    try:
        while view and session.send_ready():
            view = view[session.send(bytes(view[:_CHUNK])) :]
        if view:
            return view, True
        session.shutdown_write()
    except (OSError, EOFError):
        pass  # it does not want the rest: its status says whether that is wrong
    return view[:0], False


def _take(session: Session, out: bytearray, err: bytearray) -> None:
    """Take some of what has come; who writes without end must not keep us here."""
    for _ in range(_CHUNKS):
        if session.recv_ready():
            out += session.recv(_CHUNK)
        if session.recv_stderr_ready():
            err += session.recv_stderr(_CHUNK)


def _take_all(session: Session, out: bytearray, err: bytearray) -> None:
    """Take what is left of a program that writes no more."""
    while session.recv_ready() or session.recv_stderr_ready():
        _take(session, out, err)


def _let_go(session: Session) -> None:
    """Close a session; what is gone by then says so by an exception that nobody waits for."""
    with suppress(OSError, EOFError):
        session.close()


@contextmanager
def within(session: Session, seconds: float) -> Iterator[None]:
    """Close a session that is not done in time: paramiko waits for an answer without end."""
    timer = threading.Timer(seconds, _let_go, (session,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _waiting(session: Session) -> Iterator[Callable[[float], None]]:
    """Give a function that waits some seconds for something to read, or for the end."""
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN)

    def wait(seconds: float) -> None:
        poll.poll(seconds * 1000)

    yield wait
