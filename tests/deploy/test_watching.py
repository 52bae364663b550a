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

from tests.lab.fixtures import require

PROGRAMS = ("unshare", "nft", "ip", "mount", "bash")
CHECKOUT = Path(__file__).parents[2]
MACHINE = """\
set -e
ip link set lo up
ip link add out type veth peer name in
ip link set in up
ip link set out up
ip address add 10.9.8.1/24 dev out
ip route add default via 10.9.8.254
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /root
mkdir -p /root/.npm /root/.cache/pip
echo registry=https://registry.example/ > /root/.npmrc
exec "$@"
"""
BEGIN = """
import ipaddress, json, subprocess, time
from pathlib import Path
from deploy import watching
from deploy.counting import Flow
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

found = {}
allowed = [ipaddress.ip_network("10.9.8.7/32")]
watch = Watch(LocalMachine("here"), Tools((), None, ""))
"""


def watched(text: str) -> dict[str, Any]:
    """Run Python on the machine; give what it left in `found`."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    require(f"needs {', '.join(missing)}" if missing else None)
    require(None if os.geteuid() == 0 else "needs root")
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv += ["sh", "-c", MACHINE, "sh", sys.executable, "-c", f"{BEGIN}\n{text}\n"]
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
watch.try_out()
found["control"] = watch.counts().since(before).total - added.total
subprocess.run(["ip", "route", "delete", "default"])
send("192.0.2.5")
found["routeless"] = watch.counts().since(before).routeless
subprocess.run("ip route add default via 10.9.8.254", shell=True)
found["users"] = watch.users([0])
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
found["run"] = Path(watching.RUN).exists()
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
found["left"] = [tables(), mounts(), Path(watching.RUN).exists()]
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
def test_a_connection_from_elsewhere_is_answered_even_if_it_is_older_than_the_rules() -> None:
    """And one that this machine opened before is cut, whatever its age."""
    found = watched("""
import socket
subprocess.run("ip netns add other && ip link set in netns other", shell=True, check=True)
inside = ["ip", "netns", "exec", "other"]
for words in ("link set in up", "link set lo up", "address add 10.9.8.9/24 dev in"):
    subprocess.run([*inside, "ip", *words.split()], check=True)
echo = "import socket\\ns = socket.create_server(('10.9.8.9', 700))\\nc = s.accept()[0]\\n" \
    "while True: c.sendall(c.recv(9))"
there = subprocess.Popen([*inside, "python3", "-c", echo])
server = socket.create_server(("10.9.8.1", 800))
ask = "import socket\\nc = socket.create_connection(('10.9.8.1', 800))\\n" \
    "while True: c.sendall(c.recv(9))"
asking = subprocess.Popen([*inside, "python3", "-c", ask])
client = server.accept()[0]
end = time.monotonic() + 30
while True:
    try:
        mine = socket.create_connection(("10.9.8.9", 700), timeout=1)
        break
    except OSError:
        assert time.monotonic() < end
def talks(end):
    end.settimeout(1)
    try:
        end.sendall(b"word")
        return end.recv(9) == b"word"
    except OSError:
        return False
found["before"] = [talks(client), talks(mine)]
watch.begin(allowed)
before = watch.counts()
found["served"] = talks(client)
found["none"] = watch.counts().since(before).total
found["opened"] = talks(mine)
found["some"] = [str(flow) for flow in watch.counts().since(before).packets]
watch.end()
there.kill(); asking.kill()
subprocess.run(["ip", "netns", "delete", "other"])
""")
    assert found["before"] == [True, True]
    assert found["served"] is True
    assert found["none"] == 0
    assert found["opened"] is False
    assert found["some"] == ["10.9.8.9 tcp 700"]


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
