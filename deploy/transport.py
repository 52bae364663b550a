"""The one door to other machines: Fabric for control, the OpenSSH client for bulk data.

Both go the same route, with the same keys, and know no host key but the pinned ones; neither asks
anything. What is said over these connections is for the callers.
"""

from __future__ import annotations

import io
import logging
import os
import select
import shlex
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

import fabric
import paramiko
from paramiko.config import SSHConfig
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

from deploy.known_hosts import HostKey, pinned
from deploy.route import ALIVE, MISSED, Ssh, alias, config, route
from deploy.ssh_errors import (
    AuthError,
    HostKeyError,
    LostError,
    OverdueError,
    SudoError,
    TransportError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from deploy.inventory import Host
    from deploy.route import Hop

__all__ = ["Channel", "Connection", "Data", "Ended", "Ssh", "connect", "host_keys"]

LARGEST = 64 << 20
"""Bytes that a command may say before it is taken for one that does not stop."""
LONGEST_LINE = 16 << 20
"""Bytes in a line of a channel."""
SUDO = ("sudo", "-n", "--")
_CHUNK = 1 << 16
_KEPT = 1 << 16
"""Bytes of a channel's stderr that are kept, the last ones."""
_TICK = 0.02
"""Seconds after which a full window is looked at again."""
_SEND = 30.0
"""Seconds in which the other side must take what it is sent."""
_PROBE = 30.0
_UNREACHABLE = 255
"""How ssh(1) ends when it could not connect; a command's own end looks the same."""
_KEY_TYPES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)

# paramiko logs with a traceback what it raises as well; without a handler that goes to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its status (-1: by a signal), and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


def connect(host: Host, settings: Ssh) -> Connection:
    """Connect to a host, over its gateways.

    Raises:
        HostKeyError: no key is pinned for it or a gateway, or it has another.
        AuthError: it lets nobody in with the keys there are.
        UnreachableError: it does not answer in time, or not as SSH servers do.
        InputError: what the inventory or the SSH configuration says cannot be used.
    """
    hops = route(host, settings)
    return Connection(host, hops, settings, _opened(host, hops, settings))


def host_keys(host: Host, settings: Ssh) -> tuple[HostKey, ...]:
    """Ask a host for its public keys, one of each type, without trusting or logging in.

    Gateways on the way are held to their pinned keys.

    Raises:
        TransportError: as for `connect`.
    """
    *before, last = route(host, settings)
    gates = _opened(host, tuple(before), settings)
    try:
        asked = (_asked(last, types, gates, settings) for types in _KEY_TYPES)
        with _translated(host, last, settings):
            found = tuple(key for key in asked if key is not None)
    finally:
        _close(gates)
    if not found:
        raise UnreachableError("the host has no key of a type that is known", where=host.name)
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
            return self._finish(session, input, time.monotonic() + timeout, argv)
        finally:
            session.close()

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

    @contextmanager
    def data(self, argv: Sequence[str], *, root: bool = True) -> Iterator[Data]:
        """Start a program at the other end of an OpenSSH client of its own; kill that on exit.

        Raises:
            SudoError: the user may not become root.
            TransportError: there is no OpenSSH client.
        """
        command = _command(self._as_root(argv, root=root))
        with tempfile.TemporaryFile() as said, _memory(config(self.hops, self._settings)) as file:
            process = self._client(file, command, said)
            data = Data(self, process, said)
            try:
                yield data
            finally:
                data.kill()

    def failure(self, said: str) -> TransportError:
        """Tell from what OpenSSH said on stderr why it could not go on."""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        got = lines[-1] if lines else None
        name = self.host.name
        if "Host key verification failed" in said:
            return _other_key(name, got)
        if "Permission denied (" in said:
            return _not_let_in(name, self.hops[-1].user, got)
        return LostError("the connection for data ended", where=name, got=got, hint="run it again")

    def _client(self, file: str, command: str, said: IO[bytes]) -> subprocess.Popen[bytes]:
        argv = ["ssh", "-F", file, "-T", "--", alias(self.hops), command]
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
            hint = "apt-get install openssh-client"
            raise TransportError(
                f"ssh cannot be started: {fault.strerror}", where=self.host.name, hint=hint
            ) from fault

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
            session: paramiko.Channel = self._opened[-1].create_session()
            session.settimeout(_SEND)
            session.exec_command(_command(argv))
        except (paramiko.SSHException, OSError, EOFError) as fault:
            raise _lost(self.host.name, str(fault) or None) from fault
        return session

    def _finish(
        self, session: paramiko.Channel, rest: bytes, until: float, argv: Sequence[str]
    ) -> Ended:
        """Feed a command and take what it says, both at once, until it has ended."""
        out, err = bytearray(), bytearray()
        with _waiting(session) as wait:
            view = memoryview(rest)
            feeding = True
            while not session.eof_received and not session.closed:
                if feeding:
                    view, feeding = _fed(session, view)
                wait(_TICK if feeding else max(0.0, min(1.0, until - time.monotonic())))
                _take(session, out, err)
                if len(out) + len(err) > LARGEST:
                    raise TransportError(
                        f"it said more than {LARGEST} bytes", where=self.host.name, got=argv[0]
                    )
                if time.monotonic() >= until:
                    raise self._overdue(argv)
        _take(session, out, err)
        if not session.status_event.wait(max(0.0, until - time.monotonic())):
            raise self._overdue(argv)
        self._check(session)
        return Ended(session.exit_status, bytes(out), err.decode(errors="replace"))

    def _check(self, session: paramiko.Channel) -> None:
        transport = session.get_transport()
        if session.exit_status == -1 and not transport.is_active():
            raise _lost(self.host.name, None)

    def _overdue(self, argv: Sequence[str]) -> OverdueError:
        return OverdueError("a command did not end in time", where=self.host.name, got=argv[0])


class Channel:
    """A program on a host, spoken to in lines. One thread reads; others may send."""

    def __init__(self, host: str, session: paramiko.Channel) -> None:
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
            raise _lost(self._host, str(fault) or None) from fault

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


class Data:
    """A program at the other end of an OpenSSH client: its output and its input, as bytes."""

    def __init__(
        self, connection: Connection, process: subprocess.Popen[bytes], said: IO[bytes]
    ) -> None:
        self._connection = connection
        self._process = process
        self._said = said
        if process.stdout is None or process.stdin is None:
            raise TypeError
        self.reader: BinaryIO = process.stdout  # type: ignore[assignment]
        self.writer: BinaryIO = process.stdin  # type: ignore[assignment]

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
            name = self._connection.host.name
            raise OverdueError("the program at the other end goes on", where=name) from None
        if status in (_UNREACHABLE, -1):
            raise self._connection.failure(self.stderr)
        return status

    def kill(self) -> None:
        """End the client, whatever it does; the program at the other end sees its input end."""
        self._process.kill()
        for stream in (self.writer, self.reader):
            with suppress(OSError):
                stream.close()
        self._process.wait()


def _command(argv: Sequence[str]) -> str:
    """Spell an argv for the shell that every SSH server puts in between; the only place."""
    return shlex.join(argv)


def _opened(host: Host, hops: Sequence[Hop], settings: Ssh) -> tuple[fabric.Connection, ...]:
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
            **_credentials(hop),
            "look_for_keys": False,
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
        raise HostKeyError(
            "no host key is pinned for it",
            where=hop.name,
            expected=f"a line for {hop.pin} in {settings.known_hosts}",
            hint=f"sealift trust {hop.name}",
        )
    return keys


def _credentials(hop: Hop) -> dict[str, object]:
    """Say with which keys to log in; one that is locked is looked for in the agent."""
    files = [str(file) for file in hop.identities]
    certified = [f"{file}-cert.pub" for file in files if Path(f"{file}-cert.pub").exists()]
    said: dict[str, object] = {"key_filename": certified + files, "allow_agent": not hop.only}
    if hop.only and (key := _in_agent(files)) is not None:
        said["pkey"] = key
    return said


def _in_agent(files: Sequence[str]) -> paramiko.PKey | None:
    wanted = set()
    for file in files:
        with suppress(OSError):
            wanted.update(Path(f"{file}.pub").read_text(encoding="utf-8").split()[1:2])
    if not wanted or not os.environ.get("SSH_AUTH_SOCK"):
        return None
    with suppress(paramiko.SSHException):
        for key in paramiko.Agent().get_keys():
            if key.get_base64() in wanted:
                return key
    return None


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
def _translated(host: Host, hop: Hop, settings: Ssh) -> Iterator[None]:
    """Turn what paramiko raises into what an operator can act on."""
    name = hop.name if hop.name == host.name else f"{host.name} (gateway {hop.name})"
    try:
        yield
    except TransportError:
        raise
    except paramiko.BadHostKeyException as fault:
        raise HostKeyError(
            "the host has another key than the one that is pinned",
            where=name,
            expected=_print(fault.expected_key),
            got=_print(fault.key),
            hint=f"find out why before anything else; if it was reinstalled: "
            f"sealift trust {hop.name} --replace",
        ) from fault
    except paramiko.PasswordRequiredException as fault:
        raise AuthError(
            "the key has a passphrase", where=name, hint="put it into the agent: ssh-add"
        ) from fault
    except paramiko.AuthenticationException as fault:
        raise _not_let_in(name, hop.user, str(fault)) from fault
    except (paramiko.SSHException, OSError, EOFError) as fault:
        if "No authentication methods" in str(fault):
            raise _not_let_in(name, hop.user, "there is no key to try") from fault
        raise _unreachable(name, hop, fault, settings) from fault


def _unreachable(name: str, hop: Hop, fault: Exception, settings: Ssh) -> UnreachableError:
    late = isinstance(fault, TimeoutError)
    said = f"no answer within {settings.connect_timeout:g} s" if late else _reason(fault)
    return UnreachableError(
        "the host cannot be reached",
        where=name,
        got=f"{hop.pin}: {said}",
        hint="is it up, and is the address right? sealift inventory list",
    )


def _reason(fault: Exception) -> str:
    if isinstance(fault, NoValidConnectionsError):
        errors: dict[object, OSError] = fault.errors
        return "; ".join(each.strerror or str(each) for each in errors.values())
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault) or "the connection was closed"


def _not_let_in(name: str, user: str, got: str | None) -> AuthError:
    return AuthError(
        f"the host does not let {user} in",
        where=name,
        got=got,
        hint="is the public key in its authorized_keys, and the private one named or in the agent?",
    )


def _other_key(name: str, got: str | None) -> HostKeyError:
    return HostKeyError(
        "the host key is not the one that is pinned",
        where=name,
        got=got,
        hint=f"find out why before anything else; if it was reinstalled: "
        f"sealift trust {name} --replace",
    )


def _lost(name: str, got: str | None) -> LostError:
    return LostError("the connection was lost", where=name, got=got, hint="run it again")


def _print(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {HostKey(key.get_name(), key.get_base64()).fingerprint}"


def _fed(session: paramiko.Channel, view: memoryview) -> tuple[memoryview, bool]:
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


def _take(session: paramiko.Channel, out: bytearray, err: bytearray) -> None:
    while session.recv_ready():
        out += session.recv(_CHUNK)
    while session.recv_stderr_ready():
        err += session.recv_stderr(_CHUNK)


@contextmanager
def _waiting(session: paramiko.Channel) -> Iterator[Callable[[float], None]]:
    """Give a function that waits some seconds for something to read, or for the end."""
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN)

    def wait(seconds: float) -> None:
        poll.poll(seconds * 1000)

    yield wait


@contextmanager
def _memory(text: str) -> Iterator[str]:
    """Lay a file in memory alone, and give a path that other processes find it at.

    Nothing of it can be left behind. Not by /dev/fd: ssh closes what it inherits, and starts
    another ssh for a gateway.
    """
    with io.FileIO(os.memfd_create("sealift-ssh"), "w") as file:
        file.write(text.encode())
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"
