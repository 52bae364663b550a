"""Who reaches what through the firewall that the recipes of this repository make."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.phases import firewall
from tests.builders.phase_site import PhaseSite
from tests.lab.fixtures import require

RECIPES = Path(__file__).parents[2] / "recipes" / "phases"
PHASES = ("infrastructure", "storage", "database", "redis", "slurm")
NETWORKS = """\
phases:
  infrastructure: {networks: [192.168.7.0/24, "fd00:7::/64"], open_ports: [8443]}
  redis: {mode: cluster}
"""
_CHAIN = re.compile(r"chain (\w+) \{\n(.*?)\n\s*\}", re.DOTALL)
_OF_PACKAGES = re.compile(r"^(?:inputs|packages):.*\n", re.MULTILINE)
_PORT = re.compile(r"^\s*tcp dport (\S+) (?:accept|reject with tcp reset) ", re.MULTILINE)


def rules(folder: Path, cluster: str = "", *, only: tuple[str, ...] = PHASES) -> str:
    site = PhaseSite(folder.resolve())
    site.settings(cluster)
    for name in only:
        text = (RECIPES / f"{name}.yaml").read_text()
        # Which packages there are has nothing to do with ports, and needs a lock.
        site.recipe(name, _OF_PACKAGES.sub("", text))
    return site.text("/etc/sealift/firewall.nft", "head1", "infrastructure")


def chains(text: str) -> dict[str, str]:
    return dict(_CHAIN.findall(text))


def ports(chain: str) -> set[str]:
    return set(_PORT.findall(chain))


UNPROTECTED = {"24007-24008", "4567", "4568", "4444", "16379-16380"}
"""What asks nobody for a password, nor from which port he comes."""


def test_networks_reach_slurm_and_the_time_alone(tmp_path: Path) -> None:
    found = chains(rules(tmp_path, NETWORKS))
    assert ports(found["nodes"]) == {"6817", "6818", "6819", "61001-62000"}
    assert "udp dport 123 accept" in found["nodes"]
    assert "192.168.7.0/24 jump nodes" in found["input"]
    assert "fd00:7::/64 jump nodes" in found["input"]
    assert "192.168" not in rules(tmp_path, NETWORKS).partition("chain input")[0]


def test_what_asks_for_no_password_is_for_daemons_of_heads_alone(tmp_path: Path) -> None:
    found = chains(rules(tmp_path, NETWORKS))
    assert ports(found["daemons"]) == ports(found["people"]) == UNPROTECTED
    assert ports(found["heads"]) == {"49152-49251", "3306", "6379", "6380"}


def test_a_site_says_from_which_number_on_users_are_people(tmp_path: Path) -> None:
    said = "phases: {infrastructure: {first_user: 5000}}"
    assert chains(rules(tmp_path, said))["output"].count("skuid >= 5000") == 3


def test_nothing_that_goes_out_is_looked_at_without_such_ports(tmp_path: Path) -> None:
    assert "hook output" not in rules(tmp_path, only=("infrastructure",))


def test_what_is_open_to_heads_is_not_open_to_anyone(tmp_path: Path) -> None:
    assert firewall.closed([22, 3306, 4567, 6817], rules(tmp_path)) == (3306, 4567, 6817)


WORLD = """
import json, os, select, socket, subprocess, sys, time

rules, ports, wanted = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
ADDRESSES = {"head": "10.0.0.12", "node": "192.168.7.9", "stranger": "172.16.0.9"}

def tries(who, to, source, user):
    # Tell which ports let a user of an address in; those that do not, have as long as all others.
    waiting = {}
    os.seteuid(user)
    for port in ports:
        one = socket.socket()
        one.setblocking(False)
        one.bind((source, 0))
        one.connect_ex((to, port))
        waiting[one] = port
    os.seteuid(0)
    found, end = set(), time.monotonic() + 20
    while waiting and time.monotonic() < end:
        for one in select.select([], list(waiting), [], 0.1)[1]:
            port = waiting.pop(one)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.add(port)
        if found.issuperset(wanted[who]):
            end = min(end, time.monotonic() + 0.5)
    return sorted(found)

def ip(*words):
    subprocess.run(["ip", *words], check=True)

listeners = []
for port in ports:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("0.0.0.0", port))
    one.listen()
    listeners.append(one)
heard, told = os.pipe()
go, ready = os.pipe()
child = os.fork()
if child == 0:
    for one in listeners:
        one.close()
    subprocess.run(["true"])
    import ctypes
    assert ctypes.CDLL(None).unshare(0x40000000) == 0
    os.write(told, b"x")
    os.read(go, 1)
    for address in ADDRESSES.values():
        ip("address", "add", address + "/24", "dev", "there")
    ip("link", "set", "there", "up")
    found = {who: tries(who, "10.0.0.11", address, 0) if who == "head" else
             tries(who, address.rpartition(".")[0] + ".1", address, 0)
             for who, address in ADDRESSES.items()}
    print(json.dumps(found), flush=True)
    os.write(told, b"x")
    os.read(go, 1)
    os._exit(0)
os.close(told)
os.read(heard, 1)
ip("link", "set", "lo", "up")
ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(child))
ip("address", "add", "10.0.0.11/24", "dev", "here")
for net in ("192.168.7", "172.16.0"):
    ip("address", "add", net + ".1/24", "dev", "here")
ip("link", "set", "here", "up")
subprocess.run(["nft", "-f", rules], check=True)
os.write(ready, b"x")
assert os.read(heard, 1)
# Both ends of a link go with either, and with them the address: the child stays until all is tried.
found = {}
for who, user in (("root", 0), ("daemon", 999), ("person", 1000)):
    for to in ("127.0.0.1", "10.0.0.11"):
        found[who + " " + to] = tries(who, to, to, user)
print(json.dumps(found))
os.write(ready, b"x")
os.waitpid(child, 0)
"""
TRIED = (22, 3306, 4444, 4567, 6379, 6817, 16379, 24007, 49152, 61001, 9)
DAEMONS = {4444, 4567, 16379, 24007}
OPEN, SLURM, PEERS = {22}, {6817, 61001}, {3306, 6379, 49152}


@pytest.mark.lab
def test_a_kernel_lets_in_who_is_meant(tmp_path: Path) -> None:
    lacking = [each for each in ("unshare", "nft", "ip") if shutil.which(each) is None]
    require("this needs root" if os.geteuid() else f"there is no {lacking[0]}" if lacking else None)
    file = tmp_path / "rules.nft"
    file.write_text(rules(tmp_path, NETWORKS))
    everything = set(TRIED)
    wanted = {
        "head": OPEN | SLURM | PEERS | DAEMONS,
        "node": OPEN | SLURM,
        "stranger": OPEN,
        "root": everything,
        "daemon": everything,
        "person": everything - DAEMONS,
    }
    said = [json.dumps(TRIED), json.dumps({who: sorted(each) for who, each in wanted.items()})]
    argv = ["unshare", "--net", sys.executable, "-c", WORLD, str(file), *said]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = {
        who: set(each)
        for line in done.stdout.splitlines()
        for who, each in json.loads(line).items()
    }
    assert found.keys() >= {"head", "node", "stranger", "person 10.0.0.11"}
    for who, let_in in found.items():
        assert let_in == wanted[who.partition(" ")[0]], who
