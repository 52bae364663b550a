"""Is everybody watched from before the first step to after the last, and is who sent named?

Machines are fakes that answer as nft, cat and getent do; real ones are in `test_watching` and in
`tests/e2e/test_gap.py`.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from deploy.counting import TABLE
from deploy.local_machine import Done
from deploy.offline import Step, networks, prove
from deploy.proof import NotOfflineError, Proof, StepFailedError, dump
from deploy.watching import BEGIN, END, FIND, LEAVE, TRY, Tools, Watch, WatchError
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEND = ["995", "192.0.2.80", "tcp", "443"]
DEPLOY = Step("deploy", ("sealift", "deploy"))
RESTART = Step("restart", ("sealift", "restart"))


@dataclass(slots=True)
class FakeMachine:
    """A machine with nft, whose table has what was `sent`; `said` is what was asked, in order."""

    name: str
    nft: str = "/usr/sbin/nft"
    deaf: bool = False
    """Whether it counts nothing."""
    armed: bool = False
    laid: str = ""
    sent: dict[tuple[str, ...], int] = field(default_factory=dict)
    routeless: int = 0
    said: list[str] = field(default_factory=list)
    users: Mapping[int, str] = field(default_factory=dict)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float,
        root: bool = True,
    ) -> Done:
        del timeout, root
        answer = b""
        match argv:
            case [_, "-f", "-"]:
                self.armed = b"timeout" in input
            case [_, "-j", "list", "table", "inet", table]:
                assert table == TABLE
                answer = self._listed()
            case [_, "get", "element", *_]:
                return Done(0 if self.armed else 1, b"", "no such element")
            case ["cat", "/proc/net/snmp", *_]:
                answer = f"Ip: OutNoRoutes\nIp: {self.routeless}\n".encode()
            case ["hostname", "-I"]:
                answer = b"10.5.0.1 fd00::5\n"
            case ["getent", "passwd", *numbers]:
                rows = [f"{self.users[int(n)]}:x:{n}:{n}::/:\n" for n in numbers]
                answer = "".join(rows).encode()
            case _:
                self.said.append(argv[0])
        return Done(0, answer, "")

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Done:
        del timeout, root
        names = {FIND: "find", BEGIN: "begin", END: "end", LEAVE: "leave", TRY: "try"}
        self.said.append(names[text])
        if text == FIND:
            return Done(0 if self.nft else 1, f"{self.nft}\n".encode(), "")
        if text == BEGIN:
            self.laid = args[2]
            return Done(0, b"/etc/apt\n", "")
        if text == END:
            self.armed = False
        if text == TRY and not self.deaf:
            self.send("0", "192.0.2.1", "udp", "9")
        return Done(0, b"", "")

    def send(self, *flow: str, packets: int = 1) -> None:
        self.sent[flow] = self.sent.get(flow, 0) + packets

    def _listed(self) -> bytes:
        elements = [
            {"elem": {"val": {"concat": list(flow)}, "counter": {"packets": count}}}
            for flow, count in self.sent.items()
        ]
        timed = {"elem": [{"elem": {"val": "ipv4"}}]} if self.armed else {}
        sets = [{"name": "armed", **timed}, {"name": "sent4", "elem": elements}]
        return json.dumps({"nftables": [{"set": each} for each in sets]}).encode()


def proved(machines: Sequence[FakeMachine], act: Any, *steps: Step) -> Proof:
    watches = [Watch(each, Tools((), None, "")) for each in machines]
    may = networks(["10.0.0.1"])
    return prove(watches, lambda _: may, steps, act, lambda: {"sealift-alpha": "alpha"})


def test_nothing_sent_is_nothing_counted() -> None:
    machines = [FakeMachine("transfer host"), FakeMachine("head1")]
    armed: list[bool] = []

    def act(_: Step) -> int:
        armed.extend(each.armed for each in machines)
        return 0

    found = proved(machines, act, DEPLOY, RESTART)
    found.check()
    assert armed == [True] * 4
    assert not any(each.armed for each in machines), "and nobody is left cut off"
    assert machines[1].said == ["find", "end", "cat", "begin", "leave", "try", "end"]
    assert "10.0.0.1/32" in machines[1].laid
    said = json.loads(dump(found))
    assert said["offline"] is True
    assert said["total"] == 0
    assert said["control"] == {"transfer host": 1, "head1": 1}
    assert said["hidden"] == {"transfer host": ["/etc/apt"], "head1": ["/etc/apt"]}
    assert [each["packets"] for each in said["steps"]] == [{"transfer host": 0, "head1": 0}] * 2


def test_who_sends_is_named_with_step_machine_and_service() -> None:
    machines = [FakeMachine("transfer host"), FakeMachine("head1", users={995: "sealift-alpha"})]
    machines[1].send(*SEND, packets=7)

    def act(step: Step) -> int:
        if step == RESTART:
            machines[1].send(*SEND, packets=3)
            machines[1].routeless += 1
            machines[0].send("198.51.100.1", "icmp")
        return 0

    found = proved(machines, act, DEPLOY, RESTART)
    with pytest.raises(NotOfflineError, match="5 packets") as caught:
        found.check()
    assert caught.value.lines == (
        "transfer host, restart: 1 packet of an unknown sender to 198.51.100.1 icmp",
        "head1, restart: 3 packets of alpha (user sealift-alpha) to 192.0.2.80 tcp 443",
        "head1, restart: 1 packet of an unknown sender to somewhere there is no route to",
    )
    said = json.loads(dump(found))
    assert said["offline"] is False
    assert [each["packets"] for each in said["steps"]] == [
        {"transfer host": 0, "head1": 0}, {"transfer host": 1, "head1": 4},
    ]  # fmt: skip


def test_a_step_that_fails_is_the_last_and_proves_nothing() -> None:
    machine = FakeMachine("head1")
    made = []

    def act(step: Step) -> int:
        made.append(step.name)
        return 5

    found = proved([machine], act, DEPLOY, RESTART)
    assert made == ["deploy"]
    assert not found.offline
    with pytest.raises(StepFailedError, match="the step deploy failed") as caught:
        found.check()
    assert caught.value.got == "exit status 5"
    assert not machine.armed


def test_a_machine_that_counts_nothing_proves_nothing() -> None:
    machine = FakeMachine("head1", deaf=True)
    with pytest.raises(WatchError, match="head1 counts nothing"):
        proved([machine], lambda _: 0, DEPLOY)
    assert not machine.armed


def test_a_machine_that_was_let_go_meanwhile_proves_nothing() -> None:
    machine = FakeMachine("head1")

    def act(_: Step) -> int:
        machine.armed = False
        return 0

    with pytest.raises(WatchError, match="head1 was not watched all the time"):
        proved([machine], act, DEPLOY)


def test_if_one_cannot_be_watched_all_are_let_go() -> None:
    one, other = FakeMachine("head1"), FakeMachine("head2", nft="")
    with pytest.raises(WatchError, match="there is no nft on head2"):
        proved([one, other], lambda _: 0, DEPLOY)
    assert not one.armed
    assert one.said[-1] == "end"


def test_a_proof_of_somebody_else_is_left_alone() -> None:
    free, taken = FakeMachine("head1"), FakeMachine("head2", armed=True)
    with pytest.raises(WatchError, match="head2 is watched already"):
        proved([free, taken], lambda _: 0, DEPLOY)
    assert taken.armed
    assert taken.said == ["find"]
    assert not free.armed


def test_an_operator_who_stops_leaves_nobody_cut_off() -> None:
    machine = FakeMachine("head1")

    def act(_: Step) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proved([machine], act, DEPLOY)
    assert not machine.armed


def test_what_may_be_reached_is_said_by_address_network_or_name() -> None:
    found = networks(["10.0.0.9/24", "fd00::1", "10.0.0.0/24", "localhost"])
    assert ipaddress.ip_network("10.0.0.0/24") in found
    assert ipaddress.ip_network("fd00::1/128") in found
    assert ipaddress.ip_network("127.0.0.1/32") in found
    with pytest.raises(InputError, match=r"nobody\.invalid has no address"):
        networks(["nobody.invalid"])


def test_a_machines_own_addresses_are_asked_for() -> None:
    watch = Watch(FakeMachine("head1"), Tools((), None, ""))
    assert watch.addresses() == ("10.5.0.1", "fd00::5")
