"""Who listens where, and which port belongs to whom."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deploy.errors import BadReleaseError
from deploy.ports import command, listeners, owners, parse
from deploy.programs import ports
from deploy.release_file import load
from deploy.settings import Settings
from tests.deploy.synthetic import Site, Tiny

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 333 1
   3: 0200A8C0:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1
"""


def test_the_kernel_s_table() -> None:
    assert parse(TABLE, {8080, 80, 443}) == {"111": 8080, "222": 80}


def test_who_waits_for_datagrams_counts_and_who_speaks_to_one_does_not() -> None:
    waits = TABLE.replace(" 0A ", " 07 ", 1)
    assert parse(waits, {8080, 80}, protocol="udp") == {"111": 8080}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert [each.pid for each in owners((), (port,))] == [os.getpid()]
        assert not owners((port,))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_listener_of_ours(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        (found,) = listeners([port])
    assert (found.port, found.pid, found.group) == (port, os.getpid(), os.getpgid(0))
    assert found.command == command(os.getpid())
    assert listeners([port]) == ()


def test_every_program_has_a_port_of_its_own(web_site: Site) -> None:
    release = load(web_site.release(Tiny("alpha", 5000), Tiny("beta", 6000)))
    assert ports(release, Settings(port=8080, port_offset=1)) == {
        5001: "alpha",
        6001: "beta",
        8080: "nginx",
    }
    with pytest.raises(BadReleaseError, match="nginx wants port 5000, as alpha does"):
        ports(release, Settings(port=5000))
    with pytest.raises(BadReleaseError, match="wants port 65600, which there is not"):
        ports(release, Settings(port_offset=60600))
    assert Path("/proc/net/tcp").exists()
