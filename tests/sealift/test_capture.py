"""`sealift capture`: what a head has, read over a real SSH server, and what is refused."""

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

from builders.base_system import CaptureError, capture_local
from builders.dpkg_status import StatusError, installed
from tests.sealift.conftest import SEALIFT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sealift.conftest import Folder

SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")
DPKG = Path("/var/lib/dpkg/status")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs sshd (openssh-server)")
needs_dpkg = pytest.mark.skipif(not DPKG.is_file(), reason="needs a machine with dpkg")
STATUS = """\
Package: dpkg
Essential: yes
Status: install ok installed
Priority: required
Section: admin
Installed-Size: 6460
Maintainer: Someone <someone@example.org>
Architecture: amd64
Multi-Arch: foreign
Version: 1.21.22
Pre-Depends: libc6 (>= 2.34),
 zlib1g
Conffiles:
 /etc/alternatives/README 7be88b21f7e386c8d5a8790c2461c92b
Description: Debian package management system

Package: left
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 2:1.0~rc1-1
"""
REDUCED = """\
Package: dpkg
Essential: yes
Status: install ok installed
Priority: required
Installed-Size: 6460
Architecture: amd64
Multi-Arch: foreign
Version: 1.21.22
Pre-Depends: libc6 (>= 2.34), zlib1g

Package: held
Status: hold ok installed
Architecture: all
Version: 2:1.0~rc1-1
"""


@dataclass(frozen=True)
class Server:
    """An SSH server of this user's own, and the client's configuration that knows it."""

    folder: Path
    port: int

    @property
    def config(self) -> Path:
        return self.folder / "config"

    def know(self, *, key: str = "host.pub", **options: str) -> None:
        """Write the client's configuration: the host `head`, with the key that it is said to have.

        What the configuration says otherwise does not matter where sealift insists.
        """
        words = (self.folder / key).read_text().split()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {words[0]} {words[1]}\n")
        said = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": pwd.getpwuid(os.geteuid()).pw_name,
            "IdentityFile": str(self.folder / "user"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            **options,
        }
        lines = "".join(f"  {key} {value}\n" for key, value in said.items())
        self.config.write_text(f"Host head\n{lines}")


def keygen(file: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(command, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lay(folder: Path, port: int, command: str) -> None:
    """Lay keys and the server's configuration; whoever comes gets `command`, whatever he asks."""
    for name in ("host", "user", "stranger"):
        keygen(folder / name)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": str(folder / "host"),
        "PidFile": str(folder / "pid"),
        "AuthorizedKeysFile": str(folder / "authorized_keys"),
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
    }
    if command:
        settings["ForceCommand"] = command
    (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))


@contextmanager
def sshd(folder: Path, command: str = "") -> Iterator[Server]:
    assert SSHD is not None
    folder.mkdir()
    port = free_port()
    lay(folder, port, command)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd leaves its privileges
    argv = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            wait(port)
            server = Server(folder, port)
            server.know()
            yield server
        finally:
            process.terminate()


def wait(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("sshd does not start")


def bases(folder: Folder) -> list[str]:
    return sorted(file.name for file in (folder.root / "recipes" / "bases").iterdir())


@needs_dpkg
class TestThisMachine:
    """A host of the inventory whose kind is `local`."""

    def test_it_is_written_down(self, folder: Folder) -> None:
        done = folder.run("capture", "local")
        assert done.returncode == 0, done.stderr
        file = folder.root / "recipes" / "bases" / "local.status"
        assert done.stdout.strip() == str(file)
        first, _, status = file.read_text().partition("\n")
        assert first.startswith("# sealift capture local: ")
        assert len(status) < DPKG.stat().st_size / 2
        found = {each.name for each in installed(status, where="it")}
        assert {"dpkg", "libc6"} <= found
        assert f"{len(installed(status, where='it'))} packages" in first
        assert bases(folder) == ["local.status"]

    def test_nothing_that_apt_does_not_read_is_kept(self, folder: Folder) -> None:
        assert folder.run("capture", "local", "--name", "it").returncode == 0
        text = (folder.root / "recipes" / "bases" / "it.status").read_text()
        for field in ("Maintainer", "Conffiles", "Description", "Homepage", "Config-Version"):
            assert f"\n{field}:" not in text


class TestReduced:
    """What is kept of a status file."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for folder in ("var/lib/dpkg", "etc"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
        (tmp_path / "etc/os-release").write_text('ID=debian\nPRETTY_NAME="Debian 12 (bookworm)"\n')
        return tmp_path

    def test_what_apt_decides_by(self, root: Path) -> None:
        base = capture_local(root)
        assert base.status == REDUCED
        assert base.text("here") == f"# here: Debian 12 (bookworm), 2 packages\n{REDUCED}"

    def test_a_system_without_a_name(self, root: Path) -> None:
        (root / "etc/os-release").write_text('PRETTY_NAME="\x1b[31m"\n')
        assert capture_local(root).title == "a system without a name"
        (root / "etc/os-release").unlink()
        assert capture_local(root).title == "a system without a name"

    def test_without_dpkg(self, root: Path) -> None:
        (root / "var/lib/dpkg/status").unlink()
        with pytest.raises(CaptureError, match="has no dpkg"):
            capture_local(root)

    def test_another_architecture(self, root: Path) -> None:
        text = STATUS.replace("Architecture: amd64", "Architecture: arm64")
        (root / "var/lib/dpkg/status").write_text(text)
        with pytest.raises(CaptureError, match="another architecture") as caught:
            capture_local(root)
        assert (caught.value.expected, caught.value.got) == ("amd64", "arm64")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "nothing of the kind\n",
            STATUS.replace("Package: held", "Package: ../held"),
            STATUS.replace("Version: 1.21.22", "Version: 1.21.22 (or so)"),
            STATUS.replace("Status: hold ok installed", "Status: hold"),
            STATUS.replace("Status: hold ok installed\n", ""),
            STATUS.replace("Multi-Arch: foreign", "Multi-Arch: \x07"),
        ],
    )
    def test_what_is_no_status_file(self, root: Path, text: str) -> None:
        (root / "var/lib/dpkg/status").write_text(text)
        with pytest.raises(StatusError):
            capture_local(root)


@needs_sshd
class TestAnotherMachine:
    """A destination of ssh."""

    @needs_dpkg
    def test_it_is_written_down(self, folder: Folder, tmp_path: Path) -> None:
        with sshd(tmp_path / "ssh") as server:
            done = folder.run("capture", "head", "--ssh-config", str(server.config))
        assert done.returncode == 0, done.stderr
        assert bases(folder) == ["head.status"]
        here = folder.run("capture", "local")
        assert here.returncode == 0
        texts = [(folder.root / "recipes/bases" / name).read_text() for name in bases(folder)]
        assert texts[0].partition("\n")[2] == texts[1].partition("\n")[2]

    def test_a_key_that_is_not_the_known_one(self, folder: Folder, tmp_path: Path) -> None:
        """Even where the configuration does not mind."""
        with sshd(tmp_path / "ssh") as server:
            server.know(key="stranger.pub")
            done = folder.run("capture", "head", "--ssh-config", str(server.config))
        assert done.returncode == 1
        assert "error: the head cannot be reached" in done.stderr
        assert "Host key verification failed" in done.stderr
        assert not (folder.root / "recipes" / "bases").exists()

    def test_a_key_that_is_not_known(self, folder: Folder, tmp_path: Path) -> None:
        with sshd(tmp_path / "ssh") as server:
            (server.folder / "known_hosts").write_text("")
            done = folder.run("capture", "head", "--ssh-config", str(server.config))
            assert done.returncode == 1
            assert "Host key verification failed" in done.stderr
            assert (server.folder / "known_hosts").read_text() == ""

    def test_nobody_is_asked_for_a_password(self, folder: Folder, tmp_path: Path) -> None:
        with sshd(tmp_path / "ssh") as server:
            (server.folder / "authorized_keys").write_text("")
            server.know(BatchMode="no", PasswordAuthentication="yes")
            done = folder.run("capture", "head", "--ssh-config", str(server.config))
        assert done.returncode == 1
        assert "Permission denied" in done.stderr

    def test_nobody_is_there(self, folder: Folder, tmp_path: Path) -> None:
        with sshd(tmp_path / "ssh") as server:
            config = str(server.config)
        done = folder.run("capture", "head", "--ssh-config", config)
        assert done.returncode == 1
        assert "does `ssh head true` work" in done.stderr

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("exit 90", "the head has no dpkg"),
            ("echo no >&2; exit 3", "the head does not say what it has"),
            ("echo hello", "the head said something else"),
            ("printf 'a\\000hello'", "makes no sense"),
            ("printf 'a\\000'", "nothing is installed"),
            ("printf '\\000\\377'", "is no text"),
        ],
    )
    def test_a_head_that_says_something_else(
        self, folder: Folder, tmp_path: Path, command: str, said: str
    ) -> None:
        with sshd(tmp_path / "ssh", command) as server:
            done = folder.run("capture", "head", "--ssh-config", str(server.config))
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not (folder.root / "recipes" / "bases").exists()


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch it", "a b", "a;touch it", "a@-b", "../head", "", "a\nb", "héad"]
)
def test_what_is_no_host(folder: Folder, host: str) -> None:
    done = folder.run("capture", "--name", "it", "--", host)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert not (folder.root / "it").exists()


@pytest.mark.parametrize("name", ["../it", ".it", "a/b", ""])
def test_what_is_no_name(folder: Folder, name: str) -> None:
    done = folder.run("capture", "local", f"--name={name}")
    assert done.returncode == 2
    assert "error: " in done.stderr


@pytest.mark.parametrize("codename", ["../../x", "Bookworm", "a b", "http://x", "", "-x"])
def test_what_is_no_codename(folder: Folder, codename: str) -> None:
    done = folder.run("capture", "it", f"--minimal={codename}")
    assert done.returncode == 2
    assert f"error: {codename!r} is no Debian release" in done.stderr
    assert not (folder.root / "recipes" / "bases").exists()


def test_the_base_before_stays_where_nothing_comes(folder: Folder) -> None:
    file = folder.root / "recipes" / "bases" / "head.status"
    file.parent.mkdir()
    file.write_text("before")
    config = folder.root / "config"
    config.write_text("Host head\n  HostName 127.0.0.1\n  Port 1\n")
    assert folder.run("capture", "head", "--ssh-config", str(config)).returncode == 1
    assert file.read_text() == "before"
    assert bases(folder) == ["head.status"]


def test_without_ssh(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sealift").symlink_to(SEALIFT)
    done = folder.run("capture", "head", env={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 1
    assert "ssh is not installed" in done.stderr
