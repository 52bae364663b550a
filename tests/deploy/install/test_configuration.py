"""What a phase wants of a host, read strictly; and what dpkg, systemd and the kernel tell."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from deploy.command import TIME_UP, Answer, attempt
from deploy.errors import BadReleaseError
from deploy.install import apt, listening
from deploy.phases.configuration import Form, Marker, To
from deploy.phases.configuration_file import load, parse

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "phase": "storage",
    "number": 1,
    "host": "head1",
    "description": "a volume",
    "hosts": [
        {"name": "head1", "address": "10.0.0.1", "priority": 0},
        {"name": "head2", "address": "fd00::2", "priority": 1},
    ],
    "after": ["infrastructure"],
    "irreversible": ["data"],
    "parameters": {"volume": "shared", "deep": {"list": [1, 2.5, None, True]}},
    "packages": {"set": "/store/x", "names": {"glusterfs-server": "2:10.3-5+deb12u1~x"}},
    "users": [{"name": "munge", "uid": 64002, "groups": ["adm"]}],
    "directories": [{"path": "/srv/x", "owner": "munge", "group": "adm", "mode": "0750"}],
    "files": [
        {"path": "/etc/a", "source": "root/etc/a", "markers": ["A", "B:mysql"], "mode": "0600"},
        {"path": "/etc/b", "secret": "A", "owner": "munge", "units": ["x@1.service"]},
        {"path": "/etc/c", "source": "root/etc/c", "secret": None, "reload": True},
    ],
    "units": [{"name": "glusterd.service", "enabled": True}],
    "ports": [
        {"port": "49152-49251", "to": "peers", "proto": "tcp"},
        {"proto": "vrrp"},
        {"port": 1},
    ],
    "secrets": {"A": "bytes", "B": "password"},
}
AT = Path("/store/h-phase-storage-head1")


def test_all_of_it_is_read() -> None:
    found = parse(json.dumps(DOCUMENT), AT)
    assert found.peer.address == "10.0.0.1"
    assert found.parameters == DOCUMENT["parameters"]
    assert found.files[0].markers == (Marker("A"), Marker("B", Form.MYSQL))
    assert [each.plain for each in found.files] == [False, False, True]
    assert found.files[1].secrets == {"A"}
    assert (found.files[1].group, found.files[2].mode) == ("munge", 0o644)
    assert [len(each.numbers) for each in found.ports] == [100, 0, 1]
    assert found.ports[0].to is To.PEERS
    user = found.users[0]
    assert (user.gid, user.group, user.shell) == (64002, "munge", "/usr/sbin/nologin")


BROKEN: dict[str, Any] = {
    "format": 2,
    "phase": "Storage!",
    "number": -1,
    "host": "head9",
    "hosts": [{"name": "head1", "address": "head1.site", "priority": 0}],
    "after": "infrastructure",
    "parameters": [],
    "packages": {"set": "store", "names": {}},
    "users": [{"name": "munge", "uid": 0}],
    "directories": [{"path": "/srv/../etc"}],
    "files": [{"path": "/etc/a"}],
    "units": [{"name": "glusterd"}],
    "ports": [{"port": 70000}],
    "secrets": {"A": 1},
    "more": 1,
}
FILES: list[dict[str, Any]] = [
    {"path": "/usr/a", "source": "root/usr/a"},
    {"path": "/etc/a", "source": "root/etc/b"},
    {"path": "/etc/a", "source": "root/etc/a", "secret": "A"},
    {"path": "/etc/a", "source": "root/etc/a", "markers": ["A:md5"]},
    {"path": "/etc/a", "source": "root/etc/a", "markers": ["C"]},
    {"path": "/etc/a", "source": "root/etc/a", "mode": "0999"},
    {"path": "/etc/a", "source": "root/etc/a", "owner": "a:b"},
    {"path": "/etc/a", "source": "root/etc/a", "units": ["x"]},
    {"path": "/etc/a", "source": "root/etc/a", "more": 1},
    {"path": "/etc/c", "source": "root/etc/c"},
]


@pytest.mark.parametrize("key", BROKEN)
def test_what_cannot_be_is_refused(key: str) -> None:
    with pytest.raises(BadReleaseError):
        parse(json.dumps({**DOCUMENT, key: BROKEN[key]}), AT)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_that_cannot_be_is_refused(file: dict[str, Any]) -> None:
    document = deepcopy(DOCUMENT)
    document["files"].append(file)
    with pytest.raises(BadReleaseError):
        parse(json.dumps(document), AT)


def test_what_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadReleaseError, match="no configuration of a phase"):
        load(tmp_path)
    (tmp_path / "phase.json").write_text("{")
    with pytest.raises(BadReleaseError, match="not JSON"):
        load(tmp_path)


UPGRADE = b"""Reading package lists...
The following packages will be upgraded:
  libssl3
Inst libssl3 [3.0.1] (3.0.2 sealift:cluster [amd64])
Inst chrony (4.3-2 sealift:cluster [amd64])
Conf libssl3 (3.0.2 sealift:cluster [amd64])
"""
REMOVAL = b"""The following packages will be REMOVED:
  systemd-timesyncd
The following NEW packages will be installed:
  chrony
"""
UNMET = b"""The following packages have unmet dependencies:
 redis-server : Conflicts: valkey but 8 is to be installed
"""


def test_what_apt_would_do_is_read() -> None:
    found = apt.parse(Answer(0, UPGRADE, ""))
    assert found == apt.Simulation({"chrony": "4.3-2"}, {"libssl3": ("3.0.1", "3.0.2")}, ())
    refused = apt.parse(
        Answer(100, REMOVAL, "E: Packages need to be removed but remove is disabled.")
    )
    assert "systemd-timesyncd" in refused.refused
    assert "remove is disabled" in refused.refused
    assert "Conflicts: valkey" in apt.parse(Answer(100, UNMET, "")).refused
    # Even if it would go on.
    assert apt.parse(Answer(0, REMOVAL, "")).refused


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/redis-server.service\n", "redis-server.service"),
        ("5:cpu:/x\n1:name=systemd:/system.slice/ssh.service\n0::/\n", "ssh.service"),
        ("0::/system.slice/system-redis.slice/redis@1.service/sub\n", "redis@1.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process(text: str, unit: str) -> None:
    assert listening.parse(text) == unit


def test_a_command_comes_to_an_end() -> None:
    env = {"PATH": "/usr/bin:/bin"}
    done = attempt(["sh", "-c", "cat; echo no >&2; exit 3"], input=b"x", env=env, timeout=20.0)
    assert done == Answer(3, b"x", "no\n")
    assert attempt(["no-such-program"], env=env, timeout=20.0).status == 127
    killed = attempt(["sh", "-c", "echo begun; sleep 60 & sleep 60"], env=env, timeout=0.5)
    assert (killed.status, killed.stdout) == (TIME_UP, b"begun\n")
    assert "no end within 0.5 s" in killed.stderr
    assert attempt(["sh", "-c", "kill -9 $$"], env=env, timeout=20.0).status == TIME_UP
