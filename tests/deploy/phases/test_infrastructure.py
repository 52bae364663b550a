"""What is found before anything is changed, and what is put in force on heads that are none."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from deploy.phases import firewall, ground, infrastructure
from deploy.phases.crew import Crew
from deploy.phases.errors import PhaseError
from deploy.phases.member import Ended
from deploy.phases.phase import Kind
from deploy.phases.state import State, UnitState
from tests.deploy.phases.fakes import FakeMember, Time
from tests.deploy.phases.test_firewall import RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.configuration import Configuration

PARAMETERS: dict[str, Any] = {
    "domain": "cluster.example.org",
    "names": {"license": "10.0.0.9"},
    "clock": "set",
    "firewall": True,
    "sysctl": {"net.core.somaxconn": "4096", "vm.swappiness": "10"},
    "locked_memory": "keep",
}
TRACKING = "0A00000B,10.0.0.11,11,1.1,0.0,0.0,0.0,1.5,0.0,0.02,0.0,0.0,16.1,Normal\n"


@dataclass
class Machine:
    """One head: what it tells of itself, and what it was told."""

    name: str
    address: str
    ahead: float = 0.0
    bounding: str = "000001ffffffffff"
    ports: Sequence[str] = ("0.0.0.0:22 sshd",)
    hosts: Sequence[str] = ("127.0.0.1 localhost",)
    settings: dict[str, str] = field(
        default_factory=lambda: {"net/core/somaxconn": "128", "vm/swappiness": "60"}
    )
    fixed: frozenset[str] = frozenset()
    memlock: str = "yes"
    keeper: str = ""
    wall: str = "none none no"
    heard: Sequence[str] = ()
    late: Sequence[str] = ()
    """Whom it hears of when it asks once more."""
    knows: bool = True
    closed: bool = True
    member: FakeMember = field(init=False)

    def __post_init__(self) -> None:
        units = {infrastructure.JOURNALD: UnitState("active", "running")}
        self.member = FakeMember(self.name, self.address, self.answer, unit=units)

    def answer(self, argv: tuple[str, ...], _input: str) -> Ended | str | None:
        match argv:
            case ("sh", "-c", ground.SCRIPT, *_):
                return self._ground()
            case ("sh", "-c", infrastructure.SET, "sh", *pairs):
                self.settings |= dict(zip(pairs[::2], pairs[1::2], strict=True))
                return ""
            case ("sh", "-c", firewall.LOOK):
                return self.wall
            case ("sh", "-c", firewall.KEEP):
                self.wall = "same same no"
                return firewall.KEPT
            case ("chronyc", *words):
                return self._chronyc(words)
        return self._tool(argv)

    def _chronyc(self, words: Sequence[str]) -> str:
        if "burst" in words:
            self.heard = (*self.heard, *self.late)
        rows = [f"^,+,{each},11,4,377,1,0.0,0.0,0.0" for each in self.heard]
        return TRACKING if words[-1] == "tracking" else "\n".join(rows)

    def _tool(self, argv: tuple[str, ...]) -> Ended | str | None:
        match argv:
            case ("getent", "ahosts", name):
                return f"10.0.0.1{name[-1]} STREAM {name}\n" if self.knows else Ended(2)
            case ("id", "-u", _):
                return "64001\n"
            case ("timeout", *_):
                return Ended(124 if self.closed else 1)
            case ("sh", "-c", infrastructure.READ, "sh", infrastructure.BEFORE):
                return self.member.files.get(infrastructure.BEFORE, "")
        return None

    def _ground(self) -> str:
        lines = [f"clock {time.time() + self.ahead}", f"bounding {self.bounding}"]
        for key, value in self.settings.items():
            lines.append(f"{'fixed' if key in self.fixed else 'set'} {key} {value}")
        lines += [f"host {each}" for each in self.hosts]
        for each in self.ports:
            address, _, who = each.partition(" ")
            lines.append(f'listens LISTEN 0 128 {address} 0.0.0.0:* users:(("{who}",pid=1,fd=3))')
        lines += [f"keeps {self.keeper}"] if self.keeper else []
        return "\n".join([*lines, f"memlock {self.memlock}", "end here"])


@dataclass
class Cluster:
    """Three heads and what is wanted of them."""

    heads: list[Machine] = field(
        default_factory=lambda: [Machine(f"head{n}", f"10.0.0.1{n}") for n in (1, 2, 3)]
    )
    rules: str = RULES

    def __post_init__(self) -> None:
        for head in self.heads:
            head.heard = [each.address for each in self.heads if each is not head]

    def crew(self, *, laid: bool = False, missing: int = 0, **parameters: Any) -> Crew:
        hosts = tuple(SimpleNamespace(name=h.name, address=h.address) for h in self.heads)
        file = SimpleNamespace(path=Path(firewall.WANTED))
        wanted = SimpleNamespace(
            parameters={**PARAMETERS, **parameters},
            hosts=hosts,
            files=(file,),
            users=(SimpleNamespace(name="slurm", uid=64001),),
            text=lambda _: self.rules.encode(),
        )
        there = self.heads[: len(self.heads) - missing]
        return Crew(
            "infrastructure",
            tuple(each.member for each in there),
            missing=tuple(each.name for each in self.heads[len(there) :]),
            configurations=dict.fromkeys(
                [each.name for each in self.heads], cast("Configuration", wanted)
            ),
            states={each.name: State(laid=laid) for each in there},
            clock=Time().clock,
            parallel=1,
        )

    def found(self, kind: Kind, **more: Any) -> set[str]:
        findings = infrastructure.check(self.crew(**more))
        return {
            f"{each.head} {each.slug or each.what}".strip()
            for each in findings
            if each.kind is kind
        }


def test_a_clock_that_is_ten_minutes_off_is_refused() -> None:
    cluster = Cluster()
    cluster.heads[1].ahead = -600
    assert cluster.found(Kind.REFUSAL) == {"head2 clock-off"}


def test_a_container_is_told_to_measure() -> None:
    cluster = Cluster()
    cluster.heads[0].bounding = "00000000fdecbfff"
    assert cluster.found(Kind.REFUSAL) == {"head1 clock-fixed"}
    assert cluster.found(Kind.REFUSAL, clock="measure") == set()


def test_what_debian_keeps_the_clock_by_has_to_go_first() -> None:
    cluster = Cluster()
    cluster.heads[1].keeper = "systemd-timesyncd"
    assert cluster.found(Kind.REFUSAL) == {"head2 package-conflict"}


def test_a_firewall_that_would_close_the_port_of_sshd_is_refused() -> None:
    cluster = Cluster()
    cluster.heads[2].ports = ("0.0.0.0:22 sshd", "0.0.0.0:2222 sshd")
    assert cluster.found(Kind.REFUSAL) == {"head3 ssh-port-closed"}
    line = '    tcp dport 2222 accept comment "ssh"\n'
    cluster.rules += f"  chain heads {{\n{line}  }}\n"
    assert cluster.found(Kind.REFUSAL) == {"head3 ssh-port-closed"}, "heads are not operators"
    cluster.rules = RULES.replace("    tcp dport 22 ", f"{line}    tcp dport 22 ")
    assert cluster.found(Kind.REFUSAL) == set()


def test_a_limit_that_would_let_nobody_log_in_is_refused() -> None:
    cluster = Cluster()
    cluster.heads[0].memlock = "no"
    assert cluster.found(Kind.REFUSAL) == set()
    assert cluster.found(Kind.REFUSAL, locked_memory="unlimited") == {"head1 limit-fixed"}


def test_what_will_be_closed_or_forgotten_is_told() -> None:
    cluster = Cluster()
    cluster.heads[0].ports = ("0.0.0.0:22 sshd", "*:9100 node_exporter", "127.0.0.1:25 master")
    cluster.heads[0].hosts = (
        "127.0.0.1 localhost",
        "10.0.0.12 head2.cluster.example.org head2",
        "10.0.0.9 license",
        "10.0.0.8 scratch",
    )
    assert cluster.found(Kind.NOTE) == {
        "head1 port 9100 (node_exporter) is closed to others",
        "head1 /etc/hosts is kept aside, and with it scratch (10.0.0.8)",
    }


def test_what_the_kernel_does_not_let_be_set_is_told_and_no_failure() -> None:
    cluster = Cluster()
    for head in cluster.heads:
        head.fixed = frozenset({"vm/swappiness"})
    assert "head1 vm.swappiness stays as it is: fixed there" in cluster.found(Kind.NOTE)
    infrastructure.apply(cluster.crew(laid=True))
    assert [head.settings["vm/swappiness"] for head in cluster.heads] == ["60"] * 3
    assert [head.settings["net/core/somaxconn"] for head in cluster.heads] == ["4096"] * 3


def test_a_second_run_finds_nothing_to_do() -> None:
    cluster = Cluster()
    assert len(cluster.found(Kind.CHANGE)) == 9
    infrastructure.apply(cluster.crew(laid=True))
    assert cluster.found(Kind.CHANGE, laid=True) == set()


def test_undo_puts_back_what_the_kernel_had_at_first() -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True))
    sysctl = {"net.core.somaxconn": "8192", "vm.swappiness": "1"}
    infrastructure.apply(cluster.crew(laid=True, sysctl=sysctl))
    infrastructure.undo(cluster.crew(laid=True), ())
    assert all(head.settings["net/core/somaxconn"] == "128" for head in cluster.heads)


def test_undo_puts_back_also_what_was_set_later() -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True, sysctl={"net.core.somaxconn": "4096"}))
    later = {"net.core.somaxconn": "8192", "vm.swappiness": "1"}
    infrastructure.apply(cluster.crew(laid=True, sysctl=later))
    assert all(head.settings["vm/swappiness"] == "1" for head in cluster.heads)
    infrastructure.undo(cluster.crew(laid=True, sysctl=later), ())
    wanted = {"net/core/somaxconn": "128", "vm/swappiness": "60"}
    assert [head.settings for head in cluster.heads] == [wanted] * 3


def test_verify_says_what_was_tried() -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True))
    told = infrastructure.verify(cluster.crew(laid=True))
    assert any("port 9" in each for each in told)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"knows": False}, "does not know head1"),
        ({"closed": False}, "is not closed"),
        ({"heard": ()}, "the clocks agree"),
        ({"wall": "same other no"}, "not those that were confirmed"),
    ],
)
def test_verify_fails_for_what_does_not_work(change: dict[str, Any], reason: str) -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True))
    for key, value in change.items():
        setattr(cluster.heads[1], key, value)
    with pytest.raises(PhaseError, match=reason):
        infrastructure.verify(cluster.crew(laid=True))


def test_all_heads_are_named_whose_clock_hears_nobody() -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True))
    for head in cluster.heads[:2]:
        head.heard = ()
    with pytest.raises(PhaseError) as caught:
        infrastructure.verify(cluster.crew(laid=True))
    assert caught.value.got == (
        "head1 has not heard of 10.0.0.12, 10.0.0.13; head2 has not heard of 10.0.0.11, 10.0.0.13"
    )


def test_a_head_that_began_before_the_others_asks_again() -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True))
    first = cluster.heads[0]
    first.late, first.heard = first.heard, ()
    told = infrastructure.verify(cluster.crew(laid=True))
    assert "chrony answers from every head to every other" in told


def test_a_head_that_is_out_need_not_be_heard_of() -> None:
    cluster = Cluster()
    infrastructure.apply(cluster.crew(laid=True))
    cluster.heads[0].heard = (cluster.heads[1].address,)
    cluster.heads[1].heard = (cluster.heads[0].address,)
    assert infrastructure.verify(cluster.crew(laid=True, missing=1))
