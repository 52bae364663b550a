"""How hosts are reached: what OpenSSH makes of the user's configuration, and what we make of it."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import which

import pytest

from deploy.host import Host
from deploy.route import Hop, Ssh, alias, config, route
from deploy.ssh_errors import TransportError
from store.errors import InputError

pytestmark = pytest.mark.skipif(which("ssh") is None, reason="needs ssh (openssh-client)")
ME = pwd.getpwuid(os.geteuid())


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    return Ssh(tmp_path / "known_hosts", 7.0, tmp_path / "config")


def say(ssh: Ssh, text: str) -> None:
    assert ssh.config is not None
    ssh.config.write_text(text)


def test_what_nobody_says_is_openssh_s(ssh: Ssh) -> None:
    say(ssh, "")
    (hop,) = route(Host("head1", address="head1"), ssh)
    assert (hop.address, hop.port, hop.user, hop.only) == ("head1", 22, ME.pw_name, False)
    assert hop.pin == "head1"
    assert all(file.is_file() for file in hop.identities)


def test_what_the_configuration_says(ssh: Ssh, tmp_path: Path) -> None:
    key = tmp_path / "id head"
    key.touch()
    say(
        ssh,
        f'Host head1\n HostName 10.0.0.1\n Port 2222\n User ops\n IdentityFile "{key}"\n'
        " IdentityFile ~/nowhere/none\n IdentitiesOnly yes\n",
    )
    (hop,) = route(Host("head1", address="head1"), ssh)
    assert hop == Hop("head1", "10.0.0.1", 2222, "ops", (key,), only=True)
    assert hop.pin == "[10.0.0.1]:2222"


def test_what_the_inventory_says_goes_before_it(ssh: Ssh, tmp_path: Path) -> None:
    (tmp_path / "id").touch()
    say(ssh, "Host *\n HostName 10.9.9.9\n Port 2222\n User ops\n IdentityFile ~/x\n")
    host = Host(
        "head1", address="10.0.0.1", written=True, user="root", port=22, key=tmp_path / "id"
    )
    assert route(host, ssh) == (
        Hop("head1", "10.0.0.1", 22, "root", (tmp_path / "id",), only=True),
    )


def test_tokens_in_key_files(ssh: Ssh) -> None:
    home = Path(ME.pw_dir)
    say(ssh, f"Host *\n IdentityFile {home}/../%%{ME.pw_name}\n IdentityFile %d/.\n")
    assert route(Host("h", address="h"), ssh)[0].identities == ()


def test_gateways_of_the_configuration(ssh: Ssh) -> None:
    say(
        ssh,
        "Host head1\n ProxyJump a,ops@b:2222\n"
        "Host a\n HostName 10.0.0.9\n ProxyJump outer\n"
        "Host b\n Port 1\n User nobody\n ProxyJump never\n",
    )
    hops = route(Host("head1", address="head1"), ssh)
    assert [(hop.address, hop.port) for hop in hops] == [
        ("outer", 22),
        ("10.0.0.9", 22),
        ("b", 2222),
        ("head1", 22),
    ]
    assert hops[2].user == "ops"


def test_the_inventory_s_gateway_goes_before_it(ssh: Ssh) -> None:
    say(ssh, "Host head1\n ProxyJump a\n ProxyCommand none\n")
    gate = Host("jump", address="10.0.0.9", written=True)
    hops = route(Host("head1", address="head1", gateway=gate), ssh)
    assert [hop.address for hop in hops] == ["10.0.0.9", "head1"]


def test_a_gateway_for_all_is_one_for_itself_too(ssh: Ssh) -> None:
    """OpenSSH does not take this either; it says so itself."""
    say(ssh, "Host *\n ProxyJump jump\n")
    with pytest.raises(InputError) as caught:
        route(Host("head1", address="head1"), ssh)
    assert caught.value.got == "jumphost loop via jump"
    say(ssh, "Host * !jump\n ProxyJump ssh://ops@jump:2222\n")
    hops = route(Host("head1", address="head1"), ssh)
    assert [(hop.user, hop.pin) for hop in hops] == [
        ("ops", "[jump]:2222"),
        (hops[1].user, "head1"),
    ]


def test_gateways_without_end(ssh: Ssh) -> None:
    say(ssh, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(TransportError, match="without end"):
        route(Host("a", address="a"), ssh)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Host *\n ProxyCommand nc %h %p\n", "a ProxyCommand is not taken"),
        ("Host *\n Nonsense yes\n", "cannot be read"),
        ("Host *\n User a;b\n", "says what is not taken"),
        ("Host *\n HostName a/b\n", "says what is not taken"),
        ("Host *\n ProxyJump a/b\n", "is no gateway|cannot be read"),
    ],
)
def test_what_is_not_taken(ssh: Ssh, text: str, reason: str) -> None:
    say(ssh, text)
    with pytest.raises(InputError, match=reason):
        route(Host("head1", address="head1"), ssh)


def test_a_configuration_that_is_not_there(ssh: Ssh) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        route(Host("head1", address="head1"), ssh)


def test_what_openssh_is_told(tmp_path: Path) -> None:
    """Read back by OpenSSH itself; every hop is as strict as the last."""
    key = tmp_path / "100% my key"
    ssh = Ssh(tmp_path / "known 100% hosts", 7.4)
    hops = (
        Hop("jump", "10.0.0.9", 2222, "ops", (), only=False),
        Hop("head1", "fe80::1", 22, "root", (key,), only=True),
    )
    file = tmp_path / "config"
    file.write_text(config(hops, ssh))
    assert alias(hops) == "hop-1"
    strict = {
        "stricthostkeychecking": "true",
        "userknownhostsfile": str(ssh.known_hosts),
        "globalknownhostsfile": "/dev/null",
        "batchmode": "yes",
        "updatehostkeys": "false",
        "connecttimeout": "7",
        "serveraliveinterval": "5",
        "preferredauthentications": "publickey",
        "forwardagent": "no",
        "controlmaster": "false",
    }
    head, jump = _read(file, "hop-1"), _read(file, "hop-0")
    assert strict.items() <= head.items()
    assert strict.items() <= jump.items()
    assert head["hostname"] == "fe80::1"
    assert head["proxyjump"] == "hop-0"
    assert head["identitiesonly"] == "yes"
    assert head["identityfile"].replace("%%", "%") == str(key)
    assert (jump["hostname"], jump["port"], jump["user"]) == ("10.0.0.9", "2222", "ops")
    assert "proxyjump" not in jump


@pytest.mark.parametrize("name", ['a"b', "a\nb", "${HOME}"])
def test_paths_that_ssh_would_read_otherwise(tmp_path: Path, name: str) -> None:
    hop = Hop("h", "h", 22, "root", (), only=False)
    ssh = Ssh(tmp_path / name)
    with pytest.raises(InputError, match="cannot be named to ssh"):
        config((hop,), ssh)
    with pytest.raises(InputError, match="cannot be named to ssh"):
        config((replace(hop, identities=(tmp_path / name,)),), Ssh(tmp_path / "x"))


def _read(file: Path, name: str) -> dict[str, str]:
    said = subprocess.run(
        ["ssh", "-G", "-F", str(file), name], check=True, capture_output=True, text=True
    )
    pairs = (line.partition(" ") for line in said.stdout.splitlines())
    return {key: value for key, _, value in pairs}
