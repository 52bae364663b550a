"""A transfer host as bare as can be: a Debian with no Python, no ssh, and no net but the heads'.

It shares the kernel with this machine and nothing else: its root is an overlay over one made
once, its net has one link, to the lab's bridge. No init runs in it; a sleeping process holds its
namespaces, and the host is gone when that one is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.root import SUITE, cache
from tests.lab.shell import LabError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.lab import Lab
    from tests.lab.names import Names

ADDRESS = 2
"""The last byte of the transfer host's address; the lab's own end of the bridge has 1."""
SITE = "/srv/site"
"""Where the site's settings lie; it is also the working directory of commands."""
MEDIUM = "/mnt/medium"
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
)
FOREIGN = ("python3", "pip", "ssh", "ssh-keygen", "nft", "ip", "curl", "rsync", "zstd")
"""What it has not got; a test asks for each."""
# Mounts are this process's own from here on; they end with it.
HOLD = """\
set -e
root=$1 lower=$2 upper=$3
mount --make-rprivate /
mount -t overlay sealift-bare -o "lowerdir=$lower,upperdir=$upper/upper,workdir=$upper/work" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for each in null zero full random urandom tty; do
  : > "$root/dev/$each"
  mount --bind "/dev/$each" "$root/dev/$each"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -p "$root/sys"
exec sleep infinity
"""


class TransferHost:
    """A bare machine on a lab's net. Commands in it run as root, with a site to work in."""

    def __init__(self, names: Names, folder: Path, holder: subprocess.Popen[bytes]) -> None:
        self.names = names
        self._folder = folder
        self._holder = holder

    @property
    def address(self) -> str:
        """Its address on the heads' net."""
        return self.names.transfer.rpartition(".")[0] + f".{ADDRESS}"

    @property
    def root(self) -> Path:
        """Its file system, as this machine reads it."""
        return Path(f"/proc/{self._inner}/root") / str(self._folder / "root").lstrip("/")

    def begin(self, *argv: str, cwd: str = SITE) -> subprocess.Popen[str]:
        """Start a program in it."""
        return subprocess.Popen(
            self._argv(argv, cwd), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(
        self, *argv: str, check: bool = True, cwd: str = SITE
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in it to its end.

        Raises:
            LabError: with what it said, if `check` and its exit status is not 0.
        """
        return run(*self._argv(argv, cwd), check=check, timeout=1800)

    def bring(self, file: Path, to: str) -> None:
        """Copy a file to it, as by a medium that is carried across."""
        target = self.root / to.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)

    def fetch(self, file: str, to: Path) -> Path:
        """Copy a file from it, as by a medium that is carried back."""
        shutil.copy(self.root / file.lstrip("/"), to)
        return to

    @property
    def _inner(self) -> int:
        """The process that is number 1 in it."""
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        return int(children.read_text().split()[0])

    def _argv(self, argv: tuple[str, ...], cwd: str) -> tuple[str, ...]:
        enter = ("nsenter", f"--target={self._inner}", "-m", "-n", "-p", "-i", "-u", "--")
        inside = ("chroot", str(self._folder / "root"), "/usr/bin/env", "-i", f"--chdir={cwd}")
        return (*enter, *inside, *ENVIRONMENT, *argv)


@contextmanager
def transfer_host(lab: Lab, folder: Path) -> Iterator[TransferHost]:
    """Have a bare transfer host on a lab's net; all of it but what lies in `folder` is gone after.

    Raises:
        LabError: it does not come up.
    """
    names = lab.names
    if names is None:
        raise LabError("the lab is not up")
    for name in ("root", "disk/upper", "disk/work"):
        (folder / name).mkdir(parents=True)
    lower = bare_root()
    argv = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
    holder = subprocess.Popen(
        (*argv, "sh", "-c", HOLD, "sh", str(folder / "root"), str(lower), str(folder / "disk")),
        stdin=subprocess.DEVNULL,
    )
    host = TransferHost(names, folder, holder)
    try:
        _await(host)
        _link(host, names)
        for place in (SITE, MEDIUM):
            host.run("mkdir", "-p", place, cwd="/")
        yield host
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        run("ip", "link", "delete", link(names), check=False)


def link(names: Names) -> str:
    """Name this machine's end of the host's link; a link's name has 15 letters at most."""
    return f"l{names.number}-transfer"


def bare_root() -> Path:
    """Hand back the root that bare hosts share, made if it is not there."""
    final = cache() / f"bare-{SUITE}"
    final.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent / "bare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.is_dir():
            _make(final)
    return final


def _make(final: Path) -> None:
    unfinished = final.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    mirror = os.environ.get("SEALIFT_LAB_MIRROR")
    run(
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", *left_out,
        SUITE, str(unfinished), *([mirror] if mirror else []), timeout=1800,
    )  # fmt: skip
    for name in ("etc/apt/sources.list", "etc/resolv.conf"):
        (unfinished / name).unlink(missing_ok=True)
    (unfinished / "etc/hostname").write_text("transfer\n")
    (unfinished / "etc/hosts").write_text("127.0.0.1 localhost transfer\n")
    unfinished.rename(final)


def _await(host: TransferHost, seconds: float = 20.0) -> None:
    """Wait until all is mounted; the holder is `sleep` from then on."""
    end = time.monotonic() + seconds
    while True:
        try:
            if Path(f"/proc/{host._inner}/comm").read_text() == "sleep\n":
                return
        except (OSError, IndexError):
            pass
        if time.monotonic() > end:
            raise LabError("the transfer host does not come up")
        time.sleep(0.02)


def _link(host: TransferHost, names: Names) -> None:
    """Give it its one link: to the bridge of the heads, with no way to anywhere else."""
    inner = host._inner
    inside = ("nsenter", f"--target={inner}", "-n", "--", "ip")
    ours = link(names)
    run("ip", "link", "delete", ours, check=False)
    run("ip", "link", "add", ours, "type", "veth", "peer", "name", "net0", "netns", str(inner))
    run("ip", "link", "set", ours, "master", names.bridge, "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{host.address}/24", "dev", "net0")
    run(*inside, "link", "set", "net0", "up")
    # As with the heads, a packet to anywhere is sent, and seen, and goes no further.
    run(*inside, "route", "add", "default", "via", names.transfer)
