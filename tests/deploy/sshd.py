"""SSH servers of this user's own, and a place that knows their keys."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.host import Host
from deploy.known_hosts import HostKey, pin, spell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.route import Ssh

SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")
USER = pwd.getpwuid(os.geteuid()).pw_name
needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs sshd (openssh-server)")


@dataclass(frozen=True)
class Server:
    """One server: it listens on the loopback, and lets in whoever has the key `user`."""

    folder: Path
    port: int

    @property
    def key(self) -> HostKey:
        return public(self.folder / "host.pub")

    def host(self, name: str = "head1", **said: object) -> Host:
        """Make it a host of an inventory."""
        words: dict[str, object] = {"user": USER, "key": self.folder / "user", "sudo": "never"}
        found = {"address": "127.0.0.1", "written": True, "port": self.port, **words, **said}
        return Host(name, **found)  # type: ignore[arg-type]

    def trust(self, ssh: Ssh, *keys: HostKey) -> None:
        """Pin its key, or others in place of it."""
        pin(ssh.known_hosts, spell("127.0.0.1", self.port), keys or (self.key,))


def public(file: Path) -> HostKey:
    kind, text, *_ = file.read_text().split()
    return HostKey(kind, text)


def keygen(file: Path, kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(file)], check=True)
    return file


@contextmanager
def serve(
    folder: Path, *, types: tuple[str, ...] = ("ed25519",), **options: str
) -> Iterator[Server]:
    """Run a server with a host key of each of these types; `options` are its configuration."""
    folder.mkdir()
    port = free_port()
    _lay(folder, port, types, options)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd leaves its privileges
    argv = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stderr=log) as process:
        try:
            _wait(port)
            yield Server(folder, port)
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lay(folder: Path, port: int, types: tuple[str, ...], options: dict[str, str]) -> None:
    for number, kind in enumerate(types):
        keygen(folder / ("host" if number == 0 else f"host-{kind}"), kind)
    for name in ("user", "stranger"):
        keygen(folder / name)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    said = {
        "ListenAddress": f"127.0.0.1:{port}",
        "PidFile": "none",
        "AuthorizedKeysFile": str(folder / "authorized_keys"),
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        **options,
    }
    keys = "".join(
        f"HostKey {folder / ('host' if number == 0 else f'host-{kind}')}\n"
        for number, kind in enumerate(types)
    )
    text = keys + "".join(f"{key} {value}\n" for key, value in said.items())
    (folder / "sshd_config").write_text(text)


def _wait(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("sshd does not start")
