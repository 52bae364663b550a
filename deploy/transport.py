"""The one door to other machines: Fabric for control, the OpenSSH client for bulk data.

Both go the same route, with the same keys, and know no host key but the pinned ones; neither asks
anything. What is said over these connections is for the callers.
"""

from __future__ import annotations

import logging
import shlex
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import fabric
import paramiko
from paramiko.config import SSHConfig
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

from deploy import bulk
from deploy.bulk import Data
from deploy.known_hosts import HostKey, pinned
from deploy.route import ALIVE, MISSED, Ssh, public_keys, route
from deploy.ssh_errors import (
    SudoError,
    TransportError,
    lost,
    no_key,
    not_let_in,
    other_key,
    unreachable,
)
from deploy.streams import Channel, Ended, finish, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from deploy.host import Host
    from deploy.route import Hop

__all__ = ["Channel", "Connection", "Data", "Ended", "Ssh", "connect", "host_keys"]

SUDO = ("sudo", "-n", "--")
_SEND = 30.0
"""Seconds in which the other side must take what it is sent."""
_PROBE = 30.0
_KEY_TYPES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)

# paramiko logs with a traceback what it raises as well; without a handler that goes to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def connect(host: Host, settings: Ssh) -> Connection:
    """Connect to a host, over its gateways.

    Raises:
        HostKeyError: no key is pinned for it or a gateway, or it has another.
        AuthError: it lets nobody in with the keys there are.
        UnreachableError: it does not answer in time, or not as SSH servers do.
        InputError: what the inventory or the SSH configuration says cannot be used.
    """
    hops = route(host, settings)
    return Connection(host, hops, settings, _opened(host.name, hops, settings))


def host_keys(hops: Sequence[Hop], settings: Ssh) -> tuple[HostKey, ...]:
    """Ask the last hop for its public keys, one of each type, without trusting or logging in.

    Gateways on the way are held to their pinned keys.

    Raises:
        TransportError: as for `connect`.
    """
    *before, last = hops
    gates = _opened(last.name, before, settings)
    try:
        with _translated(last.name, last, settings):
            asked = [_asked(last, types, gates, settings) for types in _KEY_TYPES]
    finally:
        _close(gates)
    found = tuple(key for key in asked if key is not None)
    if not found:
        raise unreachable(last.name, f"{last.pin} has no host key of a type that is known")
    return found


class Connection:
    """An open connection to a host. Threads may share it."""

    def __init__(
        self,
        host: Host,
        hops: tuple[Hop, ...],
        settings: Ssh,
        opened: tuple[fabric.Connection, ...],
    ) -> None:
        self.host = host
        self.hops = hops
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
        _close(self._opened)

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


def _opened(host: str, hops: Sequence[Hop], settings: Ssh) -> tuple[fabric.Connection, ...]:
    """Open the hops one after the other, each through the one before."""
    opened: list[fabric.Connection] = []
    try:
        for hop in hops:
            with _translated(host, hop, settings):
                opened.append(_fabric(hop, settings, opened[-1] if opened else None))
                opened[-1].open()
                _watch(opened[-1])
    except BaseException:
        _close(opened)
        raise
    return tuple(opened)


def _close(opened: Sequence[fabric.Connection]) -> None:
    for connection in reversed(opened):
        # Also where opening failed halfway: then Fabric's own close would do nothing.
        connection.client.close()


def _fabric(hop: Hop, settings: Ssh, gateway: fabric.Connection | None) -> fabric.Connection:
    """Make a connection that takes nothing from Fabric's files, and no key but the pinned."""
    pins = _pins(hop, settings)
    wait = settings.connect_timeout
    found = fabric.Connection(
        hop.address,
        user=hop.user,
        port=hop.port,
        config=fabric.Config(ssh_config=SSHConfig(), lazy=True),
        gateway=gateway if gateway is not None else False,
        forward_agent=False,
        connect_timeout=max(1, round(wait)),
        connect_kwargs={
            "auth_strategy": _Keys(hop),
            "banner_timeout": wait,
            "auth_timeout": wait,
            "channel_timeout": wait,
        },
    )
    # Fabric adds what it does not know, and reads no file of keys.
    found.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    for key in pins:
        found.client.get_host_keys().add(hop.pin, key.get_name(), key)
    return found


def _pins(hop: Hop, settings: Ssh) -> list[paramiko.PKey]:
    keys = []
    for pin in pinned(settings.known_hosts, hop.pin):
        with suppress(paramiko.SSHException, ValueError):
            keys.append(paramiko.PKey.from_type_string(pin.type, pin.blob))
    if not keys:
        raise no_key(hop.name, f"a line for {hop.pin} in {settings.known_hosts}")
    return keys


class _Keys:
    """Logs in with the keys of a hop, and with the agent's where it may."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._said: list[str] = []

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Try one key after the other.

        Raises:
            AuthenticationException: none will do; says what became of each.
        """
        for name, key in self._keys():
            try:
                if not transport.auth_publickey(self._hop.user, key):
                    return []
                self._said.append(f"{name} is not enough")
            except paramiko.AuthenticationException:
                self._said.append(f"{name} is refused")
            except (paramiko.SSHException, EOFError):  # it had enough of us
                self._said.append(f"{name} was one too many")
                break
        raise paramiko.AuthenticationException("; ".join(self._said) or "there is no key to try")

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield keys with their names; what is locked may still be in the agent."""
        for file in self._hop.identities:
            try:
                yield str(file), paramiko.PKey.from_path(file)
            except TypeError:
                self._said.append(f"{file} has a passphrase and is not in the agent")
            except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as fault:
                self._said.append(f"{file} cannot be used: {fault}")
        wanted = public_keys(self._hop.identities)
        agent = paramiko.Agent()
        try:
            for key in agent.get_keys():
                if not self._hop.only or key.get_base64() in wanted:
                    yield f"{key.comment or key.get_name()} of the agent", key
        finally:
            agent.close()


def _watch(connection: fabric.Connection) -> None:
    """Have a dead link noticed in seconds: TCP alone would try for a quarter of an hour."""
    transport = connection.client.get_transport()
    if transport is None:
        return
    transport.set_keepalive(ALIVE)
    if isinstance(transport.sock, socket.socket):
        milliseconds = ALIVE * MISSED * 1000
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _asked(
    hop: Hop, types: tuple[str, ...], gates: Sequence[fabric.Connection], settings: Ssh
) -> HostKey | None:
    """Shake hands for one of these types of host key, and leave; None if the host has none."""
    wait = settings.connect_timeout
    place = (hop.address, hop.port)
    sock: socket.socket | paramiko.Channel
    if gates:
        gate = gates[-1].client.get_transport()
        if gate is None:
            raise EOFError
        sock = gate.open_channel("direct-tcpip", place, ("", 0), timeout=wait)
    else:
        sock = socket.create_connection(place, wait)
    transport = paramiko.Transport(sock)
    try:
        options = transport.get_security_options()
        options.key_types = tuple(each for each in types if each in options.key_types)
        transport.banner_timeout = wait
        transport.start_client(timeout=wait)
        key = transport.get_remote_server_key()
    except IncompatiblePeer:
        return None
    finally:
        transport.close()
    return HostKey(key.get_name(), key.get_base64())


@contextmanager
def _translated(host: str, hop: Hop, settings: Ssh) -> Iterator[None]:
    """Turn what paramiko raises into what an operator can act on."""
    name = host if hop.name == host else f"{host} (gateway {hop.name})"
    try:
        yield
    except TransportError:
        raise
    except paramiko.BadHostKeyException as fault:
        expected, got = _print(fault.expected_key), _print(fault.key)
        raise other_key(name, expected=expected, got=got, pin=hop.name) from fault
    except paramiko.AuthenticationException as fault:
        raise not_let_in(name, hop.user, str(fault)) from fault
    except (paramiko.SSHException, OSError, EOFError) as fault:
        late = isinstance(fault, TimeoutError)
        said = f"no answer within {settings.connect_timeout:g} s" if late else _reason(fault)
        raise unreachable(name, f"{hop.pin}: {said}") from fault


def _reason(fault: Exception) -> str:
    if isinstance(fault, NoValidConnectionsError):
        return "; ".join(map(_reason, fault.errors.values()))
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault) or "the connection was closed"


def _print(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {HostKey(key.get_name(), key.get_base64()).fingerprint}"
