"""The transport against heads of the lab: sudo, a gateway, links that are cut, keys that change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.host import Host
from deploy.route import ALIVE, MISSED, Ssh
from deploy.ssh_errors import HostKeyError, LostError, UnreachableError
from deploy.transport import connect

if TYPE_CHECKING:
    from tests.lab.fixtures import MakeLab
    from tests.lab.head import LabHead
    from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
NOTICED = ALIVE * MISSED + 10.0
"""Seconds in which a dead link must be noticed."""


@pytest.fixture(scope="module")
def lab(make_shared_lab: MakeLab) -> Lab:
    return make_shared_lab(2)


@pytest.fixture
def ssh(lab: Lab) -> Ssh:
    return Ssh(lab.known_hosts, 5.0, Path("/dev/null"))


def host(lab: Lab, head: LabHead, *, user: str = "root", gateway: Host | None = None) -> Host:
    address = str(head.address)
    return Host(head.name, address=address, written=True, user=user, key=lab.key, gateway=gateway)


def test_who_is_not_root_becomes_it(lab: Lab, ssh: Ssh) -> None:
    with connect(host(lab, lab.heads[0], user="operator"), ssh) as connection:
        assert connection.run(["id", "-un"], timeout=20).stdout == b"root\n"
        assert connection.run(["id", "-un"], timeout=20, root=False).stdout == b"operator\n"
        assert connection.script("id -un; echo $1", ["a b"], timeout=20).stdout == b"root\na b\n"
        with connection.channel(["id", "-un"]) as channel:
            assert list(channel.lines(20)) == [b"root"]
        with connection.data(["id", "-un"]) as data:
            assert (data.reader.read(), data.status()) == (b"root\n", 0)


def test_one_head_is_the_gateway_of_another(lab: Lab, ssh: Ssh) -> None:
    one, two = lab.heads
    behind = host(lab, two, gateway=host(lab, one, user="operator"))
    with connect(behind, ssh) as connection, connection.data(["hostname"]) as data:
        assert connection.run(["hostname"], timeout=20).stdout.decode().strip() == two.name
        assert data.reader.read().decode().strip() == two.name
        said = connection.run(["sh", "-c", "echo $SSH_CONNECTION"], timeout=20).stdout.decode()
    assert said.split()[0] == str(one.address)


@pytest.mark.parametrize("stop", ["partition", "freeze"])
def test_nobody_is_waited_for_without_end(lab: Lab, ssh: Ssh, stop: str) -> None:
    """A link that is cut, and a head that hangs while its kernel goes on to answer."""
    head = lab.heads[0]
    start = {"partition": head.heal, "freeze": head.thaw}[stop]
    with (
        connect(host(lab, head), ssh) as connection,
        connection.channel(["cat"]) as channel,
    ):
        getattr(head, stop)()
        try:
            began = time.monotonic()
            with pytest.raises(LostError):
                connection.run(["true"], timeout=2)
            with pytest.raises(UnreachableError):
                connect(host(lab, head), ssh)
            assert next(channel.lines(1)) is None
            assert time.monotonic() - began < 3 * ssh.connect_timeout
        finally:
            start()
        assert connection.run(["true"], timeout=30).status == 0


@pytest.mark.slow
def test_a_dead_link_is_noticed(lab: Lab, ssh: Ssh) -> None:
    """Both ways of speaking to it, in seconds, and not in TCP's quarter of an hour."""
    head = lab.heads[0]
    with (
        connect(host(lab, head), ssh) as connection,
        connection.channel(["cat"]) as channel,
        connection.data(["cat"]) as data,
    ):
        head.partition()
        try:
            began = time.monotonic()
            assert list(filter(None, channel.lines(1))) == []
            with pytest.raises(LostError):
                channel.send(b"x\n")
            assert data.reader.read() == b""
            with pytest.raises(LostError):
                data.status()
            assert time.monotonic() - began < NOTICED
        finally:
            head.heal()


def test_a_head_that_is_off(lab: Lab, ssh: Ssh) -> None:
    head = lab.heads[1]
    head.partition()
    try:
        began = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            connect(host(lab, head), ssh)
        assert time.monotonic() - began < ssh.connect_timeout + 3
        assert caught.value.where == head.name
    finally:
        head.heal()


def test_a_head_with_another_key(make_lab: MakeLab) -> None:
    lab = make_lab(1)
    ssh = Ssh(lab.known_hosts, 5.0, Path("/dev/null"))
    head = lab.heads[0]
    with connect(host(lab, head), ssh) as connection:
        head.change_host_keys()
        with connection.data(["true"]) as data, pytest.raises(HostKeyError):
            data.status()
    with pytest.raises(HostKeyError) as caught:
        connect(host(lab, head), ssh)
    assert caught.value.hint is not None
    assert f"sealift trust {head.name} --replace" in caught.value.hint
