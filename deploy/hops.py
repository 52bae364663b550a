"""The hops of a route, opened one through the other: who they are, and how we are let in.

No host key counts but the pinned ones, and nothing is taken from Fabric's own files. What is done
with what was opened is for `deploy.transport`.
"""

from __future__ import annotations

import logging
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import fabric
import paramiko
from paramiko.config import SSHConfig
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

from deploy.known_hosts import HostKey, pinned
from deploy.route import ALIVE, MISSED, public_keys
from deploy.ssh_errors import TransportError, no_key, not_let_in, other_key, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.route import Hop, Ssh

_KEY_TYPES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)

# paramiko logs with a traceback what it raises as well; without a handler that goes to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def opened(host: str, hops: Sequence[Hop], settings: Ssh) -> tuple[fabric.Connection, ...]:
    """Open hops one after the other, each through the one before.

    Raises:
        TransportError: as for `deploy.transport.connect`; none is left open.
    """
    found: list[fabric.Connection] = []
    try:
        for hop in hops:
            with _translated(host, hop, settings):
                found.append(_fabric(hop, settings, found[-1] if found else None))
                found[-1].open()
                _watch(found[-1])
    except BaseException:
        close(found)
        raise
    return tuple(found)


def close(opened: Sequence[fabric.Connection]) -> None:
    """End connections, the last first."""
    for connection in reversed(opened):
        # Also where opening failed halfway: then Fabric's own close would do nothing.
        connection.client.close()


def host_keys(hops: Sequence[Hop], settings: Ssh) -> tuple[HostKey, ...]:
    """Ask the last hop for its public keys, one of each type, without trusting or logging in.

    Gateways on the way are held to their pinned keys.

    Raises:
        TransportError: as for `deploy.transport.connect`.
    """
    *before, last = hops
    gates = opened(last.name, before, settings)
    try:
        with _translated(last.name, last, settings):
            asked = [_asked(last, types, gates, settings) for types in _KEY_TYPES]
    finally:
        close(gates)
    found = tuple(key for key in asked if key is not None)
    if not found:
        raise unreachable(last.name, f"{last.pin} has no host key of a type that is known")
    return found


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
