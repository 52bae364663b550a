"""Hosts taken over from a cluster's YAML and from Ansible's inventories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.fields import RecipeError
from builders.hosts_facts import Facts
from builders.hosts_found import Found, read
from builders.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CLUSTER = """\
cluster_info: {cluster_name: site}
nodes:
  controllers:
    - hostname: server1
      ip_address: 192.168.1.101
      ssh_user: ops
      ssh_port: 2222
      ssh_key_path: ~/.ssh/id_rsa
      priority: 100
      vip_owner: true
      services: {mariadb: true, web: true, redis: false}
    - hostname: server2
      ip_address: 192.168.1.102
      priority: 90
      vip_owner: false
      services: {mariadb: true, web: false}
  compute_nodes:
    - {hostname: node001, ip_address: 192.168.1.201, cpus: 16, memory: 64000, gpus: 0}
database: {password: hunter2}
"""
OLDER = """\
controllers:
  - hostname: server1
    ip: 10.0.0.1
    ssh: {user: root, port: 22, key: keys/id}
    services: [web, redis]
  - hostname: server2
    ip: 10.0.0.2
    services: [redis]
compute_nodes: []
"""
INI = """\
# a remark
lone ansible_host=10.0.0.9 ansible_become=no

[heads]
head[1:3] ansible_user=root ; of ours
"head4"

[heads:vars]
ansible_user=ops
ansible_ssh_private_key_file="~/.ssh/heads"
ansible_ssh_common_args=-o ProxyJump=ops@jump:2222

[all:vars]
ansible_port=22

[racks:children]
heads
compute

[compute]
node_[01:05:2]:2200 ansible_password=hunter2 ansible_host="{{ address }}"
db-[a:c].site
"""
YAML = """\
all:
  vars: {ansible_user: everybody}
  hosts:
    lone:
  children:
    racks:
      vars: {ansible_user: rack, ansible_port: 22}
      children:
        heads:
          hosts:
            head1: {ansible_host: 10.0.0.1}
            head2: {ansible_host: 10.0.0.2, ansible_user: own, ansible_port: 2222}
    heads:
      vars: {ansible_user: head}
"""


def plain(names: Iterable[str]) -> str:
    return ",".join(names)


def found(folder: Path, text: str, name: str = "hosts.yaml") -> Found:
    (folder / name).write_text(text)
    return read(folder / name)


def test_a_cluster(tmp_path: Path) -> None:
    made = found(tmp_path, CLUSTER)
    assert made.hosts == {
        "server1": Facts("192.168.1.101", "ops", 2222, "~/.ssh/id_rsa", priority=100),
        "server2": Facts("192.168.1.102", priority=90, platform=False),
        "node001": Facts("192.168.1.201", platform=False),
    }
    assert made.groups == {
        "heads": ("server1", "server2"),
        "compute": ("node001",),
        "mariadb": ("server1", "server2"),
        "web": ("server1",),
        "vip": ("server1",),
    }


def test_a_cluster_in_the_older_form(tmp_path: Path) -> None:
    made = found(tmp_path, OLDER)
    assert made.hosts == {
        "server1": Facts("10.0.0.1", "root", 22, "keys/id"),
        "server2": Facts("10.0.0.2", platform=False),
    }
    assert made.groups["heads"] == ("server1", "server2")
    assert made.groups["web"] == ("server1",)


def test_one_controller(tmp_path: Path) -> None:
    made = found(tmp_path, "nodes: {controller: {hostname: a, ip_address: 10.0.0.1}}\n")
    assert made.hosts == {"a": Facts("10.0.0.1")}


def test_an_inventory_as_ini(tmp_path: Path) -> None:
    made = found(tmp_path, INI, "hosts")
    head = Facts(user="root", port=22, key="~/.ssh/heads", gateway="ops@jump:2222")
    assert made.hosts["lone"] == Facts("10.0.0.9", port=22, sudo="never")
    assert [made.hosts[f"head{n}"] for n in (1, 2, 3)] == [head] * 3
    assert made.hosts["head4"].user == "ops"
    assert made.hosts["node-01"] == Facts("node_01", port=2200)
    assert made.groups["heads"] == ("head1", "head2", "head3", "head4")
    assert made.groups["compute"] == (
        "node-01",
        "node-03",
        "node-05",
        "db-a.site",
        "db-b.site",
        "db-c.site",
    )
    assert len(made.groups["racks"]) == 10


def test_an_inventory_as_yaml(tmp_path: Path) -> None:
    """What is said further in goes before what is said further out."""
    made = found(tmp_path, YAML)
    assert made.hosts == {
        "lone": Facts(user="everybody"),
        "head1": Facts("10.0.0.1", "head", 22),
        "head2": Facts("10.0.0.2", "own", 2222),
    }
    assert made.groups == {"racks": ("head1", "head2"), "heads": ("head1", "head2")}


@pytest.mark.parametrize(("text", "name"), [(CLUSTER, "a.yaml"), (INI, "hosts"), (YAML, "b.yml")])
def test_no_password_is_taken_over(tmp_path: Path, text: str, name: str) -> None:
    made = found(tmp_path, text, name)
    assert "hunter2" not in made.text(plain)
    assert "hunter2" not in repr(made)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    notes = found(tmp_path, INI, "hosts").notes
    assert "address of node_01: {{ address }} is computed" in notes
    assert "ansible_password of node_01: keys let sealift in, not passwords" in notes
    text = CLUSTER.replace("ssh_port: 2222", "ssh_password: hunter3")
    note = found(tmp_path, text).notes[0]
    assert note.startswith("ssh_password (")
    assert "hunter3" not in note


@pytest.mark.parametrize(
    ("text", "name"), [(CLUSTER, "a.yaml"), (OLDER, "a.yaml"), (INI, "hosts"), (YAML, "b.yml")]
)
def test_what_is_written_is_settings(tmp_path: Path, text: str, name: str) -> None:
    made = found(tmp_path, text, name)
    (tmp_path / "sealift.yaml").write_text(made.text(plain))
    settings = load_settings(tmp_path)
    assert sorted(settings.hosts) == sorted(made.hosts)
    for host, facts in made.hosts.items():
        said = settings.hosts[host]
        assert (said.address, said.user, said.port) == (facts.address, facts.user, facts.port)
        assert (said.key, said.gateway) == (facts.key, facts.gateway)
        assert said.roles == (None if facts.platform else ("none",))
    assert settings.groups == {n: plain(of) for n, of in made.groups.items() if of}


def test_values_that_look_like_others_are_quoted(tmp_path: Path) -> None:
    text = "nodes: {controllers: [{hostname: a, ssh_user: '123', ssh_key_path: 'a: b, {c}'}]}\n"
    (tmp_path / "sealift.yaml").write_text(found(tmp_path, text).text(plain))
    said = load_settings(tmp_path).hosts["a"]
    assert (said.user, said.key) == ("123", "a: b, {c}")


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "hosts", "no hosts are in this file"),
        ("a: [", "a.yaml", "not YAML"),
        ("- a\n- b\n", "a.yaml", "wrong type"),
        ("all: {hosts: [a]}\n", "a.yaml", "wrong type"),
        ("nodes: {controllers: [{ip: 10.0.0.1}]}\n", "a.yaml", "a host without a name"),
        ("controllers: [{hostname: a}, {hostname: a}]\n", "a.yaml", "'a' is there twice"),
        ("controllers: [{hostname: a, ssh_port: x}]\n", "a.yaml", "wrong type"),
        ("controllers: [{hostname: a, ssh_port: 70000}]\n", "a.yaml", "out of range"),
        ("[heads\nhead1\n", "hosts", "this is no section"),
        ("[heads:vars]\nnothing\n", "hosts", "a variable without a value"),
        ("head1 'open\n", "hosts", "makes no sense"),
        ("head[1:99999999]\n", "hosts", "more than 10000 hosts"),
        ("h[1:999]-[1:999]\n", "hosts", "more than 10000 hosts"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, name: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        found(tmp_path, text, name)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read(tmp_path / "hosts")


UNDERSCORES = {
    "cluster.yaml": "compute_nodes: [{hostname: a_b}, {hostname: c_d, ip: 10.0.0.1}]",
    "hosts.ini": "a_b\nc_d ansible_host=10.0.0.1",
}


@pytest.mark.parametrize("name", UNDERSCORES)
def test_a_name_with_an_underscore_gets_another_and_keeps_its_address(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_text(UNDERSCORES[name])
    found = read(file)
    assert {host: each.address for host, each in found.hosts.items()} == {
        "a-b": "a_b",
        "c-d": "10.0.0.1",
    }
    assert "the name a_b: names have no underscore; it is a-b now" in found.notes
    file.write_text(UNDERSCORES[name].replace("c_d", "a-b"))
    with pytest.raises(RecipeError, match="a-b"):
        read(file)


def test_what_a_deploy_has_no_use_for_is_said(tmp_path: Path) -> None:
    text = (
        "cluster: {name: x, ssh_password: hunter4}\n"
        "nodes:\n"
        "  controllers:\n"
        "    - {hostname: head1, ip_address: 10.0.0.1, cpus: 8, memory: 64}\n"
        "  compute_nodes:\n"
        "    - {hostname: node1, ip_address: 10.0.0.2, cpus: 8, gpus: 2}\n"
    )
    made = found(tmp_path, text)
    assert "cpus, memory, gpus of hosts: a deploy has no use for that" in made.notes
    assert any(each.startswith("cluster.ssh_password (") for each in made.notes)
    assert "cluster: not about hosts" in made.notes
    assert "hunter4" not in repr(made)
