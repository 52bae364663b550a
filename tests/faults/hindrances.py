"""What may be in the way of a cluster: put on a head, refused by its name, and taken away."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.asked import says

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.lab.head import LabHead

BRICK = "/srv/gluster/brick"
PORT = "24007"
FOREIGN = """\
Package: foreign
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Conflicts: haproxy
Description: what cannot be beside a package of the cluster
"""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Something in the way on the head of this index; commands put it there and take it away."""

    slug: str
    index: int
    put: Callable[[LabHead], object]
    take: tuple[str, ...]


@contextmanager
def in_the_way(every: Iterable[Hindrance], heads: Sequence[LabHead]) -> Iterator[None]:
    """Have things in the way, until the context is left."""
    with ExitStack() as stack:
        for each in every:
            script = "\n".join(("set -e", *each.take))
            stack.callback(says, heads[each.index], "sh", "-c", script)
            each.put(heads[each.index])
        yield


def _password(head: LabHead) -> None:
    """Let a MariaDB run whose root has a password that nobody told."""
    script = """\
set -e
cp -a /var/lib/mysql /root/mysql
systemctl start mariadb
mariadb --execute="ALTER USER root@localhost IDENTIFIED BY 'somebody-elses'"
"""
    says(head, "sh", "-c", script)


def _brick(head: LabHead) -> None:
    says(head, "mkdir", "-p", f"{BRICK}/of-something-else")


def _port(head: LabHead) -> None:
    listens = ("socat", f"TCP-LISTEN:{PORT},fork,reuseaddr", "EXEC:true")
    says(head, "systemd-run", "--collect", "--unit=foreign", *listens)


def _conflict(head: LabHead) -> None:
    """Install a package beside which one of the cluster's cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "foreign/DEBIAN/control"
        control.parent.mkdir(parents=True)
        control.write_text(FOREIGN)
        made = Path(folder) / "foreign.deb"
        subprocess.run(
            ("dpkg-deb", "--build", str(control.parents[1]), str(made)),
            check=True, capture_output=True,
        )  # fmt: skip
        says(head, "sh", "-c", "cat > /root/foreign.deb", given=made.read_bytes())
    says(head, "dpkg", "--purge", "haproxy")
    says(head, "dpkg", "--install", "/root/foreign.deb")


def _clock(head: LabHead) -> None:
    """Let what tells the time be ten minutes ahead: heads of a lab share one clock."""
    script = "#!/bin/sh\nexec /usr/bin/date --date='10 minutes' \"$@\"\n"
    says(
        head, "sh", "-c", "cat > /usr/sbin/date && chmod 755 /usr/sbin/date", given=script.encode()
    )


HINDRANCES = (
    Hindrance(
        "wrong-password", 1, _password,
        ("systemctl stop mariadb", "rm -rf /var/lib/mysql", "mv /root/mysql /var/lib/mysql"),
    ),
    Hindrance("brick-in-use", 2, _brick, (f"rm -r {BRICK}",)),
    Hindrance("port-taken", 0, _port, ("systemctl stop foreign.service",)),
    Hindrance("package-conflict", 1, _conflict, ("dpkg --purge foreign",)),
)  # fmt: skip
CLOCK = Hindrance("head-refused", 2, _clock, ("rm /usr/sbin/date",))
"""Heads whose clocks differ are not even asked for the rest."""
