"""Do the lab's heads fail, and get cut off, as real ones do?"""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.lab.shell import LabError

if TYPE_CHECKING:
    from tests.lab.fixtures import MakeLab
    from tests.lab.head import LabHead
    from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

SSH = ("ssh", "-F")
KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
OVER_IPV6 = """
ip -6 address add fd00:1::2/64 dev host0 nodad
ip -6 neighbour add fd00:1::1 lladdr 02:00:00:00:00:01 dev host0
ip -6 route add default via fd00:1::1
echo > /dev/udp/2001:db8::1/123
"""


@pytest.fixture(scope="module")
def lab(make_shared_lab: MakeLab) -> Lab:
    return make_shared_lab(2)


@pytest.fixture
def head(lab: Lab) -> LabHead:
    """Hand out a head that is on, also after a test that failed with it off."""
    first = lab.heads[0]
    if first.leader is None:
        first.start()
    first.heal()
    first.wait_ssh()
    return first


def words(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stdout.decode().strip()


def connects(head: LabHead, address: str) -> bool:
    attempt = ("timeout", "1", "bash", "-c", f"echo > /dev/tcp/{address}/22")
    return not head.run(*attempt, check=False).returncode


def test_a_head_has_booted_its_own_systemd_and_nothing_in_it_failed(head: LabHead) -> None:
    assert words(head.ssh("hostname")) == "head1"
    assert words(head.run("systemctl", "is-system-running", "--wait")) == "running"
    assert words(head.run("cat", "/proc/1/comm")) == "systemd"
    assert "sshd" in words(head.run("journalctl", "-u", "ssh", "--no-pager"))


def test_operators_get_in_and_become_root_by_sudo(head: LabHead) -> None:
    assert words(head.ssh("id", "-un", user="operator")) == "operator"
    assert words(head.ssh("sudo", "-n", "id", "-un", user="operator")) == "root"


@pytest.mark.parametrize("program", ["python3", "node", "curl", "nginx", "rsync"])
def test_a_head_has_none_of_what_a_release_must_bring(head: LabHead, program: str) -> None:
    assert head.run("which", program, check=False).returncode
    assert head.run("test", "-e", "/etc/ssl/certs/ca-certificates.crt", check=False).returncode


def test_each_head_has_host_keys_of_its_own_which_are_the_known_ones(lab: Lab) -> None:
    first, second = (words(head.run("cat", KEY)).split()[1] for head in lab.heads)
    assert first != second
    known = lab.known_hosts.read_text()
    assert first in known
    assert second in known


def test_strangers_host_keys_are_noticed(make_lab: MakeLab) -> None:
    (head,) = make_lab(1).heads
    head.change_host_keys()
    with pytest.raises(
        LabError, match=r"REMOTE HOST IDENTIFICATION HAS CHANGED|verification failed"
    ):
        head.ssh("true")


def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(head: LabHead) -> None:
    head.run("sh", "-c", "echo kept > /root/synced && sync -f /root/synced")
    head.run("sh", "-c", "echo lost > /root/unsynced")
    assert words(head.run("cat", "/root/unsynced")) == "lost"
    head.power_cut()
    head.start()
    head.wait_ssh()
    assert words(head.run("cat", "/root/synced")) == "kept"
    assert head.run("cat", "/root/unsynced", check=False).returncode


# Says a number once the file of that name is safe, and writes as much that is never synced.
WRITES = """
set -e
mkdir -p /srv/safe
for n in $(seq $1 100000); do
  dd if=/dev/urandom of=/srv/safe/.tmp-$n bs=4k count=3 status=none conv=fsync
  mv /srv/safe/.tmp-$n /srv/safe/$n
  sync /srv/safe
  echo $n
  dd if=/dev/urandom of=/srv/safe/loose-$n bs=64k count=3 status=none
done
"""


@pytest.mark.parametrize("first", [1, 1001, 2001])
def test_no_file_is_lost_that_was_safe_when_the_power_went(head: LabHead, first: int) -> None:
    with subprocess.Popen(
        (*SSH, str(head.ssh_config), "head1", f"sh -s -- {first}"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as writing:  # fmt: skip
        assert writing.stdin is not None
        assert writing.stdout is not None
        writing.stdin.write(WRITES.encode())
        writing.stdin.close()
        said = [int(writing.stdout.readline()) for _ in range(20)]
        head.power_cut()
        writing.terminate()
        said += [int(line) for line in writing.stdout]
    head.start()
    head.wait_ssh()
    sizes = words(head.run("find", "/srv/safe", "-type", "f", "-printf", "%f %s\n"))
    kept = dict(line.split() for line in sizes.splitlines())
    assert {kept.get(str(number)) for number in said} == {"12288"}
    assert kept.get(f"loose-{said[-1]}") != "196608"


def test_an_orderly_stop_loses_nothing(head: LabHead) -> None:
    head.run("sh", "-c", "echo kept > /root/not-synced-by-us")
    head.stop()
    assert head.leader is None
    head.start()
    head.wait_ssh()
    assert words(head.run("cat", "/root/not-synced-by-us")) == "kept"


def test_a_head_that_is_off_says_so(head: LabHead) -> None:
    head.power_cut()
    with pytest.raises(LabError, match="head1 is off"):
        head.run("true")
    with pytest.raises(LabError, match="head1 is off"):
        head.power_cut()
    head.start()
    head.wait_ssh()


def test_a_head_that_is_on_is_not_started_again(head: LabHead) -> None:
    with pytest.raises(LabError, match="head1 is on"):
        head.start()
    assert words(head.ssh("hostname")) == "head1"


def test_a_head_that_switched_itself_off_starts_again(head: LabHead) -> None:
    head.run("sh", "-c", "echo kept > /root/written-before")
    head.run("systemctl", "poweroff", check=False)
    gone_by = time.monotonic() + 30
    while head.leader is not None and time.monotonic() < gone_by:
        time.sleep(0.05)
    head.start()
    head.wait_ssh()
    assert words(head.run("cat", "/root/written-before")) == "kept"


def test_a_reboot_is_another_boot_of_the_same_machine(head: LabHead) -> None:
    machine = words(head.run("cat", "/etc/machine-id"))
    head.reboot()
    assert words(head.run("cat", "/etc/machine-id")) == machine
    assert words(head.run("journalctl", "--list-boots", "-q")).count("\n") >= 1


def test_a_throttled_link_is_slow_until_it_is_not(head: LabHead) -> None:
    data = bytes(2_000_000)
    head.throttle(8_000_000)
    began = time.monotonic()
    head.ssh("sha256sum", input=data)
    throttled = time.monotonic() - began
    head.throttle(None)
    began = time.monotonic()
    head.ssh("sha256sum", input=data)
    assert throttled > 1.5
    assert time.monotonic() - began < throttled


def test_an_operator_of_a_head_that_loses_power_hears_nothing_more(head: LabHead) -> None:
    with closing(socket.create_connection((head.address, 22), timeout=5)) as there:
        assert there.recv(64).startswith(b"SSH-")
        head.power_cut()
        there.settimeout(1)
        with pytest.raises(TimeoutError):
            there.recv(64)
    head.start()
    head.wait_ssh()


def test_a_partition_is_silent_spares_the_neighbours_and_ends(lab: Lab) -> None:
    head, neighbour = lab.heads
    with closing(socket.create_connection((head.address, 22), timeout=5)) as there:
        assert there.recv(64).startswith(b"SSH-")
        head.partition()
        there.sendall(b"SSH-2.0-lab\r\n")
        there.settimeout(1)
        with pytest.raises(TimeoutError):
            there.recv(64)
        assert words(head.run("hostname")) == "head1"
        assert words(neighbour.ssh("hostname")) == "head2"
        assert not connects(neighbour, head.address)
        head.heal()
        there.settimeout(30)
        assert there.recv(64)


def test_a_cut_link_stays_cut_over_a_start(head: LabHead) -> None:
    head.partition()
    head.power_cut()
    head.start()
    with pytest.raises(LabError, match="no ssh after"):
        head.wait_ssh(2)
    head.heal()
    head.wait_ssh()


def test_a_frozen_head_accepts_connections_and_says_nothing(head: LabHead) -> None:
    head.freeze()
    with closing(socket.create_connection((head.address, 22), timeout=5)) as there:
        there.settimeout(1)
        with pytest.raises(TimeoutError):
            there.recv(64)
        head.thaw()
        there.settimeout(30)
        assert there.recv(64).startswith(b"SSH-")


def test_a_head_that_keeps_to_itself_sent_nothing_out(lab: Lab) -> None:
    head, neighbour = lab.heads
    head.power_cut()
    head.start()
    head.wait_ssh()
    assert connects(head, neighbour.address)
    assert head.packets().packets == 0
    assert head.packets().destinations == ()


@pytest.mark.parametrize(
    ("command", "destination"),
    [
        ("echo > /dev/tcp/192.0.2.80/443", "192.0.2.80 tcp 443"),
        ("echo > /dev/udp/192.0.2.123/123", "192.0.2.123 udp 123"),
        ("getent hosts registry.example", "{transfer} udp 53"),
        ("echo > /dev/tcp/{transfer}/53", "{transfer} tcp 53"),
        (OVER_IPV6, "2001:db8::1 udp 123"),
    ],
)
def test_a_packet_to_anywhere_else_is_counted_and_named(
    lab: Lab, command: str, destination: str
) -> None:
    head, neighbour = lab.heads
    transfer = head.names.transfer
    script = command.replace("{transfer}", transfer)
    head.run("timeout", "2", "bash", "-c", script, check=False)
    outbound = head.packets()
    assert destination.format(transfer=transfer) in outbound.destinations
    assert outbound.packets > 0
    assert neighbour.packets().packets == 0


def test_packets_are_counted_behind_a_cut_link_too(head: LabHead) -> None:
    head.partition()
    head.run("bash", "-c", "echo > /dev/udp/198.51.100.2/9", check=False)
    head.heal()
    assert "198.51.100.2 udp 9" in head.packets().destinations


def test_root_in_a_head_cannot_stop_the_counting(head: LabHead) -> None:
    head.run("nft", "flush", "ruleset")
    before = head.packets().packets
    head.run("timeout", "1", "bash", "-c", "echo > /dev/udp/198.51.100.1/9", check=False)
    assert head.packets().packets > before


def test_a_head_with_a_wiped_disk_is_as_it_came(make_lab: MakeLab) -> None:
    (head,) = make_lab(1).heads
    head.run("sh", "-c", "echo kept > /root/told && sync -f /root/told")
    with pytest.raises(LabError, match="head1 is on"):
        head.wipe()
    head.power_cut()
    head.wipe()
    head.start()
    head.wait_ssh()
    assert head.run("test", "-e", "/root/told", check=False).returncode
    assert words(head.ssh("hostname")) == "head1"


def test_a_head_can_open_what_file_systems_of_programs_are_mounted_by(head: LabHead) -> None:
    assert words(head.run("stat", "--format=%t:%T %a", "/dev/fuse")) == "a:e5 666"
    head.run("sh", "-c", "exec 3<>/dev/fuse")


def test_a_disk_has_the_size_that_was_asked_for(make_lab: MakeLab) -> None:
    (head,) = make_lab(1, disk_size=64 << 20).heads
    done = head.run("dd", "if=/dev/zero", "of=/root/full", "bs=1M", "count=100", check=False)
    assert b"No space left" in done.stderr
