"""What a head is before it becomes part of a cluster, told by a script that runs anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from deploy.install import machine
from deploy.phases import ground
from deploy.phases.errors import PhaseError

TOLD = """\
clock 1763911111.5
bounding 00000000fdecbfff
absent net/none
fixed vm/swappiness 60
set net/core/somaxconn 4096
set net/ipv4/tcp_rmem 4096	131072	6291456
host 127.0.0.1 localhost
host 10.0.0.9   license license.example.org
ssh 22
user 10.0.0.1 51000 10.0.0.11 2222
listens LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=1,fd=3))
listens LISTEN 0      128             [::]:22           [::]:*    users:(("sshd",pid=1,fd=4))
listens LISTEN 0      128        127.0.0.1:6010      0.0.0.0:*    users:(("sshd",pid=99,fd=9))
listens LISTEN 0      4096               *:9100            *:*  users:(("node_exporter",pid=7,fd=3))
keeps systemd-timesyncd
memlock no
end here
"""


def test_what_the_script_tells_is_read() -> None:
    found = ground.parse(TOLD)
    assert found.clock == 1763911111.5
    assert found.settings["net/none"].value is None
    assert found.settings["vm/swappiness"] == ground.Setting("60", writable=False)
    assert found.settings["net/core/somaxconn"].writable
    assert ("license.example.org", "10.0.0.9") in found.names
    assert not found.memlock
    assert not found.apparmor
    assert found.timekeepers == ("systemd-timesyncd",)


def test_ports_of_sshd_are_those_of_its_sockets_and_by_which_somebody_came() -> None:
    found = ground.parse(TOLD)
    assert found.ssh == {22, 2222}, "what is forwarded on loopback lets nobody in"
    assert found.listening[9100] == "node_exporter"
    assert 6010 not in found.listening


def test_the_port_by_which_the_operator_came_counts_whoever_listens_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 51000 10.0.0.11 2345")
    done = machine.run(("sh", "-c", ground.SCRIPT, "sh"))
    assert 2345 in ground.parse(done.stdout.decode()).ssh


def test_a_program_of_a_head_is_asked_for_by_the_connection_that_sudo_does_not_pass_on() -> None:
    ask = "from deploy.install import machine; print(machine.run(['env']).stdout.decode())"
    env = {**os.environ, "SSH_CONNECTION": "10.0.0.1 51000 10.0.0.11 2345"}
    argv = ("sh", "-c", 'env -u SSH_CONNECTION "$@"; :', "sh", sys.executable, "-c", ask)
    told = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert "SSH_CONNECTION=10.0.0.1 51000 10.0.0.11 2345" in told.stdout.splitlines()


@pytest.mark.parametrize("own", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_who_came_from_the_head_itself_needs_no_open_port(own: str) -> None:
    assert ground.parse(f"user {own} 51000 {own} 2299\n{TOLD}").ssh == {22, 2222}


def test_another_server_than_openssh_lets_operators_in_too() -> None:
    line = 'listens LISTEN 0 128 0.0.0.0:2022 0.0.0.0:* users:(("dropbear",pid=1,fd=3))'
    assert ground.parse(f"{line}\n{TOLD}").ssh == {22, 2022, 2222}


def test_without_ss_the_settings_of_sshd_count() -> None:
    lines = [line for line in TOLD.splitlines() if not line.startswith(("listens", "user"))]
    assert ground.parse("\n".join(lines)).ssh == {22}


def test_a_socket_of_systemd_is_where_sshd_listens() -> None:
    assert ground.parse(f"socket [::]:2200 (Stream)\n{TOLD}").ssh == {22, 2200, 2222}


def test_half_an_answer_is_refused() -> None:
    with pytest.raises(PhaseError, match="does not tell"):
        ground.parse(TOLD.removesuffix("end here\n"))


@pytest.mark.parametrize(
    "text",
    [
        "end here\n",
        TOLD.replace("clock 1763911111.5", "clock noon"),
        TOLD.replace("clock 1763911111.5", "clock nan"),
        TOLD.replace("bounding 00000000fdecbfff", "bounding all"),
        TOLD.replace("host 127.0.0.1 localhost", "host "),
        TOLD.replace("fixed vm/swappiness 60", "fixed"),
    ],
    ids=["nothing", "clock", "nan", "bounding", "host", "setting"],
)
def test_an_answer_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PhaseError, match="does not tell"):
        ground.parse(text, ["vm/swappiness"])


def test_what_is_no_number_is_no_port() -> None:
    assert ground.parse(f"ssh ²\nuser a b 10.0.0.1 ²\n{TOLD}").ssh == {22, 2222}


def test_the_script_tells_of_this_machine() -> None:
    argv = ("sh", "-c", ground.SCRIPT, "sh", "kernel/pid_max", "net/no/such")
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    found = ground.parse(told)
    assert abs(found.clock - time.time()) < 60
    assert int(found.settings["kernel/pid_max"].value or 0) > 0
    assert found.settings["net/no/such"].value is None
    assert int(found.bounding, 16) > 0


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_a_setting_lies_where_sysctl_looks(key: str, path: str) -> None:
    assert ground.path(key) == path


def test_the_kernel_puts_tabs_between_numbers() -> None:
    assert ground.same("4096\t131072\t6291456", "4096 131072 6291456")
    assert not ground.same("4096", "8192")
