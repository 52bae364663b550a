"""Is a machine that is watched cut off, counted and hidden from, and as it was afterwards?

The machine is this one's kernel in namespaces of its own, with a link that leads nowhere: what is
done to it, nothing else here notices. Heads are watched in `tests/e2e/test_gap.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.watching import LATER, NO_FRAMES
from tests.lab.fixtures import require

PROGRAMS = ("unshare", "nft", "ip", "mount", "bash")
CHECKOUT = Path(__file__).parents[2]
MACHINE = """\
set -e
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
ip link add out type veth peer name in
ip link set in up
ip link set out up
ip address add 10.9.8.1/24 dev out
ip route add default via 10.9.8.254
ip address add fd09::1/64 dev out
ip route add default via fd09::fe
mount -t tmpfs tmpfs /run
mkdir /run/was
mount --rbind /root /run/was
mount -t tmpfs tmpfs /root
while [ "$1" != -- ]; do
  case "$1" in /root/*) mkdir -p "$1"; mount --bind "/run/was/${1#/root/}" "$1" ;; esac
  shift
done
shift
mkdir -p /root/.npm /root/.cache/pip
echo registry=https://registry.example/ > /root/.npmrc
exec "$@"
"""
NEEDED = (sys.base_prefix, sys.prefix, str(CHECKOUT))
"""What runs there, even if it lies in the home of root."""
BEGIN = """
import ipaddress, json, socket, struct, subprocess, sys, time
from contextlib import suppress
from pathlib import Path
from deploy import watch_scripts, watching
from deploy.local_machine import LocalMachine
from deploy.watching import Tools, Watch, WatchError

def send(address, port=9, kind="udp"):
    script = f"exec 3<> /dev/{kind}/{address}/{port}; echo >&3"
    done = subprocess.run(["timeout", "1", "bash", "-c", script], capture_output=True)
    return done.returncode == 0

def tables():
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout

def mounts():
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("sealift-proof ")]

def flows():
    return {str(flow): flow.user for flow in watch.counts().packets}

def wire():
    # What arrives at the other end of the only link.
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    end.bind(("in", 0))
    end.settimeout(0.3)
    return end

def arrived(end):
    frames = []
    with suppress(TimeoutError):
        while True:
            data, (_, kind, direction, *_) = end.recvfrom(2000)
            if direction != socket.PACKET_OUTGOING:
                frames.append((kind, data))
    return frames

def datagram(family, to):
    with socket.socket(family, socket.SOCK_DGRAM) as out, suppress(PermissionError):
        out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        out.sendto(b"LEAVES", to)

def neighbour(script):
    # A machine of its own at the other end of the link, which runs this; gives what ends it.
    subprocess.run("ip netns add other && ip link set in netns other", shell=True, check=True)
    inside = ["ip", "netns", "exec", "other"]
    for words in ("link set in up", "link set lo up", "address add 10.9.8.9/24 dev in"):
        subprocess.run([*inside, "ip", *words.split()], check=True)
    argv = [*inside, sys.executable, "-c", "import socket, threading, time\\n" + script]
    there = subprocess.Popen(argv)
    return lambda: (there.kill(), subprocess.run(["ip", "netns", "delete", "other"]))

def until(do):
    end = time.monotonic() + 30
    while True:
        try:
            return do()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)

found = {}
allowed = [ipaddress.ip_network(each) for each in ("10.9.8.7/32", "fd09::7/128")]
watch = Watch(LocalMachine("here"), Tools((), None, ""))
"""


def watched(text: str) -> dict[str, Any]:
    """Run Python on the machine; give what it left in `found`."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    require(f"needs {', '.join(missing)}" if missing else None)
    require(None if os.geteuid() == 0 else "needs root")
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv += ["sh", "-c", MACHINE, "sh", *NEEDED, "--", sys.executable, "-c", f"{BEGIN}\n{text}\n"]
    done = subprocess.run(
        [*argv[:-1], f"{argv[-1]}print(json.dumps(found))"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "HOME": "/root", "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.lab
def test_what_goes_to_elsewhere_is_dropped_and_counted_and_the_rest_is_not() -> None:
    found = watched("""
found["before"] = send("192.0.2.5")
watch.begin(allowed)
before = watch.counts()
found["during"] = [send("192.0.2.5"), send("192.0.2.6", 443, "tcp"), send("127.0.0.1")]
found["head"] = send("10.9.8.7")
added = watch.counts().since(before)
found["flows"] = {str(flow): [flow.user, count] for flow, count in added.packets.items()}
watch.try_out("192.0.2.1")
found["control"] = watch.counts().since(before).total - added.total
subprocess.run(["ip", "route", "delete", "default"])
send("192.0.2.5")
found["routeless"] = watch.counts().since(before).routeless
subprocess.run("ip route add default via 10.9.8.254", shell=True)
found["users"] = watch.users([0])
found["ipv6"] = watch.has_ipv6()
before = watch.counts()
watch.try_out("2001:db8::1")
found["control6"] = [str(flow) for flow in watch.counts().since(before).packets]
found["unseen"] = watch.unseen
subprocess.run("ip link add later type bridge", shell=True, check=True)
watch.counts()
found["later"] = watch.unseen
watch.end()
found["after"] = send("192.0.2.5")
found["tables"] = tables()
""")
    assert found["before"] is True
    assert found["during"] == [False, False, True]
    assert found["head"] is True
    assert found["flows"].keys() == {"192.0.2.5 udp 9", "192.0.2.6 tcp 443"}
    assert all(user == 0 and count > 0 for user, count in found["flows"].values())
    assert found["control"] == 1
    assert found["routeless"] > 0
    assert found["users"] == {"0": "root"}
    assert found["ipv6"] is True
    assert found["control6"] == ["2001:db8::1 udp 9"]
    assert found["unseen"] == []
    assert found["later"] == [LATER.format("later")]
    assert found["after"] is True
    assert found["tables"] == ""


@pytest.mark.lab
def test_configuration_and_caches_are_empty_meanwhile() -> None:
    found = watched("""
watch.begin(allowed)
found["hidden"] = watch.hidden
found["npmrc"] = Path("/root/.npmrc").read_text()
Path("/root/.cache/pip/wheel").write_text("x")
watch.end()
found["after"] = Path("/root/.npmrc").read_text()
found["kept"] = Path("/root/.cache/pip/wheel").exists()
found["mounts"] = mounts()
found["run"] = Path(watch_scripts.RUN).exists()
""")
    assert {"/root/.npm", "/root/.cache/pip", "/root/.npmrc"} <= set(found["hidden"])
    assert found["npmrc"] == ""
    assert found["after"] == "registry=https://registry.example/\n"
    assert found["kept"] is False
    assert found["mounts"] == []
    assert found["run"] is False


@pytest.mark.lab
def test_a_watch_whose_operator_is_gone_ends_by_itself() -> None:
    found = watched("""
watching.LAPSE = 1
watch.begin(allowed)
found["armed"] = not send("192.0.2.5")
end = time.monotonic() + 60
while not send("192.0.2.5") and time.monotonic() < end:
    time.sleep(0.05)
found["lapsed"] = send("192.0.2.5")
try:
    watch.counts()
except WatchError as error:
    found["said"] = error.reason
while (tables() or mounts()) and time.monotonic() < end:
    time.sleep(0.1)
found["left"] = [tables(), mounts(), Path(watch_scripts.RUN).exists()]
""")
    assert found["armed"] is True
    assert found["lapsed"] is True
    assert found["said"] in {"here was not watched all the time", "here cannot be counted"}
    assert found["left"] == ["", [], False]


@pytest.mark.lab
def test_two_watches_of_one_machine_are_refused_and_a_dead_one_is_replaced() -> None:
    found = watched("""
watch.begin(allowed)
other = Watch(LocalMachine("here"), Tools((), None, ""))
try:
    other.begin(allowed)
except WatchError as error:
    found["said"] = error.reason
found["still"] = watch.counts().total
subprocess.run(["nft", "flush", "set", "inet", "sealift_proof", "armed"], check=True)
other.begin(allowed)
found["hidden"] = len(mounts()) == len(set(mounts()))
other.end()
found["left"] = [tables(), mounts()]
""")
    assert found == {
        "said": "here is watched already", "still": 0, "hidden": True, "left": ["", []],
    }  # fmt: skip


@pytest.mark.lab
def test_who_asks_from_elsewhere_is_answered_even_by_a_connection_that_is_older() -> None:
    found = watched("""
server = socket.create_server(("10.9.8.1", 800))
server.settimeout(5)
away = neighbour('''
def ask():
    c = socket.create_connection(("10.9.8.1", 800))
    while d := c.recv(9):
        c.sendall(d)
threading.Thread(target=ask).start()
time.sleep(0.7)
ask()
''')
def talks(end):
    end.settimeout(1)
    try:
        end.sendall(b"word")
        return end.recv(9) == b"word"
    except OSError:
        return False
old = server.accept()[0]
found["before"] = talks(old)
watch.begin(allowed)
found["old"] = talks(old)
found["new"] = talks(server.accept()[0])
found["flows"] = flows()
watch.end()
away()
""")
    assert found == {"before": True, "old": True, "new": True, "flows": {}}


@pytest.mark.lab
def test_a_connection_that_was_opened_before_is_cut_though_its_other_end_speaks_first() -> None:
    """To the kernel its other end would be who began it, and all that is sent an answer."""
    found = watched("""
loose = Path(watch_scripts.LOOSE)
loose.write_text("1")
got = Path("/run/got")
away = neighbour('''
def keep(end):
    with open("/run/got", "ab", 0) as file:
        while True:
            file.write(end.recv(9))
server = socket.create_server(("10.9.8.9", 700))
name = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
name.bind(("10.9.8.9", 53))
client = server.accept()[0]
to = name.recvfrom(9)[1]
for end in (client, name):
    threading.Thread(target=keep, args=(end,)).start()
while True:
    client.sendall(b"p")
    name.sendto(b"p", to)
    time.sleep(0.02)
''')
mine = until(lambda: socket.create_connection(("10.9.8.9", 700), timeout=1))
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.connect(("10.9.8.9", 53))
asked.send(b"a")
mine.send(b"before")
for end in (mine, asked):
    end.settimeout(5)
    end.recv(1)
watch.begin(allowed)
found["loose"] = loose.read_text().strip()
# What they said until now is read, so that the next word came after the rules.
for end in (mine, asked):
    end.setblocking(False)
    with suppress(BlockingIOError):
        while end.recv(999): pass
    end.settimeout(1)
    with suppress(TimeoutError):
        end.recv(1)
for end in (mine, asked):
    with suppress(PermissionError):
        end.send(b"AFTER")
time.sleep(0.3)
found["flows"] = flows()
found["got"] = got.read_text()
watch.end()
found["restored"] = loose.read_text().strip()
away()
""")
    assert found["flows"].keys() == {"10.9.8.9 tcp 700", "10.9.8.9 udp 53"}
    assert found["got"] == "before"
    assert found["loose"] == "0"
    assert found["restored"] == "1"


@pytest.mark.lab
def test_to_all_on_the_link_only_what_makes_it_one_may_be_sent() -> None:
    """Neighbours are looked for; a resolver, a proxy or a sink on the link is elsewhere."""
    found = watched("""
out = socket.if_nametoindex("out")
watch.begin(allowed)
end = wire()
datagram(socket.AF_INET6, ("fe80::5", 53, 0, out))
with socket.socket(socket.AF_INET6) as proxy, suppress(OSError):
    proxy.settimeout(0.1)
    proxy.connect(("fe80::5", 3128, 0, out))
datagram(socket.AF_INET6, ("ff02::fb", 5353, 0, out))
datagram(socket.AF_INET, ("224.0.0.251", 5353))
datagram(socket.AF_INET, ("255.255.255.255", 9))
datagram(socket.AF_INET, ("10.9.8.255", 9))
found["flows"] = flows()
found["leaves"] = len([data for _, data in arrived(end) if b"LEAVES" in data])
datagram(socket.AF_INET, ("10.9.8.7", 9))
datagram(socket.AF_INET6, ("fd09::7", 9))
found["asked"] = sorted({kind for kind, _ in arrived(end)})
found["same"] = flows() == found["flows"]
watch.end()
""")
    assert found["flows"].keys() == {
        "fe80::5 udp 53", "fe80::5 tcp 3128", "ff02::fb udp 5353",
        "224.0.0.251 udp 5353", "255.255.255.255 udp 9", "10.9.8.255 udp 9",
    }  # fmt: skip
    assert found["leaves"] == 0
    assert found["asked"] == [0x0806, 0x86DD], "ARP, and neighbour discovery of IPv6"
    assert found["same"] is True


@pytest.mark.lab
def test_an_address_that_is_rewritten_is_looked_at_again() -> None:
    found = watched("""
site = "table ip site { chain o { type nat hook output priority -100; " \\
    "ip daddr 10.9.8.7 udp dport 8080 dnat to 192.0.2.7:53; }; }"
subprocess.run(["nft", site], check=True)
subprocess.run("ip neighbour add 10.9.8.254 lladdr 02:00:00:00:00:01 dev out", shell=True)
end = wire()
datagram(socket.AF_INET, ("10.9.8.7", 8080))
found["before"] = len([data for _, data in arrived(end) if b"LEAVES" in data])
watch.begin(allowed)
datagram(socket.AF_INET, ("10.9.8.7", 8080))
found["leaves"] = len([data for _, data in arrived(end) if b"LEAVES" in data])
found["flows"] = list(flows())
watch.end()
""")
    assert found == {"before": 1, "leaves": 0, "flows": ["192.0.2.7 udp 53"]}


PACKET_SOCKET = """
def raw(kind, data):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as out, suppress(OSError):
        out.sendto(data, ("out", kind, 0, 0, bytes([2, 0, 0, 0, 0, 1])))
def ip(to, data):
    udp = struct.pack("!HHHH", 1, 53, 8 + len(data), 0) + data
    ends = socket.inet_aton("10.9.8.1") + socket.inet_aton(to)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends + udp
end = wire()
raw(0x800, ip("192.0.2.7", b"LEAVES"))
raw(0x88B5, b"LEAVES")
raw(0x800, ip("10.9.8.7", b"TO A HEAD"))
frames = [data for _, data in arrived(end)]
found["leaves"] = len([data for data in frames if b"LEAVES" in data])
found["head"] = len([data for data in frames if b"TO A HEAD" in data])
found["flows"] = flows()
found["unseen"] = watch.unseen
watch.end()
found["tables"] = tables()
"""


@pytest.mark.lab
def test_packet_sockets_are_counted_and_protocols_other_than_ip() -> None:
    found = watched(f"watch.begin(allowed)\nwatch.renew()\n{PACKET_SOCKET}")
    assert found == {
        "leaves": 0, "head": 1, "unseen": [], "tables": "",
        "flows": {"192.0.2.7 udp 53": 0, "frames of type 0x88b5": None},
    }  # fmt: skip


OLD_NFT = """
nft = Path("/run/nft")
nft.write_text('''#!/bin/sh
if [ "$1" = -f ]; then
  text=$(cat)
  case $text in *egress*) exit 1 ;; esac
  echo "$text" | exec nft -f -
  exit
fi
exec nft "$@"
''')
nft.chmod(0o755)
watch = Watch(LocalMachine("here"), Tools((str(nft),), None, ""))
watch.begin(allowed)
watch.renew()
send("192.0.2.5")
"""


@pytest.mark.lab
def test_where_frames_cannot_be_seen_this_is_said_and_the_rest_is_counted() -> None:
    found = watched(OLD_NFT + PACKET_SOCKET)
    assert found["flows"] == {"192.0.2.5 udp 9": 0}
    assert found["leaves"] == 2
    assert found["unseen"] == [NO_FRAMES]


@pytest.mark.lab
def test_a_watch_that_lapsed_is_not_renewed_and_what_left_meanwhile_is_not_forgotten() -> None:
    found = watched("""
watching.LAPSE = 1
watch.begin(allowed)
watching.LAPSE = 60
end = time.monotonic() + 60
while not send("192.0.2.5") and time.monotonic() < end:
    time.sleep(0.05)
try:
    watch.renew()
except WatchError as error:
    found["renewed"] = error.reason
# Even if somebody arms it again by force.
for family, names in (("inet", ("ipv4", "ipv6")), ("netdev", ("in", "out"))):
    words = ", ".join(f"{name} timeout 60s" for name in names)
    subprocess.run(["nft", f"add element {family} sealift_proof armed {{ {words} }}"], check=True)
found["armed"] = not send("192.0.2.5")
try:
    watch.counts()
except WatchError as error:
    found["said"] = error.reason
watch.end()
""")
    assert found == {
        "renewed": "here cannot be watched",
        "armed": True,
        "said": "here was not watched all the time",
    }


@pytest.mark.lab
def test_a_machine_without_nft_says_what_brings_it() -> None:
    found = watched("""
import os
os.environ["PATH"] = "/nowhere"
from deploy import local_machine
local_machine.SYSTEM = "/bin"
watching.FIND = watching.FIND.replace("/usr/sbin:/sbin", "/nowhere")
try:
    watch.begin(allowed)
except WatchError as error:
    found["said"] = [error.reason, error.hint]
""")
    assert found["said"][0] == "there is no nft on here"
    assert "the one-file sealift" in found["said"][1]
