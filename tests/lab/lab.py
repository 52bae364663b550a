"""Heads as they are at a site, on one machine: booted Debians on a net without a way out.

with Lab(3, folder=tmp_path / "lab") as lab:
    lab.heads[0].run("systemctl", "is-system-running")
    lab.heads[0].power_cut()
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, Self

from tests.lab import cgroups, claims, keys, network
from tests.lab.head import LabHead
from tests.lab.names import MOST_HEADS, Names
from tests.lab.root import root
from tests.lab.shell import LabError

PROGRAMS = (
    "mmdebstrap", "systemd-nspawn", "nft", "ip", "tc", "mount", "mkfs.ext4", "nsenter", "ssh",
    "ssh-keygen",
)  # fmt: skip
_SYS_ADMIN = 21


class Lab:
    """N heads with their keys; all of it is gone when the context is left.

    `folder` holds keys, logs and disks. With `kept` the lab outlives its owner and ends with
    `end`. `disk_size` is in bytes, of which a head takes what it writes. `lower` is
    the root that heads share, if it is to be another than the usual.
    """

    def __init__(
        self,
        size: int,
        *,
        folder: Path,
        tools: bool = False,
        kept: bool = False,
        disk_size: int = 8 << 30,
        lower: Path | None = None,
    ) -> None:
        if not 1 <= size <= MOST_HEADS:
            raise LabError(f"a lab has 1 to {MOST_HEADS} heads, not {size}")
        self.size = size
        self.folder = folder.absolute()
        self.key = self.folder / "id"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.heads: tuple[LabHead, ...] = ()
        self.names: Names | None = None
        self._tools, self._kept, self._disk_size = tools, kept, disk_size
        self._lower = lower
        self._lock: IO[str] | None = None

    @classmethod
    def attach(cls, number: int) -> Lab:
        """Take hold of a lab that is up.

        Raises:
            LabError: if there is none of this number.
        """
        names = Names(number)
        record = claims.Record.read(names)
        if record is None:
            raise LabError(f"there is no lab {number}")
        lab = cls(record.size, folder=record.folder, kept=record.kept)
        lab._place(names, record.root)
        return lab

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Boot all heads and wait until each lets its operators in.

        Raises:
            LabError: if one does not; what there is of the lab is gone then.
        """
        lower = self._lower or root(tools=self._tools)
        self.folder.mkdir(parents=True, exist_ok=True)
        record = claims.Record(self.folder, self.size, lower, self._kept)
        names, self._lock = claims.claim(record)
        try:
            network.up(names, self.size)
            self._place(names, lower)
            self._write_access()
            for head in self.heads:
                head.start()
            for head in self.heads:
                head.wait_ssh()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End the lab; nothing of it is left but keys and logs in its folder."""
        if self.names is not None:
            claims.end(self.names)
        for head in self.heads:
            head.reap()
        if self._lock is not None:
            self._lock.close()
        self.names, self._lock = None, None

    def _place(self, names: Names, lower: Path) -> None:
        self.names = names
        self.heads = tuple(
            LabHead(names, index, self.folder, lower, self.ssh_config, self.size, self._disk_size)
            for index in range(1, self.size + 1)
        )

    def _write_access(self) -> None:
        shutil.copy(keys.user_key(), self.key)
        self.key.chmod(0o600)
        known = [
            f"{head.name},{head.address} {keys.public(key)}\n"
            for head in self.heads
            for key in keys.host_keys(head.index).values()
        ]
        self.known_hosts.write_text("".join(known))
        hosts = [f"Host {head.name}\n  HostName {head.address}\n" for head in self.heads]
        self.ssh_config.write_text("".join(hosts) + self._ssh_defaults())

    def _ssh_defaults(self) -> str:
        return (
            f"Host *\n  User root\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n  BatchMode yes\n  ConnectTimeout 10\n"
            "  LogLevel ERROR\n"
        )


def available() -> str | None:
    """Tell why this machine cannot have a lab, or None if it can."""
    if os.geteuid() != 0:
        return "a lab of heads needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"a lab of heads needs {', '.join(missing)}"
    if not _capable():
        return "a lab of heads needs CAP_SYS_ADMIN"
    hierarchy = cgroups.unified()
    if hierarchy is None or not os.access(hierarchy, os.W_OK):
        return "a lab of heads needs cgroup2, mounted to be written"
    if not Path("/dev/loop-control").exists():
        return "a lab of heads needs loop devices"
    return None


def _capable() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _SYS_ADMIN & 1)
