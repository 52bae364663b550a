"""The minimal Debian root that all heads share, made once and kept in the user's cache.

It has systemd, sshd, sudo, the tools to look at a net, and nothing else: no Python, no certificate
authorities, no package sources. With `tools` it has the programs that figures are compared with.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo",
    "iproute2", "nftables", "procps",
)  # fmt: skip
TOOLS = ("rsync", "nix-bin", "curl", "wrk", "zstd", "nginx-light")
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "fstrim.timer", "systemd-networkd-wait-online.service", "getty@tty1.service",
    "console-getty.service", "e2scrub_reap.service", "systemd-pstore.service",
)  # fmt: skip
# What the tools would start of their own is not part of a head.
DISABLED = ("nginx.service", "rsync.service", "nix-daemon.socket", "nix-daemon.service")
FILES = {
    "etc/sudoers.d/operator": "operator ALL=(ALL:ALL) NOPASSWD: ALL\n",
    "etc/ssh/sshd_config.d/lab.conf": "PasswordAuthentication no\nUseDNS no\n",
    "etc/resolv.conf": "",
    "etc/machine-id": "",
    "etc/default/locale": "LANG=C.UTF-8\n",
}
OPERATOR = 1000


def cache() -> Path:
    """Name the folder that outlives labs."""
    chosen = os.environ.get("SEALIFT_LAB")
    return Path(chosen) if chosen else Path.home() / ".cache" / "sealift-lab"


def root(*, tools: bool = False) -> Path:
    """Hand back the root, made if it is not there or if its recipe is another."""
    packages = (*PACKAGES, *TOOLS) if tools else PACKAGES
    final = cache() / f"root-{digest(packages)}"
    with alone(cache()):
        if not final.is_dir():
            _make(packages, final)
    return final


def digest(packages: tuple[str, ...]) -> str:
    """Name a recipe: packages and all that is changed after them."""
    recipe = json.dumps([2, SUITE, packages, MASKED, DISABLED, FILES, OPERATOR])
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _make(packages: tuple[str, ...], final: Path) -> None:
    unfinished = final.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    mirror = os.environ.get("SEALIFT_LAB_MIRROR")
    run(
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
        f"--include={','.join(packages)}", *left_out, SUITE, str(unfinished),
        *([mirror] if mirror else []), timeout=1800,
    )  # fmt: skip
    _settle(unfinished)
    unfinished.rename(final)
    _forget_others()


def _forget_others() -> None:
    """Remove the roots of recipes that are no more, unless a head stands on one."""
    mounted = Path("/proc/self/mountinfo").read_text()
    current = {f"root-{digest(packages)}" for packages in (PACKAGES, (*PACKAGES, *TOOLS))}
    for other in cache().glob("root-*"):
        if other.name not in current and str(other) not in mounted:
            shutil.rmtree(other)


def _settle(top: Path) -> None:
    run("chroot", str(top), "useradd", "-m", "-u", str(OPERATOR), "-s", "/bin/bash",
        "-g", "operator", "operator")  # fmt: skip
    for name in ("etc/apt/sources.list", "etc/hostname", "etc/resolv.conf"):
        (top / name).unlink(missing_ok=True)
    for path in (*top.glob("etc/ssh/ssh_host_*"), *top.glob("etc/apt/sources.list.d/*")):
        path.unlink()
    for name, text in FILES.items():
        (top / name).write_text(text)
    (top / "etc/sudoers.d/operator").chmod(0o440)
    for unit in MASKED:
        _link("/dev/null", top / "etc/systemd/system" / unit)
    for unit in DISABLED:
        for wants in top.glob("etc/systemd/system/*.wants"):
            (wants / unit).unlink(missing_ok=True)
    _link("/lib/systemd/system/multi-user.target", top / "etc/systemd/system/default.target")
    wants = top / "etc/systemd/system/multi-user.target.wants"
    _link("/lib/systemd/system/systemd-networkd.service", wants / "systemd-networkd.service")


def _link(target: str, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make something in the cache while nobody else does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
