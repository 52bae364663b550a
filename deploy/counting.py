"""What leaves a machine for anywhere but the heads: rules that drop and count it, and the counts.

Text in, values out; nothing is run here. The rules stand in a table of their own, and bind only
while a set has its elements, which time out: whoever armed it and died leaves nothing behind that
drops anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Collection, Iterable, Mapping

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TABLE = "sealift_proof"
LISTENING = "0A"
"""The state of a socket that listens, in /proc/net/tcp."""
_SETS = ("sent4", "sent6", "rest4", "rest6")
_MOST = 65535
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}


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
    `armed` says whether the rules still bind.
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


def rules(allowed: Iterable[Network], served: Collection[int]) -> str:
    """Spell the table, unarmed, for `nft -f`; it replaces one that is there.

    `allowed` is where packets may go; `served` are the TCP ports that somebody listens on. What a
    connection from elsewhere is answered passes: the kernel knows its direction if it began after
    the rules, and else it comes from a served port and does not open anything. Protocols are
    numbers, as a machine need not have /etc/protocols.
    """
    nets = sorted({str(net) for net in allowed})
    four = [net for net in nets if ":" not in net]
    six = [net for net in nets if ":" in net]
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set armed {{ type nf_proto; flags timeout; }}
  set heads4 {{ type ipv4_addr; flags interval; auto-merge; {_elements(four)} }}
  set heads6 {{ type ipv6_addr; flags interval; auto-merge; {_elements(six)} }}
  set served {{ type inet_service; {_elements(map(str, sorted(served)))} }}
  set sent4 {{ typeof meta skuid . ip daddr . ip protocol . th dport; {_DYNAMIC} }}
  set sent6 {{ typeof meta skuid . ip6 daddr . ip6 nexthdr . th dport; {_DYNAMIC} }}
  set rest4 {{ typeof ip daddr . ip protocol; {_DYNAMIC} }}
  set rest6 {{ typeof ip6 daddr . ip6 nexthdr; {_DYNAMIC} }}
  counter unnamed {{ }}
  chain elsewhere {{
    meta nfproto != @armed accept
    oifname "lo" accept
    ip daddr @heads4 accept
    ip6 daddr @heads6 accept
    ip daddr {{ 224.0.0.0/24, 255.255.255.255 }} accept
    ip6 daddr {{ fe80::/10, ff02::/16 }} accept
    ct direction reply accept
    tcp flags & (syn | ack) != syn tcp sport @served accept
    meta nfproto ipv4 ip protocol {{ 6, 17 }} \
add @sent4 {{ meta skuid . ip daddr . ip protocol . th dport }} drop
    meta nfproto ipv6 ip6 nexthdr {{ 6, 17 }} \
add @sent6 {{ meta skuid . ip6 daddr . ip6 nexthdr . th dport }} drop
    meta nfproto ipv4 add @rest4 {{ ip daddr . ip protocol }} drop
    meta nfproto ipv6 add @rest6 {{ ip6 daddr . ip6 nexthdr }} drop
    counter name unnamed drop
  }}
  chain leaving {{
    type filter hook output priority -150; policy accept;
    jump elsewhere
  }}
  chain passing {{
    type filter hook forward priority -150; policy accept;
    jump elsewhere
  }}
}}
"""


def arming(seconds: int) -> str:
    """Spell what arms the table for so long, or for so long again."""
    return (
        f"flush set inet {TABLE} armed\n"
        f"add element inet {TABLE} armed {{ ipv4 timeout {seconds}s, ipv6 timeout {seconds}s }}\n"
    )


def parse(listed: bytes, snmp: str) -> Counts:
    """Read `nft -j list table` and /proc/net/snmp with snmp6.

    Raises:
        ValueError: that is not what they say.
    """
    packets: dict[Flow, int] = {}
    unnamed, armed = 0, False
    for item in _items(listed):
        of = item.get("set", {})
        if of.get("name") in _SETS:
            packets |= dict(_flow(element) for element in of.get("elem", []))
        elif of.get("name") == "armed":
            armed = bool(of.get("elem"))
        elif item.get("counter", {}).get("name") == "unnamed":
            unnamed = int(item["counter"]["packets"])
    return Counts(packets, unnamed, _routeless(snmp), armed)


def served_ports(sockets: str) -> tuple[int, ...]:
    """Read the ports that are listened on from /proc/net/tcp and tcp6."""
    rows = (line.split() for line in sockets.splitlines())
    found = {
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if len(row) > _STATE and row[_STATE] == LISTENING
    }
    return tuple(sorted(found))


_STATE = 3
"""The column of a socket's state; those before are its number and both of its ends."""
_DYNAMIC = f"flags dynamic; counter; size {_MOST};"


def _elements(words: Iterable[str]) -> str:
    joined = ", ".join(words)
    return f"elements = {{ {joined} }};" if joined else ""


def _items(listed: bytes) -> list[dict[str, Any]]:
    said = json.loads(listed)
    items = said.get("nftables") if isinstance(said, dict) else None
    if not isinstance(items, list):
        raise ValueError("nft lists no table")  # noqa: TRY004 - a text that is not what it should be
    return [item for item in items if isinstance(item, dict)]


def _flow(element: dict[str, Any]) -> tuple[Flow, int]:
    """Read one element of a set: two words where there is neither socket nor port, or four."""
    inner = element["elem"]
    words = inner["val"]["concat"]
    count = int(inner["counter"]["packets"])
    if len(words) == 2:  # noqa: PLR2004 - as the sets are spelled above
        return Flow(None, str(words[0]), _protocol(words[1])), count
    return Flow(int(words[0]), str(words[1]), _protocol(words[2]), int(words[3])), count


def _protocol(word: object) -> str:
    """Name a protocol, which nft names or numbers as /etc/protocols lets it."""
    return _PROTOCOLS.get(str(word), str(word)).replace("ipv6-icmp", "icmpv6")


def _routeless(snmp: str) -> int:
    """Add up what the kernel had no route for; IPv4 has a row of names above its numbers."""
    rows = [line.split() for line in snmp.splitlines()]
    four = [row for row in rows if row[:1] == ["Ip:"]]
    found = 0
    if len(four) == 2:  # noqa: PLR2004 - the names, and the numbers
        found += int(dict(zip(*four, strict=True)).get("OutNoRoutes", "0"))
    return found + sum(int(row[1]) for row in rows if row[:1] == ["Ip6OutNoRoutes"])
