"""A root with Debian packages in it, so that tests of what comes after dpkg begin in seconds.

It is made from an apt repository of a store, which pins every version, once for each such set, and
kept beside the root that it is a copy of. Nothing of it starts at boot, as after an install by
sealift, and what a package makes for one machine alone, such as a key, is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.root import alone, cache
from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1
USERS = {"slurm": 64001, "munge": 64002}
"""Users of whom sites say which numbers they have; packages would take others."""
REPOSITORY = "var/tmp/packages"
OWN = ("etc/munge/munge.key", "var/lib/glusterd/glusterd.info")
"""Files that are made once for each machine."""
UNUSED = 3 * 86_400
"""Seconds after which a layer that nobody asked for is removed."""
POLICY = "#!/bin/sh\nexit 101\n"
# Arguments: the repository, then what apt is to install.
INSTALL = """\
set -e
repository=$1
shift
own=/run/packages
mkdir -p $own/lists/partial $own/cache/archives/partial
echo "deb [trusted=yes] file:/$repository ./" > $own/list
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
get() {
  apt-get -q -o Dir::Etc::sourcelist=$own/list -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists=$own/lists -o Dir::Cache=$own/cache -o APT::Sandbox::User=root \
    -o APT::Install-Recommends=0 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}
get update
get install --yes "$@"
"""


def layer(below: Path, lock: str, repository: Callable[[], Path]) -> Path:
    """Hand back a root that is `below` with all that a set of packages was asked for.

    `lock` is the text by which the set is known. Only if there is no such layer yet `repository`
    is called, for the folder that a recipe of kind `apt` makes.
    """
    with alone(cache()):
        final = cache() / f"layer-{_digest(below, lock)}"
        if not final.is_dir():
            _make(below, repository(), final)
        os.utime(final)
        _forget_unused()
    return final


def _digest(below: Path, lock: str) -> str:
    recipe = json.dumps([VERSION, below.name, lock, USERS, OWN, INSTALL])
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _make(below: Path, repository: Path, final: Path) -> None:
    top = final.with_suffix(".unfinished")
    shutil.rmtree(top, ignore_errors=True)
    run("cp", "--archive", "--reflink=auto", str(below), str(top))
    for name, number in USERS.items():
        run("chroot", str(top), "groupadd", "--gid", str(number), name)
        run("chroot", str(top), "useradd", "--system", "--uid", str(number), "--gid", name,
            "--home-dir", f"/var/lib/{name}", "--no-create-home", "--shell", "/usr/sbin/nologin",
            name)  # fmt: skip
    enabled = _enabled(top)
    _install(top, repository)
    added = sorted(_enabled(top) - enabled)
    run("chroot", str(top), "systemctl", "--quiet", "disable", *added)
    for name in OWN:
        (top / name).unlink(missing_ok=True)
    (top / "etc/machine-id").write_text("")
    top.rename(final)


def _install(top: Path, repository: Path) -> None:
    """Install what the set was asked for, and what that depends on, with nothing started."""
    # The pool links to store paths, which are not in the root.
    run("cp", "--recursive", "--dereference", str(repository), str(top / REPOSITORY))
    policy = top / "usr/sbin/policy-rc.d"
    policy.write_text(POLICY)
    policy.chmod(0o755)
    known = json.loads((repository / "sealift.json").read_text())
    asked = [f"{name}={known['packages'][name]}" for name in known["asked"]
             if name in known["packages"]]  # fmt: skip
    run(
        "systemd-nspawn", "--quiet", f"--directory={top}", "--register=no", "--keep-unit",
        "--private-network", "--pipe", "--resolv-conf=off", "--timezone=off",
        "sh", "-c", INSTALL, "sh", REPOSITORY, *asked, timeout=1800,
    )  # fmt: skip
    policy.unlink()
    shutil.rmtree(top / REPOSITORY)


def _enabled(top: Path) -> set[str]:
    return {link.name for link in top.glob("etc/systemd/system/*.wants/*")}


def _forget_unused() -> None:
    """Remove the layers that nobody asked for in days, unless a head stands on one."""
    mounted = Path("/proc/self/mountinfo").read_text()
    for other in cache().glob("layer-*"):
        if other.stat().st_mtime < time.time() - UNUSED and str(other) not in mounted:
            shutil.rmtree(other)
