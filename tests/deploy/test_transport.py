"""Connections to real SSH servers: what is said over them, and each way in which they fail."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest

from deploy.hops import host_keys
from deploy.host import Host
from deploy.route import Ssh, route
from deploy.ssh_errors import (
    AuthError,
    HostKeyError,
    LostError,
    OverdueError,
    SudoError,
    TransportError,
    UnreachableError,
)
from deploy.transport import Connection, connect
from store.errors import InputError
from tests.deploy.sshd import USER, Server, free_port, keygen, needs_sshd, public, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_sshd
HOSTILE = ["a b", "$(id)", "`id`", "x'y\"z", "*", "a;b", "-n", "", "\\", "ä\n!", "#c", "~", "&&"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("head") / "sshd") as running:
        yield running


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("jump") / "sshd") as running:
        yield running


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    """Nothing is known yet; the user's own configuration does not matter."""
    return Ssh(tmp_path / "known hosts", 5.0, Path("/dev/null"))


@pytest.fixture
def known(ssh: Ssh, server: Server, jump: Server) -> Ssh:
    server.trust(ssh)
    jump.trust(ssh)
    return ssh


def through(jump: Server, server: Server) -> Host:
    return server.host(gateway=jump.host("jump"))


def everywhere(server: Server, jump: Server) -> list[Host]:
    return [server.host(), through(jump, server)]


class TestRun:
    def test_a_command(self, known: Ssh, server: Server, jump: Server) -> None:
        for host in everywhere(server, jump):
            with connect(host, known) as connection:
                ended = connection.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10)
            assert (ended.status, ended.stdout, ended.stderr) == (3, b"out\n", "err\n")

    def test_no_shell_reads_the_words(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            ended = connection.run(["printf", "%s\\0", *HOSTILE], timeout=10)
            assert ended.stdout.decode().split("\0")[:-1] == HOSTILE
            ended = connection.script('printf "%s\\0" "$@"', HOSTILE, timeout=10)
            assert ended.stdout.decode().split("\0")[:-1] == HOSTILE
            with connection.data(["printf", "%s\\0", *HOSTILE]) as data:
                assert data.reader.read().decode().split("\0")[:-1] == HOSTILE

    def test_what_goes_in_and_out_is_bytes(self, known: Ssh, server: Server) -> None:
        """More than any window, both ways at once."""
        blob = os.urandom(1 << 16) * 100
        with connect(server.host(), known) as connection:
            ended = connection.run(["cat"], input=blob, timeout=60)
        assert ended.stdout == blob

    def test_input_that_nobody_wants(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            ended = connection.run(["head", "-c", "1"], input=b"x" * 5_000_000, timeout=30)
        assert (ended.status, ended.stdout) == (0, b"x")

    def test_a_command_that_does_not_end(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            began = time.monotonic()
            with pytest.raises(OverdueError) as caught:
                connection.run(["sleep", "60"], timeout=0.5)
            assert time.monotonic() - began < 5
            assert caught.value.where == "head1"
            assert connection.run(["true"], timeout=10).status == 0

    def test_output_that_goes_on_after_the_deadline(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection, pytest.raises(OverdueError):
            connection.run(["sh", "-c", "while :; do echo on; done"], timeout=0.3)

    def test_output_without_end(
        self, known: Ssh, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deploy.streams.LARGEST", 100_000)
        with (
            connect(server.host(), known) as connection,
            pytest.raises(TransportError, match="said more than 100000 bytes"),
        ):
            connection.run(["yes"], timeout=60)

    def test_a_signal_is_told_from_a_lost_connection(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            assert connection.run(["sh", "-c", "kill -9 $$"], timeout=10).status in (-1, 137)

    def test_a_connection_that_is_cut(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            with pytest.raises(LostError) as caught:
                connection.run(["sh", "-c", CUT], timeout=20)
            assert caught.value.where == "head1"
            with pytest.raises(LostError):
                connection.run(["true"], timeout=5)

    def test_several_threads_share_one(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection, ThreadPoolExecutor(8) as pool:
            ended = pool.map(lambda n: connection.run(["echo", str(n)], timeout=20), range(8))
            assert [each.stdout for each in ended] == [f"{n}\n".encode() for n in range(8)]


# Ends the server's process for this connection, from inside: the nearest sshd above.
CUT = """
pid=$$
while [ "$(cat /proc/$pid/comm)" != sshd ]; do
  pid=$(awk '/^PPid/ {print $2}' /proc/$pid/status)
done
kill -9 $pid; sleep 5
"""


class TestChannel:
    def test_lines_both_ways(self, known: Ssh, server: Server, jump: Server) -> None:
        for host in everywhere(server, jump):
            with connect(host, known) as connection, connection.channel(["cat"]) as channel:
                lines = channel.lines(10)
                channel.send(b"one\ntwo")
                assert next(lines) == b"one"
                channel.send(b" and a half\n")
                assert next(lines) == b"two and a half"
                channel.send(b"rest")
                channel.end()
                assert list(lines) == [b"rest"]
                assert channel.status() == 0

    def test_silence_is_told(self, known: Ssh, server: Server) -> None:
        with (
            connect(server.host(), known) as connection,
            connection.channel(["sh", "-c", "sleep 0.5; echo at last; exit 4"]) as channel,
        ):
            heard = list(channel.lines(0.1))
            assert heard.count(None) >= 2
            assert [line for line in heard if line is not None] == [b"at last"]
            assert channel.status() == 4

    def test_what_is_said_at_the_end_is_heard(self, known: Ssh, server: Server) -> None:
        """More than is taken at once, and its end with it."""
        with (
            connect(server.host(), known) as connection,
            connection.channel(["seq", "500000"]) as channel,
        ):
            assert sum(1 for line in channel.lines(20) if line) == 500_000
            assert connection.run(["seq", "500000"], timeout=20).stdout.count(b"\n") == 500_000

    def test_errors_are_kept(self, known: Ssh, server: Server) -> None:
        program = "i=0; while [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done; echo end"
        with (
            connect(server.host(), known) as connection,
            connection.channel(["sh", "-c", f"{program}; echo last >&2"]) as channel,
        ):
            assert list(filter(None, channel.lines(10))) == [b"end"]
            assert channel.stderr.endswith("last\n")
            assert len(channel.stderr) <= 1 << 16

    def test_letting_go_ends_the_program_s_input(
        self, known: Ssh, server: Server, tmp_path: Path
    ) -> None:
        mark = tmp_path / "ended"
        with connect(server.host(), known) as connection:
            channel = connection.channel(["sh", "-c", f"cat; touch {shlex.quote(str(mark))}"])
            channel.send(b"x\n")
            assert next(channel.lines(10)) == b"x"
            channel.close()
            until = time.monotonic() + 10
            while not mark.exists() and time.monotonic() < until:
                time.sleep(0.02)
        assert mark.exists()

    def test_a_line_without_end(
        self, known: Ssh, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deploy.streams.LONGEST_LINE", 1000)
        with (
            connect(server.host(), known) as connection,
            connection.channel(["head", "-c", "5000", "/dev/zero"]) as channel,
            pytest.raises(TransportError, match="a line of more than 1000 bytes"),
        ):
            list(channel.lines(10))

    def test_a_cut_ends_the_lines(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            channel = connection.channel(["sh", "-c", CUT])
            assert list(filter(None, channel.lines(5))) == []
            assert channel.status(1) is None
            with pytest.raises(LostError):
                channel.send(b"x")


class TestData:
    def test_bytes_both_ways(self, known: Ssh, server: Server, jump: Server) -> None:
        blob = os.urandom(100_000)
        for host in everywhere(server, jump):
            with connect(host, known) as connection, connection.data(["cat"]) as data:
                data.writer.write(blob)
                data.writer.flush()
                assert data.reader.read(len(blob)) == blob
                assert data.status() == 0

    def test_status_and_errors(self, known: Ssh, server: Server) -> None:
        with (
            connect(server.host(), known) as connection,
            connection.data(["sh", "-c", "echo oops >&2; exit 7"]) as data,
        ):
            assert data.reader.read() == b""
            assert data.status() == 7
            assert data.stderr == "oops\n"

    def test_nothing_is_left_when_one_leaves_early(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection, connection.data(["cat"]) as data:
            client = data._process.pid
        assert not Path(f"/proc/{client}").exists()

    def test_a_program_that_goes_on(self, known: Ssh, server: Server) -> None:
        with (
            connect(server.host(), known) as connection,
            connection.data(["sleep", "60"]) as data,
            pytest.raises(OverdueError),
        ):
            data.status(0.3)

    def test_a_cut(self, known: Ssh, server: Server) -> None:
        with (
            connect(server.host(), known) as connection,
            connection.data(["sh", "-c", CUT]) as data,
        ):
            assert data.reader.read() == b""
            with pytest.raises(LostError):
                data.status()

    @pytest.mark.parametrize("which", ["head", "gateway"])
    def test_openssh_is_as_strict(
        self, known: Ssh, server: Server, jump: Server, which: str
    ) -> None:
        """Another key since Fabric connected; and a configuration that would not mind."""
        config = known.known_hosts.with_name("config")
        config.write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n")
        lax = replace(known, config=config)
        stranger = public(server.folder / "stranger.pub")
        with connect(through(jump, server), lax) as connection:
            (server if which == "head" else jump).trust(lax, stranger)
            with connection.data(["true"]) as data, pytest.raises(HostKeyError) as caught:
                data.status()
        assert caught.value.hint is not None
        assert "sealift trust" in caught.value.hint


class TestHostKeys:
    def test_a_key_that_is_not_known(self, ssh: Ssh, server: Server) -> None:
        with pytest.raises(HostKeyError) as caught:
            connect(server.host(), ssh)
        assert caught.value.hint == "sealift trust head1"
        assert not ssh.known_hosts.exists()

    def test_a_key_that_has_changed(self, known: Ssh, server: Server) -> None:
        stranger = public(server.folder / "stranger.pub")
        server.trust(known, stranger)
        with pytest.raises(HostKeyError) as caught:
            connect(server.host(), known)
        error = caught.value
        assert (error.where, error.exit_code) == ("head1", 6)
        assert error.expected == f"ssh-ed25519 {stranger.fingerprint}"
        assert error.got == f"ssh-ed25519 {server.key.fingerprint}"
        assert error.hint is not None
        assert "sealift trust head1 --replace" in error.hint

    def test_a_gateway_is_held_to_its_key(self, known: Ssh, server: Server, jump: Server) -> None:
        jump.trust(known, public(jump.folder / "stranger.pub"))
        with pytest.raises(HostKeyError) as caught:
            connect(through(jump, server), known)
        assert caught.value.where == "head1 (gateway jump)"
        with pytest.raises(HostKeyError):
            host_keys(route(through(jump, server), known), known)

    def test_a_gateway_that_is_not_known(self, ssh: Ssh, server: Server, jump: Server) -> None:
        server.trust(ssh)
        with pytest.raises(HostKeyError) as caught:
            connect(through(jump, server), ssh)
        assert caught.value.hint == "sealift trust jump"

    def test_fabric_s_own_readiness_to_learn_is_off(self, known: Ssh, server: Server) -> None:
        with connect(server.host(), known) as connection:
            policy = connection._opened[0].client._policy
        assert isinstance(policy, paramiko.RejectPolicy)

    def test_only_the_site_s_file_counts(
        self, ssh: Ssh, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not the user's, whatever it knows."""
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.key}\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(HostKeyError):
            connect(server.host(), ssh)

    def test_hashed_names(self, ssh: Ssh, server: Server) -> None:
        server.trust(ssh)
        subprocess.run(
            ["ssh-keygen", "-q", "-H", "-f", str(ssh.known_hosts)], check=True, capture_output=True
        )
        assert "127.0.0.1" not in ssh.known_hosts.read_text()
        with connect(server.host(), ssh) as connection, connection.data(["true"]) as data:
            assert data.status() == 0

    def test_asking_for_them(self, ssh: Ssh, tmp_path: Path, jump: Server) -> None:
        with serve(tmp_path / "many", types=("ed25519", "ecdsa", "rsa")) as many:
            found = host_keys(route(many.host(), ssh), ssh)
            jump.trust(ssh)
            assert host_keys(route(through(jump, many), ssh), ssh) == found
            for key in found:  # each will do
                many.trust(ssh, key)
                with connect(many.host(), ssh) as connection, connection.data(["true"]) as data:
                    assert data.status() == 0
        names = [public(file) for file in sorted((tmp_path / "many").glob("host*.pub"))]
        assert {str(key) for key in found} == {str(key) for key in names}


class TestReaching:
    def test_nobody_is_there(self, ssh: Ssh, server: Server) -> None:
        lost = replace(server, port=free_port())
        lost.trust(ssh)
        with pytest.raises(UnreachableError) as caught:
            connect(lost.host(), ssh)
        assert caught.value.got == f"[127.0.0.1]:{lost.port}: Connection refused"

    @pytest.mark.parametrize("greeting", [None, b"SSH-2.0-x\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
    def test_somebody_who_does_not_answer(
        self, ssh: Ssh, server: Server, greeting: bytes | None
    ) -> None:
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            quick = replace(ssh, connect_timeout=1.0)
            silent = replace(server, port=mute.getsockname()[1])
            silent.trust(quick)
            began = time.monotonic()
            if greeting is None:
                with pytest.raises(UnreachableError):
                    connect(silent.host(), quick)
            else:
                _greeted(mute, greeting, silent, quick)
            assert time.monotonic() - began < 10

    def test_behind_a_gateway(self, known: Ssh, server: Server, jump: Server) -> None:
        lost = replace(server, port=free_port())
        lost.trust(known)
        with pytest.raises(UnreachableError) as caught:
            connect(through(jump, lost), known)
        assert caught.value.where == "head1"

    def test_this_machine_is_not_reached(self, ssh: Ssh) -> None:
        with pytest.raises(InputError, match="is this machine"):
            connect(Host("local", kind="local"), ssh)


def _greeted(mute: socket.socket, greeting: bytes, server: Server, ssh: Ssh) -> None:
    def greet() -> None:
        peer = mute.accept()[0]
        with peer:
            peer.sendall(greeting)
            time.sleep(3)

    thread = threading.Thread(target=greet)
    thread.start()
    with pytest.raises(UnreachableError):
        connect(server.host(), ssh)
    thread.join()


class Hung(paramiko.ServerInterface):
    """A server that opens sessions and never says what became of a command."""

    def __init__(self, done: threading.Event) -> None:
        self.done = done

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        del username, key
        return paramiko.AUTH_SUCCESSFUL  # type: ignore[attr-defined,no-any-return]

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return paramiko.OPEN_SUCCEEDED  # type: ignore[attr-defined,no-any-return]

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        del channel, command
        self.done.wait(20)
        return False


def test_a_command_that_nobody_answers_for(ssh: Ssh, server: Server) -> None:
    """paramiko itself would wait for ever."""
    done = threading.Event()
    quick = replace(ssh, connect_timeout=1.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        hung = replace(server, port=listener.getsockname()[1])
        hung.trust(quick)
        with ThreadPoolExecutor(1) as pool:
            opened = pool.submit(_hang, listener, server, done)
            with connect(hung.host(), quick) as connection:
                began = time.monotonic()
                with pytest.raises(LostError):
                    connection.run(["true"], timeout=30)
                assert time.monotonic() - began < 5
                done.set()
            opened.result().close()


def _hang(listener: socket.socket, server: Server, done: threading.Event) -> paramiko.Transport:
    transport = paramiko.Transport(listener.accept()[0])
    transport.add_server_key(paramiko.PKey.from_path(server.folder / "host"))
    transport.start_server(server=Hung(done))
    return transport


class TestLoggingIn:
    def test_a_key_that_is_refused(self, known: Ssh, server: Server) -> None:
        stranger = server.folder / "stranger"
        with pytest.raises(AuthError) as caught:
            connect(server.host(key=stranger), known)
        assert caught.value.got == f"{stranger} is refused"
        assert USER in caught.value.reason

    def test_a_key_that_is_not_there(self, known: Ssh, server: Server, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"the private key .* is not there"):
            connect(server.host(key=tmp_path / "none"), known)

    def test_a_file_that_is_no_key(self, known: Ssh, server: Server, tmp_path: Path) -> None:
        (tmp_path / "odd").write_text("hello")
        with pytest.raises(AuthError, match="does not let"):
            connect(server.host(key=tmp_path / "odd"), known)

    @pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
    def test_a_locked_key_and_the_agent(
        self,
        known: Ssh,
        server: Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
    ) -> None:
        key = keygen(tmp_path / "locked", kind)
        with (server.folder / "authorized_keys").open("a") as file:
            file.write(Path(f"{key}.pub").read_text())
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        with _agent(tmp_path, monkeypatch):
            subprocess.run(["ssh-add", "-q", str(key)], check=True)
            subprocess.run(["ssh-add", "-q", str(server.folder / "stranger")], check=True)
            subprocess.run(
                ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True
            )
            host = server.host(key=key)
            with connect(host, known) as connection, connection.data(["true"]) as data:
                assert data.status() == 0
        monkeypatch.delenv("SSH_AUTH_SOCK")
        with pytest.raises(AuthError) as caught:
            connect(host, known)
        assert caught.value.got is not None
        assert "has a passphrase and is not in the agent" in caught.value.got


@contextmanager
def _agent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = folder / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    argv = ["ssh-agent", "-D", "-a", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as agent:
        try:
            while not path.exists():
                time.sleep(0.01)
            yield
        finally:
            agent.terminate()


class TestSudo:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        """A server on which `sudo` is what `tmp_path/bin` says."""
        (tmp_path / "bin").mkdir()
        for name in ("sh", "echo", "cat", "true"):
            (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
        with serve(tmp_path / "sshd", SetEnv=f"PATH={tmp_path}/bin") as running:
            yield running

    def sudo(self, server: Server, text: str) -> None:
        file = server.folder.parent / "bin" / "sudo"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def test_what_is_run_as_root(self, known: Ssh, server: Server, tmp_path: Path) -> None:
        server.trust(known)
        self.sudo(server, f'printf "%s\\n" "$*" >>{tmp_path}/log; shift 2; exec "$@"')
        with connect(server.host(sudo="always"), known) as connection:
            assert connection.run(["echo", "a b"], timeout=10).stdout == b"a b\n"
            assert connection.run(["echo"], timeout=10, root=False).stdout == b"\n"
            assert connection.script("echo $1", ["x"], timeout=10).stdout == b"x\n"
            with connection.channel(["echo", "line"]) as channel:
                assert list(channel.lines(10)) == [b"line"]
            with connection.data(["echo", "data"]) as data:
                assert data.reader.read() == b"data\n"
        assert (tmp_path / "log").read_text().splitlines() == [
            "-n -- true",
            "-n -- echo a b",
            "-n -- sh -s -- x",
            "-n -- echo line",
            "-n -- echo data",
        ]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("echo 'sudo: a password is required' >&2; exit 1", "sudo: a password is required"),
            (None, "sudo"),
        ],
    )
    def test_who_may_not(self, known: Ssh, server: Server, text: str | None, said: str) -> None:
        server.trust(known)
        if text is not None:
            self.sudo(server, text)
        with connect(server.host(sudo="always"), known) as connection:
            for use in (
                lambda: connection.run(["true"], timeout=10),
                lambda: connection.channel(["true"]),
                lambda: connection.data(["true"]),
            ):
                with pytest.raises(SudoError) as caught:
                    use()
                assert caught.value.got is not None
                assert said in caught.value.got
                assert caught.value.where == "head1"
            assert connection.run(["true"], timeout=10, root=False).status == 0

    @pytest.mark.parametrize(
        ("sudo", "user", "takes"),
        [
            ("auto", "root", False),
            ("auto", "ops", True),
            ("never", "ops", False),
            ("always", "root", True),
        ],
    )
    def test_when_it_takes_sudo(
        self,
        known: Ssh,
        server: Server,
        sudo: str,
        user: str,
        takes: bool,  # noqa: FBT001 - a parameter of the table
    ) -> None:
        hops = route(server.host(user=user), known)
        assert Connection(server.host(sudo=sudo), hops, known, ()).sudo is takes
