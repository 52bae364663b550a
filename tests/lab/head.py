"""One head of a lab: a machine with its own systemd, sshd, journal, disk and address."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import cgroups, disk, network
from tests.lab.claims import images
from tests.lab.identity import settle
from tests.lab.shell import LabError, run

if TYPE_CHECKING:
    from tests.lab.names import Names

ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
)
# The process enters the head's cgroups before it is systemd-nspawn: "procs… -- argv…".
_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'

# Seconds. A lost SYN is sent again after a whole second; a new connection does not wait for it.
_PATIENCE = 0.1
_UNIFIED = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


@dataclass(eq=False, slots=True)
class LabHead:
    """Head `index` (from 1) of a lab; off until it is started."""

    names: Names
    index: int
    folder: Path
    lower: Path
    ssh_config: Path
    neighbours: int
    disk_size: int = 8 << 30
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return f"head{self.index}"

    @property
    def address(self) -> str:
        return self.names.address(self.index)

    @property
    def root(self) -> Path:
        """The head's file system as this machine sees it, while the head is on."""
        return self._at / "root"

    @property
    def log(self) -> Path:
        """What the head wrote to its console."""
        return self.folder / f"{self.name}.log"

    @property
    def image(self) -> Path:
        return images(self.folder) / f"{self.name}.img"

    @property
    def leader(self) -> int | None:
        """The process that is systemd in this head, or None while there is none."""
        for process in cgroups.processes(self._cgroup):
            with suppress(OSError):
                status = Path(f"/proc/{process}/status").read_text()
                if re.search(r"^Name:\tsystemd$", status, re.MULTILINE) and _is_first(status):
                    return process
        return None

    def start(self) -> None:
        """Switch the head on. Its packets are counted from nought, a cut link stays cut.

        Raises:
            LabError: if it is on: its disk in two machines at once would be the end of it.
        """
        end = time.monotonic() + 10
        while cgroups.processes(self._cgroup):
            if self.leader is not None or time.monotonic() > end:
                raise LabError(f"{self.name} is on")
            time.sleep(0.02)
        self._put_away()
        self._mount()
        network.forget_packets(self.names, self.index)
        files = [str(file) for file in cgroups.make(self._cgroup)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ("sh", "-c", _ENTER, "sh", *files, "--", *self._nspawn()),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | _UNIFIED,
            )  # fmt: skip

    def power_cut(self) -> None:
        """Take the head's power: link, disk and processes at once, and nothing is synced.

        The link goes first, so that nobody hears from a head whose disk is gone.

        Raises:
            LabError: if it is off.
        """
        if not disk.mounts_below(self._at):
            raise LabError(f"{self.name} is off")
        network.unplug(self.names, self.index)
        disk.lose_power(self._at / "disk")
        cgroups.kill(self._cgroup)
        self._put_away()

    def stop(self, seconds: float = 30.0) -> None:
        """Switch the head off as an administrator does, and cut its power if it will not."""
        leader = self.leader
        if leader is not None:
            run("kill", f"-{signal.SIGRTMIN + 4}", str(leader), check=False)
        end = time.monotonic() + seconds
        while cgroups.processes(self._cgroup):
            if time.monotonic() > end:
                return self.power_cut()
            time.sleep(0.02)
        return self._put_away()

    def wipe(self) -> None:
        """Throw the disk of a head away that is off: it starts as it came from its installer.

        Raises:
            LabError: if it is on.
        """
        self._check_off()
        self.image.unlink(missing_ok=True)

    def reboot(self) -> None:
        """Switch the head off and on as an administrator does, and wait until it is back."""
        self.stop()
        self.start()
        self.wait_ssh()

    def wait_ssh(self, seconds: float = 90.0) -> None:
        """Wait until the head lets its operators in.

        Raises:
            LabError: with the end of its console, if it does not in time.
        """
        end = time.monotonic() + seconds
        while not self._admits():
            if time.monotonic() > end:
                said = self.log.read_text(errors="replace")[-2000:]
                raise LabError(f"{self.name}: no ssh after {seconds:g} s\n{said}")
            time.sleep(0.03)

    def run(
        self,
        *argv: str,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the head as root, beside its net: it works with a cut link too.

        Raises:
            LabError: if the head is off, or with `check` if the exit status is not 0.
        """
        leader = self.leader
        if leader is None:
            raise LabError(f"{self.name} is off")
        enter = ("nsenter", f"--target={leader}", "-m", "-u", "-i", "-n", "-p", "-C", "--")
        return run(*enter, "/usr/bin/env", "-i", *ENVIRONMENT, *argv, input=input, check=check)

    def ssh(
        self,
        *argv: str,
        user: str = "root",
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the head over SSH, as an operator does."""
        to = ("ssh", "-F", str(self.ssh_config), "-l", user, self.name)
        return run(*to, shlex.join(argv), input=input, check=check)

    def partition(self) -> None:
        """Lose every packet from and to the head, without a word to either side."""
        network.cut(self.names, self.index)

    def heal(self) -> None:
        """End the partition."""
        network.heal(self.names, self.index)

    def throttle(self, rate: int | None) -> None:
        """Let the head receive no more than `rate` bits per second until it loses power."""
        network.throttle(self.names, self.index, rate)

    def freeze(self) -> None:
        """Hang the head: its kernel still answers, and nothing that runs in it does."""
        cgroups.freeze(self._cgroup, frozen=True)

    def thaw(self) -> None:
        """Let a hanging head go on."""
        cgroups.freeze(self._cgroup, frozen=False)

    def change_host_keys(self) -> None:
        """Give the head's sshd keys that nobody knows, as a reinstalled or forged head has."""
        self.run("sh", "-c", "rm /etc/ssh/ssh_host_* && ssh-keygen -A && systemctl restart ssh")

    def journal(self) -> str:
        """Read all that the head's journal says, for a test that has to tell what went wrong."""
        return self.run("journalctl", "--no-pager", "--quiet").stdout.decode(errors="replace")

    def packets(self) -> network.Outbound:
        """Tell what the head sent to anywhere but the lab's net since it was started."""
        return network.packets(self.names, self.index)

    def _check_off(self) -> None:
        if cgroups.processes(self._cgroup) or disk.mounts_below(self._at):
            raise LabError(f"{self.name} is on")

    @property
    def _at(self) -> Path:
        return self.names.run / self.name

    @property
    def _cgroup(self) -> str:
        return f"{self.names.cgroup}/{self.name}"

    def _mount(self) -> None:
        if not self.image.is_file():
            self.image.parent.mkdir(parents=True, exist_ok=True)
            disk.make(self.image, self.disk_size)
        disk.mount(self.image, self._at / "disk")
        fresh = not (self._at / "disk" / "upper").is_dir()
        disk.mount_over(self.lower, self._at / "disk", self.root)
        if fresh:
            settle(self.root, self.names, self.index, self.neighbours)
            run("sync", "--file-system", str(self._at / "disk"))

    def reap(self) -> None:
        """Take leave of a systemd-nspawn that is dead."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _put_away(self) -> None:
        self.reap()
        disk.unmount_below(self._at)
        disk.release(self.image)
        network.forget_link(self.names, self.index)
        cgroups.remove(self._cgroup)

    def _nspawn(self) -> tuple[str, ...]:
        return (
            "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot",
            f"--machine={self.names.machine(self.index)}", f"--hostname={self.name}",
            f"--network-bridge={self.names.bridge}", "--register=no", "--keep-unit",
            "--kill-signal=SIGRTMIN+4", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        )  # fmt: skip

    def _admits(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            said = self.log.read_text(errors="replace")[-2000:]
            raise LabError(f"{self.name} went off by itself\n{said}")
        with (
            suppress(OSError),
            socket.create_connection((self.address, 22), timeout=_PATIENCE) as there,
        ):
            there.settimeout(5)
            return there.recv(4) == b"SSH-" and not self._still_boots()
        return False

    def _still_boots(self) -> bool:
        return Path(f"/proc/{self.leader}/root/run/nologin").exists()


def _is_first(status: str) -> bool:
    """Tell whether a process is number 1 of a namespace right below ours."""
    found = re.search(r"^NSpid:\t(.*)$", status, re.MULTILINE)
    return found is not None and found[1].split()[1:] == ["1"]
