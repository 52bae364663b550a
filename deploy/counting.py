"""What a machine under watch sent to elsewhere: counts, as nft and the kernel give them.

Text in, values out; nothing is run here. `deploy.cutting` spells the rules that count.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TCP, UDP = 6, 17
_SETS = ("sent4", "sent6", "rest4", "rest6", "frames")
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
_LISTENING, _WAITING, _CLOSED = "0A", "06", "07"
"""States of sockets in /proc/net/tcp and udp: listens; has ended; is not connected."""
_STATE = 3
"""The column of a socket's state; those before are its number and both of its ends."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What was sent where: by which user (None where the kernel names no socket), to what.

    `port` is the destination's, None for what has no ports.
    """

    user: int | None
    address: str
    protocol: str
    port: int | None = None

    def __str__(self) -> str:
        port = "" if self.port is None else f" {self.port}"
        return f"{self.address} {self.protocol}{port}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a machine sent out since the rules were laid; `packets` by flow.

    `unnamed` are packets that found no room in the sets. `routeless` are attempts that the kernel
    had no route for, since boot: no packet was made of them, and nobody knows whose they were.
    `armed` says whether the rules bind, and did for every packet.
    """

    packets: Mapping[Flow, int] = field(default_factory=dict)
    unnamed: int = 0
    routeless: int = 0
    armed: bool = True

    @property
    def total(self) -> int:
        """All packets and attempts."""
        return sum(self.packets.values()) + self.unnamed + self.routeless

    def since(self, before: Counts) -> Counts:
        """Return what was added after `before`."""
        added = {
            flow: count - before.packets.get(flow, 0)
            for flow, count in self.packets.items()
            if count > before.packets.get(flow, 0)
        }
        return Counts(
            added,
            self.unnamed - before.unnamed,
            self.routeless - before.routeless,
            self.armed and before.armed,
        )


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of a machine: TCP ports that are listened on, and those that it opened itself.

    `opened` has protocol and local port of each that is connected without being listened on, and
    of UDP also those whose port the kernel chose.
    """

    served: tuple[int, ...]
    opened: tuple[tuple[int, int], ...]


def parse(listed: Iterable[bytes], snmp: str) -> Counts:
    """Read `nft -j list table` of each table, and /proc/net/snmp with snmp6.

    Raises:
        ValueError: that is not what they say.
    """
    packets: Counter[Flow] = Counter()
    unnamed, armed = 0, True
    for item in (item for each in listed for item in _items(each)):
        of, counter = item.get("set", {}), item.get("counter", {})
        if of.get("name") in _SETS:
            packets.update(dict(_flow(element) for element in of.get("elem", [])))
        elif of.get("name") == "armed":
            armed = armed and bool(of.get("elem"))
        elif counter.get("name") == "unnamed":
            unnamed += int(counter["packets"])
        elif counter.get("name") == "lapsed":
            armed = armed and not int(counter["packets"])
    return Counts(dict(packets), unnamed, routeless(snmp), armed)


def routeless(snmp: str) -> int:
    """Add up what the kernel had no route for; IPv4 has a row of names above its numbers."""
    rows = [line.split() for line in snmp.splitlines()]
    four = [row for row in rows if row[:1] == ["Ip:"]]
    found = 0
    if len(four) == 2:  # noqa: PLR2004 - the names, and the numbers
        found += int(dict(zip(*four, strict=True)).get("OutNoRoutes", "0"))
    return found + sum(int(row[1]) for row in rows if row[:1] == ["Ip6OutNoRoutes"])


def sockets(text: str) -> Sockets:
    """Read /proc/net/tcp, tcp6, udp and udp6, and before them the kernel's range of ports.

    Raises:
        ValueError: the range is not there.
    """
    first, _, rest = text.partition("\n")
    low, high = (int(word) for word in first.split())
    rows = list(_sockets(rest))
    served = {row.port for row in rows if row.protocol == TCP and row.state == _LISTENING}
    opened = {
        (row.protocol, row.port)
        for row in rows
        if (row.protocol == TCP and row.port not in served and row.state != _WAITING)
        or (row.protocol == UDP and (row.state != _CLOSED or low <= row.port <= high))
    }
    return Sockets(tuple(sorted(served)), tuple(sorted(opened)))


@dataclass(frozen=True, slots=True)
class _Socket:
    protocol: int
    port: int
    state: str


def _sockets(text: str) -> Iterator[_Socket]:
    """Read rows under their headers; only those of UDP count what was dropped."""
    protocol = TCP
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["sl"]:
            protocol = UDP if "drops" in words else TCP
        elif len(words) > _STATE:
            yield _Socket(protocol, int(words[1].rpartition(":")[2], 16), words[_STATE])


def _items(listed: bytes) -> list[dict[str, Any]]:
    said = json.loads(listed)
    items = said.get("nftables") if isinstance(said, dict) else None
    if not isinstance(items, list):
        raise ValueError("nft lists no table")  # noqa: TRY004 - a text that is not what it should be
    return [item for item in items if isinstance(item, dict)]


def _flow(element: dict[str, Any]) -> tuple[Flow, int]:
    """Read one element of a set: a type of frame; without socket and port two words; or four."""
    inner = element["elem"]
    count = int(inner["counter"]["packets"])
    if not isinstance(inner["val"], dict):
        return Flow(None, "frames", f"of type {_frame(inner['val'])}"), count
    words = inner["val"]["concat"]
    if len(words) == 2:  # noqa: PLR2004 - as the sets are spelled
        return Flow(None, str(words[0]), _protocol(words[1])), count
    return Flow(int(words[0]), str(words[1]), _protocol(words[2]), int(words[3])), count


def _frame(value: object) -> str:
    return f"{value:#06x}" if isinstance(value, int) else str(value)


def _protocol(word: object) -> str:
    """Name a protocol, which nft names or numbers as /etc/protocols lets it."""
    return _PROTOCOLS.get(str(word), str(word)).replace("ipv6-icmp", "icmpv6")
