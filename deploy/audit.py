"""The audit log of a head: every change, by whom, from where, and what became of it.

One JSON record a line, only ever appended to, each line by one write(2) and on the disk before the
change goes on. It is written for people: nothing is decided by it.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGUN, DONE = "begun", "done"
CONNECTION = "SSH_CONNECTION"
BY = "SEALIFT_BY"
"""The variable by which another machine says whose order a command is."""
_LONGEST = 200
_ANCESTORS = 16
"""How many parents are asked for the connection: sshd, a shell, sudo and its monitor, and more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: at `time` (seconds since the epoch) `who` of `user`, from the address `source`.

    `what` is what the change was about: a store path, a generation, names. `result` is `begun`,
    `done`, or the slug of what went wrong.
    """

    time: float
    who: str
    user: str
    source: str
    action: str
    what: str
    result: str
    detail: str = ""


class Audit:
    """The log file of one head."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._user, self._source = _user(), source()

    @contextmanager
    def change(self, who: str, action: str, what: str) -> Iterator[None]:
        """Note that a change begins, and in the end what became of it."""
        self.note(who, action, what, BEGUN)
        try:
            yield
        except BaseException as error:
            slug = error.slug if isinstance(error, Error) else type(error).__name__
            with suppress(OSError):  # what went wrong is to be told, not that the log is full
                self.note(who, action, what, slug, str(error))
            raise
        with suppress(OSError):
            self.note(who, action, what, DONE)

    def note(self, who: str, action: str, what: str, result: str, detail: str = "") -> None:
        """Add one entry, and return when it is on the disk."""
        entry = Entry(time.time(), who, self._user, self._source, action, what, result, detail)
        line = json.dumps(asdict(entry), sort_keys=True).encode() + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, 0o600)
        try:
            os.write(descriptor, line)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def entries(self) -> tuple[Entry, ...]:
        """Return all that was noted, oldest first; a line that was cut off is left out."""
        try:
            lines = self._file.read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ()
        found = []
        for line in lines:
            with suppress(ValueError, TypeError):
                found.append(Entry(**json.loads(line)))
        return tuple(found)


def orderer() -> str:
    """Return who ordered this: as another machine says it, else the user of this one."""
    said = os.environ.get(BY, "")
    if said and said.isprintable() and len(said) <= _LONGEST:
        return said
    return f"{getpass.getuser()}@{socket.gethostname()}"


def source() -> str:
    """Return the address from which this process was ordered over SSH; empty if it was not."""
    return "".join(connection().split()[:1])


def connection() -> str:
    """Return the SSH connection by which this process was ordered; empty if by none.

    It is addresses and ports: the client's, then the server's. sudo takes the variable away, so
    the parents are asked as well.
    """
    said = os.environ.get(CONNECTION, "")
    process = os.getpid()
    for _ in range(_ANCESTORS):
        if said:
            break
        try:
            process = _parent(process)
            said = _variable(process, CONNECTION)
        except OSError:
            break
    return said


def _user() -> str:
    """Return the account that began this, also where sudo made it root."""
    try:
        own = getpass.getuser()
    except (KeyError, OSError):
        own = str(os.getuid())
    before = os.environ.get("SUDO_USER")
    return f"{before} (sudo)" if before and before != own else own


def _parent(process: int) -> int:
    status = Path(f"/proc/{process}/stat").read_text("utf-8", errors="replace")
    return int(status.rpartition(")")[2].split()[1])


def _variable(process: int, name: str) -> str:
    key = f"{name}=".encode()
    for each in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
        if each.startswith(key):
            return each[len(key) :].decode("utf-8", "replace")
    return ""
