"""The one door to other machines: Fabric for control, the OpenSSH client for bulk data.

Both go the same route, with the same keys, and know no host key but the pinned ones; neither asks
anything. How the hops of a route are opened is for `deploy.hops`; what is said over these
connections is for the callers.
"""

from __future__ import annotations

import shlex
import threading
from typing import TYPE_CHECKING

import paramiko

from deploy import bulk, hops
from deploy.route import route
from deploy.ssh_errors import SudoError, lost
from deploy.streams import Channel, finish, within

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    import fabric

    from deploy.bulk import Data
    from deploy.host import Host
    from deploy.route import Hop, Ssh
    from deploy.streams import Ended

SUDO = ("sudo", "-n", "--")
_SEND = 30.0
"""Seconds in which the other side must take what it is sent."""
_PROBE = 30.0


def connect(host: Host, settings: Ssh) -> Connection:
    """Connect to a host, over its gateways.

    Raises:
        HostKeyError: no key is pinned for it or a gateway, or it has another.
        AuthError: it lets nobody in with the keys there are.
        UnreachableError: it does not answer in time, or not as SSH servers do.
        InputError: what the inventory or the SSH configuration says cannot be used.
    """
    way = route(host, settings)
    return Connection(host, way, settings, hops.opened(host.name, way, settings))


class Connection:
    """An open connection to a host. Threads may share it."""

    def __init__(
        self,
        host: Host,
        way: tuple[Hop, ...],
        settings: Ssh,
        opened: tuple[fabric.Connection, ...],
    ) -> None:
        self.host = host
        self.hops = way
        self._settings = settings
        self._opened = opened
        self._probing = threading.Lock()
        self._may_be_root = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and those to its gateways."""
        hops.close(self._opened)

    @property
    def sudo(self) -> bool:
        """Whether it takes sudo to be root there."""
        asked = {"always": True, "never": False}
        return asked.get(self.host.sudo, self.hops[-1].user != "root")

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float,
        root: bool = True,
    ) -> Ended:
        """Run a command to its end, as root unless told otherwise.

        Raises:
            OverdueError: it did not end within `timeout` seconds; it was cut off.
            LostError: the connection ended before it did.
            SudoError: the user may not become root.
        """
        session = self._session(self._as_root(argv, root=root))
        try:
            ended = finish(self.host.name, session, argv, input, timeout)
            if ended.status == -1 and not session.get_transport().is_active():
                raise lost(self.host.name, None)
        finally:
            session.close()
        return ended

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Ended:
        """Run a POSIX shell's script to its end; its text goes over standard input.

        Raises:
            TransportError: as for `run`.
        """
        argv = ("sh", "-s", "--", *args)
        return self.run(argv, input=text.encode(), timeout=timeout, root=root)

    def channel(self, argv: Sequence[str], *, root: bool = True) -> Channel:
        """Start a program that is spoken to line by line.

        Raises:
            LostError: the connection has ended.
            SudoError: the user may not become root.
        """
        return Channel(self.host.name, self._session(self._as_root(argv, root=root)))

    def data(self, argv: Sequence[str], *, root: bool = True) -> AbstractContextManager[Data]:
        """Start a program at the other end of an OpenSSH client of its own; end that on exit.

        Raises:
            SudoError: the user may not become root.
            TransportError: there is no OpenSSH client.
        """
        command = _command(self._as_root(argv, root=root))
        return bulk.opened(self.host.name, self.hops, self._settings, command)

    def files(self, timeout: float) -> paramiko.SFTPClient:
        """Begin an SFTP session, as the user who logged in; each answer has `timeout` seconds.

        Raises:
            LostError: the connection has ended, or the server has no SFTP for this user.
        """
        try:
            line: paramiko.Transport = self._opened[-1].transport
            session = line.open_session(timeout=timeout)
            session.settimeout(timeout)
            with within(session, timeout):
                session.invoke_subsystem("sftp")
                return paramiko.SFTPClient(session)
        except (paramiko.SSHException, OSError, EOFError) as fault:
            raise lost(self.host.name, str(fault) or None) from fault

    def _as_root(self, argv: Sequence[str], *, root: bool) -> tuple[str, ...]:
        if not root or not self.sudo:
            return tuple(argv)
        with self._probing:
            if not self._may_be_root:
                self._probe()
                self._may_be_root = True
        return (*SUDO, *argv)

    def _probe(self) -> None:
        """See once that sudo asks nothing, or each command's own failure would look like it."""
        ended = self.run([*SUDO, "true"], timeout=_PROBE, root=False)
        if ended.status:
            user = self.hops[-1].user
            raise SudoError(
                f"{user} may not become root without a password",
                where=self.host.name,
                got=ended.stderr.strip() or f"exit status {ended.status}",
                hint=f"on the host: {user} ALL=(root) NOPASSWD: ALL in a file of /etc/sudoers.d",
            )

    def _session(self, argv: Sequence[str]) -> paramiko.Channel:
        try:
            # Not Fabric's way to open one: that would connect anew, as if nothing had happened.
            line: paramiko.Transport = self._opened[-1].transport
            wait = self._settings.connect_timeout
            session = line.open_session(timeout=wait)
            session.settimeout(_SEND)
            with within(session, wait):
                session.exec_command(_command(argv))
        except (paramiko.SSHException, OSError, EOFError) as fault:
            raise lost(self.host.name, str(fault) or None) from fault
        return session


def _command(argv: Sequence[str]) -> str:
    """Spell an argv for the shell that every SSH server puts in between; the only place."""
    return shlex.join(argv)
