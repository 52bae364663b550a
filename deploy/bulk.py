"""The OpenSSH client as a pipe to a program on a host, for bulk data.

It gets a configuration of ours alone; which hops that names is for `deploy.route`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from deploy import openssh
from deploy.route import alias, config
from deploy.ssh_errors import LostError, OverdueError, TransportError, not_let_in, other_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.route import Hop, Ssh

_KEPT = 1 << 16
"""Bytes of standard error that are looked at, the last ones."""
_UNREACHABLE = 255
"""How ssh(1) ends when it could not connect, or no more; no program of ours ends so."""


class Data:
    """A program at the other end of an OpenSSH client.

    `reader` is its output and `writer` its input, as bytes.
    """

    def __init__(
        self, host: str, user: str, process: subprocess.Popen[bytes], said: IO[bytes]
    ) -> None:
        self._host = host
        self._user = user
        self._process = process
        self._said = said
        self.reader = cast("BinaryIO", process.stdout)
        self.writer = cast("BinaryIO", process.stdin)

    @property
    def stderr(self) -> str:
        """The end of what the program, and ssh, wrote to standard error."""
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), _KEPT, max(0, size - _KEPT)).decode(errors="replace")

    def status(self, timeout: float = 30.0) -> int:
        """End the program's input, wait for it, and return its exit status.

        Raises:
            TransportError: the connection failed; says why.
            OverdueError: it does not end.
        """
        with suppress(OSError):
            self.writer.close()
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            reason = f"the program at the other end goes on after {timeout:g} s"
            raise OverdueError(reason, where=self._host) from None
        if status == _UNREACHABLE:
            raise failure(self._host, self._user, self.stderr)
        return status

    def kill(self) -> None:
        """End the client, whatever it does; the program at the other end sees its input end."""
        self._process.kill()
        for stream in (self.writer, self.reader):
            with suppress(OSError):
                stream.close()
        self._process.wait()


@contextmanager
def opened(host: str, hops: tuple[Hop, ...], ssh: Ssh, command: str) -> Iterator[Data]:
    """Start a command for the shell of the last hop; end the client on exit.

    Raises:
        NoOpenSshError: there is no OpenSSH client.
    """
    with tempfile.TemporaryFile() as said, _memory(config(hops, ssh)) as file:
        # By its whole path: for a gateway it starts itself once more, as it was called.
        argv = [openssh.ssh(), "-F", file, "-T", "--", alias(hops), command]
        data = Data(host, hops[-1].user, _client(host, argv, said), said)
        try:
            yield data
        finally:
            data.kill()


def failure(host: str, user: str, said: str) -> TransportError:
    """Tell from what OpenSSH said on standard error why it could not go on."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    got = lines[-1] if lines else None
    if "Host key verification failed" in said:
        return other_key(host, got=got)
    if "Permission denied (" in said:
        return not_let_in(host, user, got)
    return LostError("the connection for data ended", where=host, got=got, hint="run it again")


def _client(host: str, argv: list[str], said: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: Ctrl-C is for us, who then end it in order.
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    except OSError as fault:
        reason = f"ssh cannot be started: {fault.strerror}"
        raise TransportError(reason, where=host, hint="apt-get install openssh-client") from fault


@contextmanager
def _memory(text: str) -> Iterator[str]:
    """Lay a file in memory alone, and give a path that other processes find it at.

    Nothing of it can be left behind. Not by /dev/fd: ssh closes what it inherits, and starts
    another ssh for a gateway.
    """
    with os.fdopen(os.memfd_create("sealift-ssh"), "w") as file:
        file.write(text)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"
