"""Is everybody watched from before the first step to after the last, and is who sent named?

Machines are fakes that answer as nft, cat and getent do; real ones are in `test_watching` and in
`tests/e2e/test_gap.py`.
"""

from __future__ import annotations

import ipaddress
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from deploy import offline
from deploy.cutting import TABLE
from deploy.errors import HeadError
from deploy.local_machine import Done
from deploy.offline import CONTROLS, Step, addresses, networks, prove
from deploy.proof import NotOfflineError, Proof, StepFailedError, dump
from deploy.watch_scripts import (
    BEGIN,
    END,
    FIND,
    INTERFACES,
    IPV6,
    LEAVE,
    NUMBERS,
    SOCKETS,
    TRY,
)
from deploy.watching import NO_FRAMES, NO_ORDER, Tools, Watch, WatchError
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEND = ["995", "192.0.2.80", "tcp", "443"]
DEPLOY = Step("deploy", ("sealift", "deploy"))
RESTART = Step("restart", ("sealift", "restart"))
NAMES = {FIND: "find", BEGIN: "begin", END: "end", LEAVE: "leave", TRY: "try"}


@dataclass(slots=True)
class FakeMachine:
    """A machine with nft, whose table has what was `sent`; `said` is what was asked, in order."""

    name: str
    nft: str = "/usr/sbin/nft"
    deaf: tuple[str, ...] = ()
    """By which protocols it counts nothing."""
    ipv6: bool = False
    frames: bool = True
    """Whether nft can lay rules for frames."""
    loose: str = "0"
    hangs: threading.Event | None = None
    """Until when a renewal is not answered."""
    waits: threading.Event | None = None
    """What it waits for before it begins."""
    renewed: threading.Event = field(default_factory=threading.Event)
    armed: bool = False
    laid: str = ""
    sent: dict[tuple[str, ...], int] = field(default_factory=dict)
    meanwhile: tuple[tuple[str, ...], ...] = ()
    """What others on it send while it is tried out."""
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
                return self._load(input.decode())
            case [_, "-j", "list", "table", "inet" | "netdev" as family, table]:
                assert table == TABLE
                answer = self._listed(self.sent if family == "inet" else {})
            case [_, "get", "element", *_]:
                return Done(0 if self.armed else 1, b"", "no such element")
            case ["getent", "passwd", *numbers]:
                rows = [f"{self.users.get(int(n), 'somebody')}:x:{n}:{n}::/:\n" for n in numbers]
                answer = "".join(rows).encode()
            case _:
                self.said.append(argv[0])
        return Done(0, answer, "")

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Done:
        del timeout, root
        if text in NAMES:
            self.said.append(NAMES[text])
        if text == BEGIN and self.waits is not None:
            assert self.waits.wait(10)
        if text == END:
            self.armed = False
        if text == TRY and args[0] not in self.deaf:
            for flow in (("0", args[0], "udp", "9"), *self.meanwhile):
                self.send(*flow)
        status, answer = {
            FIND: (0 if self.nft else 1, self.nft),
            BEGIN: (0, "/etc/apt"),
            SOCKETS: (0, f"{self.loose}\n32768 60999"),
            INTERFACES: (0, "eth0"),
            NUMBERS: (0, f"Ip: OutNoRoutes\nIp: {self.routeless}"),
            IPV6: (0 if self.ipv6 else 1, ""),
        }.get(text, (0, ""))
        return Done(status, f"{answer}\n".encode(), "")

    def _load(self, text: str) -> Done:
        """Load rules, or renew them."""
        if text.startswith("delete"):
            if self.hangs is not None:
                self.hangs.wait(60)
                raise HeadError("it hangs", where=self.name)
            self.renewed.set()
            return Done(0 if self.armed else 1, b"", "")
        if "table netdev" in text and not self.frames:
            return Done(1, b"", "unknown chain type")
        if "table inet" in text:
            self.sent.clear()
        self.armed = True
        self.laid += text
        return Done(0, b"", "")

    def send(self, *flow: str, packets: int = 1) -> None:
        self.sent[flow] = self.sent.get(flow, 0) + packets

    def _listed(self, sent: Mapping[tuple[str, ...], int]) -> bytes:
        elements = [
            {"elem": {"val": {"concat": list(flow)}, "counter": {"packets": count}}}
            for flow, count in sent.items()
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
    assert machines[1].said == ["find", "end", "begin", "leave", "try", "end"]
    assert "10.0.0.1/32" in machines[1].laid
    said = json.loads(dump(found))
    assert said["offline"] is True
    assert said["total"] == 0
    seen = {"ipv4": 1, "ipv6": None}
    assert said["control"] == {"transfer host": seen, "head1": seen}
    assert said["unseen"] == {"transfer host": [], "head1": []}
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


@pytest.mark.parametrize("protocol", CONTROLS)
def test_a_machine_that_does_not_count_a_protocol_proves_nothing(protocol: str) -> None:
    machine = FakeMachine("head1", deaf=(CONTROLS[protocol],), ipv6=True)
    with pytest.raises(WatchError, match="head1 counts nothing") as caught:
        proved([machine], lambda _: 0, DEPLOY)
    assert caught.value.where == f"head1, {protocol}"
    assert not machine.armed


def test_both_protocols_are_tried_where_there_are_both() -> None:
    found = proved([FakeMachine("head1", ipv6=True)], lambda _: 0, DEPLOY)
    assert found.control == {"head1": {"ipv4": 1, "ipv6": 1}}
    assert found.offline


def test_all_that_others_send_before_the_first_step_is_the_first_steps() -> None:
    machine = FakeMachine("head1", meanwhile=(("995", "198.51.100.1", "udp", "53"),))
    found = proved([machine], lambda _: 0, DEPLOY, RESTART)
    assert [str(each) for each in found.sendings] == [
        "head1, deploy: 1 packet of somebody to 198.51.100.1 udp 53"
    ]


def test_what_cannot_be_seen_is_said() -> None:
    machine = FakeMachine("head1", frames=False, loose="1")
    found = proved([machine], lambda _: 0, DEPLOY)
    assert json.loads(dump(found))["unseen"] == {"head1": [NO_ORDER, NO_FRAMES]}


def test_a_machine_that_hangs_keeps_no_other_from_being_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offline, "LAPSE", 0.06)
    hung, well = FakeMachine("head1", hangs=threading.Event()), FakeMachine("head2")
    renewed = []

    def act(_: Step) -> int:
        renewed.append(well.renewed.wait(10))
        assert hung.hangs is not None
        hung.hangs.set()
        return 0

    proved([hung, well], act, DEPLOY)
    assert renewed == [True]


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
    assert not taken.renewed.is_set()
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


def test_who_has_begun_is_renewed_while_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "LAPSE", 0.06)
    well = FakeMachine("head2")
    slow = FakeMachine("head1", waits=well.renewed)
    assert proved([slow, well], lambda _: 0, DEPLOY).offline


@pytest.mark.parametrize("word", ["0.0.0.0/0", "::/0", "8.0.0.0/8", "2000::/3", "0.0.0.0/1"])
def test_what_is_more_than_a_site_may_not_be_reached(word: str) -> None:
    with pytest.raises(InputError, match="is more than a site"):
        networks([word])


def test_private_networks_may_be_as_large_as_they_are() -> None:
    words = ["10.0.0.0/8", "172.16.0.0/12", "fd00::/8", "198.51.100.0/24", "2001:db8::/32"]
    assert {str(net) for net in networks(words)} == set(words)


@pytest.mark.parametrize("word", ["10.0.0.0/24", "0.0.0.0/0"])
def test_a_heads_address_is_no_network(word: str) -> None:
    assert addresses(["10.0.0.1"]) == (ipaddress.ip_network("10.0.0.1/32"),)
    with pytest.raises(InputError, match="is no address"):
        addresses([word])
