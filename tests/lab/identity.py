"""What tells a head from its neighbours: name, address, machine id, keys it has and admits.

Beside it the devices that a machine on iron has and a container has not.

It is written to the head's own disk before the first boot, so the root that heads share stays as
it was made.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from tests.lab import keys
from tests.lab.root import OPERATOR

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.names import Names

NETWORK = """\
[Match]
Name=host0
[Network]
Address={address}/24
Gateway={transfer}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
# GlusterFS mounts by it. A node of the head's own: a bind would let the head change this machine's.
DEVICES = "c /dev/fuse 0666 - - - 10:229\n"


def settle(root: Path, names: Names, head: int, neighbours: int) -> None:
    """Make a fresh root that of one head of a lab."""
    for name, text in files(names, head, neighbours).items():
        _write(root / name, text)
    admitted = keys.public(keys.user_key()) + "\n"
    _write(root / "root/.ssh/authorized_keys", admitted, private=True)
    _write(root / "home/operator/.ssh/authorized_keys", admitted, private=True, owner=OPERATOR)
    for name, key in keys.host_keys(head).items():
        _write(root / "etc/ssh" / name, key.read_text(), private=True)
        _write(root / "etc/ssh" / f"{name}.pub", keys.public(key) + "\n")


def files(names: Names, head: int, neighbours: int) -> dict[str, str]:
    """Write the files by which a head knows itself and the others, by their paths."""
    others = [f"{names.address(other)} head{other}" for other in range(1, neighbours + 1)]
    hosts = ["127.0.0.1 localhost", f"{names.transfer} transfer", *others]
    network = NETWORK.format(address=names.address(head), transfer=names.transfer)
    return {
        "etc/hostname": f"head{head}\n",
        "etc/hosts": "\n".join(hosts) + "\n",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/resolv.conf": f"nameserver {names.transfer}\n",
        "etc/systemd/network/10-host0.network": network,
        "etc/tmpfiles.d/devices.conf": DEVICES,
    }


def _write(path: Path, text: str, *, private: bool = False, owner: int = 0) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, mode=0o700 if private else 0o755)
        os.chown(path.parent, owner, -1)
    path.write_text(text)
    path.chmod(0o600 if private else 0o644)
    os.chown(path, owner, -1)
