"""Hosts by name, what is said of them together and alone, and what makes no sense."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.host import parse_hop
from deploy.inventory import Inventory, head, load
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.deploy.synthetic import Site


@dataclass(frozen=True)
class Said:
    kind: str | None = None
    port: int | None = None
    port_offset: int | None = None
    address: str | None = None
    user: str | None = None
    key: str | None = None
    gateway: str | None = None
    roles: tuple[str, ...] | None = None
    priority: int | None = None
    sudo: str | None = None


@dataclass
class Places:
    hosts: Mapping[str, Said] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    state_dir: Path = Path("/nowhere")
    root: Path = Path("/site")
    file: Path = Path("/site/sealift.yaml")


def names(inventory: Inventory, text: str | list[str]) -> list[str]:
    return [host.name for host in inventory.select(text)]


class TestThisMachine:
    def test_a_local_head(self, site: Site) -> None:
        said = {"here": Said(kind="local", port=9000, port_offset=5)}
        found = head(Places(said, state_dir=site.state_dir), site.store, "here")
        assert (found.name, found.url) == ("here", "http://127.0.0.1:9000/")
        assert found.settings.port_offset == 5
        assert found.layout.secrets_dir.stat().st_mode & 0o777 == 0o700

    def test_what_local_is_called_is_local(self) -> None:
        assert load(Places({"local": Said()})).host("local").local
        assert load(Places({"local": Said()})).host("local").port == 8080
        assert not load(Places({"here": Said()})).host("here").local
        assert not load(Places({"local": Said(address="10.0.0.1")})).host("local").local

    @pytest.mark.parametrize(
        ("hosts", "reason"),
        [
            ({}, "there is no host"),
            ({"local": Said(kind="ssh")}, "is another machine"),
            ({"local": Said(), "here": Said(kind="local")}, "two hosts are this machine"),
        ],
    )
    def test_no_such_head(self, site: Site, hosts: dict[str, Said], reason: str) -> None:
        with pytest.raises(InputError, match=reason):
            head(Places(hosts, state_dir=site.state_dir), site.store)


class TestHosts:
    def test_what_a_set_says_holds_for_each_and_what_is_said_alone_goes_before_it(self) -> None:
        said = {
            "head2": Said(address="10.0.0.2", user="ops", priority=100),
            "head[1-3]": Said(user="root", key="keys/id", sudo="never"),
        }
        found = load(Places(said)).hosts
        assert sorted(found) == ["head1", "head2", "head3"]
        assert {host.sudo for host in found.values()} == {"never"}
        assert {host.key for host in found.values()} == {Path("/site/keys/id")}
        assert [found[name].user for name in sorted(found)] == ["root", "ops", "root"]
        assert (found["head2"].address, found["head2"].written) == ("10.0.0.2", True)
        assert (found["head1"].address, found["head1"].written) == ("head1", False)

    def test_an_address_may_hold_the_name(self) -> None:
        found = load(Places({"head[1-2]": Said(address="{name}.site.example")}))
        assert [host.address for host in found.every()] == [
            "head1.site.example",
            "head2.site.example",
        ]

    def test_keys_below_home(self) -> None:
        found = load(Places({"a": Said(key="~/.ssh/id")})).host("a")
        assert found.key == Path("~/.ssh/id").expanduser()

    def test_roles_name_services(self) -> None:
        roles = {"web": ("nginx", "portal"), "api": ("backend", "nginx"), "none": ()}
        said = {
            "a": Said(roles=("web", "api")),
            "b": Said(),
            "c": Said(roles=("none",)),
        }
        found = load(Places(said, roles=roles))
        assert found.host("a").services == ("backend", "nginx", "portal")
        assert found.host("b").services is None
        assert found.host("c").services == ()

    def test_gateways(self) -> None:
        said = {
            "head[1-2]": Said(gateway="jump"),
            "jump": Said(address="10.0.0.9", gateway="ops@outer:2222"),
        }
        gate = load(Places(said)).host("head1").gateway
        assert gate is not None
        assert (gate.name, gate.address) == ("jump", "10.0.0.9")
        outer = gate.gateway
        assert outer is not None
        assert (outer.address, outer.user, outer.port) == ("outer", "ops", 2222)
        assert outer.gateway is None

    @pytest.mark.parametrize(
        ("hosts", "reason"),
        [
            ({"../x": Said()}, "no host name"),
            ({"a_b": Said()}, "no host name"),
            ({"a[1-3]": Said(), "a[3-4]": Said()}, "a3 is there twice"),
            ({"a[1-99999999]": Said()}, "more than"),
            ({"a": Said(address="-oProxyCommand=x")}, "is no address"),
            ({"a": Said(address="a b")}, "is no address"),
            ({"a": Said(address="")}, "is no address"),
            ({"a": Said(user="-l")}, "is no user"),
            ({"a": Said(user="a b")}, "is no user"),
            ({"a": Said(key='x"y')}, "cannot be named to ssh"),
            ({"a": Said(key="${HOME}/x")}, "cannot be named to ssh"),
            ({"a": Said(roles=("wen",))}, "there is no role 'wen'"),
            ({"a": Said(gateway="-x")}, "is no gateway"),
            ({"a": Said(gateway="x;y")}, "is no gateway"),
            ({"a": Said(gateway="a")}, "circle: a → a"),
            ({"a": Said(gateway="b"), "b": Said(gateway="a")}, "in a circle"),
            ({"a": Said(gateway="local"), "local": Said()}, "is no gateway"),
            ({"a": Said(kind="local", user="root")}, "not reached by SSH: user"),
        ],
    )
    def test_what_makes_no_sense(self, hosts: dict[str, Said], reason: str) -> None:
        with pytest.raises(InputError, match=reason):
            load(Places(hosts, roles={"web": ("nginx",)}))


class TestSelecting:
    @pytest.fixture
    def inventory(self) -> Inventory:
        said = {
            "head[1-12]": Said(),
            "head2": Said(priority=100),
            "spare": Said(priority=-1),
        }
        groups = {"all": "@heads,spare", "heads": "head[1-12]", "some": "@heads!head[4-12]"}
        return load(Places(said, groups=groups))

    def test_by_priority_then_by_number(self, inventory: Inventory) -> None:
        assert names(inventory, "spare,head[1-3,10]") == [
            "head2",
            "head1",
            "head3",
            "head10",
            "spare",
        ]

    def test_groups_name_groups(self, inventory: Inventory) -> None:
        assert names(inventory, "@some") == ["head2", "head1", "head3"]
        assert len(inventory.select("@all")) == 13
        assert [host.name for host in inventory.every()] == names(inventory, "@all")

    def test_several_words_are_one_set(self, inventory: Inventory) -> None:
        assert names(inventory, ["head1", "@some", "spare"]) == ["head2", "head1", "head3", "spare"]

    def test_an_unknown_one_is_answered_with_the_nearest(self, inventory: Inventory) -> None:
        with pytest.raises(InputError, match=r"there are no hosts head\[20-22\]"):
            inventory.select("head[1-3],head[20-22]")
        with pytest.raises(InputError, match="no host 'haed1'") as caught:
            inventory.select("head1,haed1")
        assert caught.value.got == "there are: head[1-12],spare"
        assert caught.value.hint is not None
        assert "head1" in caught.value.hint

    @pytest.mark.parametrize("wanted", ["", [], [""], "@some!@heads", "@none"])
    def test_nothing_is_never_all(self, inventory: Inventory, wanted: str | list[str]) -> None:
        with pytest.raises(InputError):
            inventory.select(wanted)

    @pytest.mark.parametrize(
        ("groups", "reason"),
        [
            ({"a": "@b", "b": "@a"}, "in a circle"),
            ({"a": "@a"}, "in a circle"),
            ({"a": "@nobody"}, "there is no group"),
            ({"a": "head9"}, "names 'head9', which is no host"),
            ({"a": "head[1-2"}, "no set of hosts"),
        ],
    )
    def test_groups_that_make_no_sense(self, groups: dict[str, str], reason: str) -> None:
        with pytest.raises(InputError, match=reason):
            load(Places({"head[1-2]": Said()}, groups=groups))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("jump", ("jump", None, None)),
        ("ops@jump", ("jump", "ops", None)),
        ("ops@10.0.0.1:2222", ("10.0.0.1", "ops", 2222)),
        ("[fe80::1]:2222", ("fe80::1", None, 2222)),
    ],
)
def test_hops(text: str, found: tuple[str, str | None, int | None]) -> None:
    hop = parse_hop(text)
    assert (hop.address, hop.user, hop.port) == found


@pytest.mark.parametrize(
    "text", ["", "@x", "x:", "x:y", "a@b@c", "-x", "a b", "$(id)", "x/y", "fe80::1", "u@-x"]
)
def test_what_is_no_hop(text: str) -> None:
    with pytest.raises(InputError, match="is no gateway"):
        parse_hop(text)


class TestOneAddress:
    @pytest.mark.parametrize(
        "said",
        [
            {"head1": Said(address="10.0.0.1"), "head2": Said(address="10.0.0.1", port=22)},
            {"head1": Said(address="A.example"), "head2": Said(address="a.example")},
            {"head[1-2]": Said(address="10.0.0.1")},
            {"head1": Said(), "other": Said(address="head1")},
            {"head1": Said(address="a.example."), "head2": Said(address="a.example")},
            {"head1": Said(address="FD00::0:1"), "head2": Said(address="fd00::1")},
            {
                "gate": Said(address="10.0.0.9"),
                "head1": Said(address="10.0.0.1", gateway="gate"),
                "head2": Said(address="10.0.0.1", gateway="ops@10.0.0.9:22"),
            },
        ],
    )
    def test_is_not_of_two_heads(self, said: Mapping[str, Said]) -> None:
        with pytest.raises(InputError, match="have the same address") as caught:
            load(Places(said))
        assert "hosts." in str(caught.value.where)
        assert sum(name in caught.value.reason for name in ("head1", "head2", "other")) == 2

    def test_may_be_of_two_at_other_ports_or_behind_other_gateways(self) -> None:
        one = "10.0.0.1"
        load(Places({"head1": Said(address=one, port=22), "head2": Said(address=one, port=23)}))
        load(
            Places(
                {
                    "head1": Said(address=one, gateway="gate1"),
                    "head2": Said(address=one, gateway="gate2"),
                    "head3": Said(address=one),
                    "head4": Said(address=one, gateway="gate1:2222"),
                }
            )
        )
        load(Places({"local": Said(), "head1": Said(address="local")}))
