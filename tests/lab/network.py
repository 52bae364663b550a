"""A lab's net: a bridge that forwards nothing, links that can be cut, and packets that are counted.

All of it lies outside the heads, so nothing that runs in one, root included, can undo it. Each head
has the transfer host as its default route, which is a sink: a packet to anywhere is sent, seen here
with its destination, and goes no further.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.shell import run

if TYPE_CHECKING:
    from tests.lab.names import Names


@dataclass(frozen=True, slots=True)
class Outbound:
    """What one head sent to anywhere but the lab's net, questions to a name server included."""

    packets: int
    destinations: tuple[str, ...]


def up(names: Names, heads: int) -> None:
    """Make the bridge and the rules for this many heads."""
    run("ip", "link", "add", names.bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    Path(f"/proc/sys/net/ipv6/conf/{names.bridge}/disable_ipv6").write_text("1")
    # A head that boots misses the first question for its address. The next comes after 50 ms, not
    # a second; a head that is cut off is given up after 3 s, as ever.
    asking = Path(f"/proc/sys/net/ipv4/neigh/{names.bridge}")
    (asking / "retrans_time_ms").write_text("50")
    (asking / "mcast_solicit").write_text("60")
    run("ip", "address", "add", f"{names.transfer}/24", "dev", names.bridge)
    run("ip", "link", "set", names.bridge, "up")
    run("nft", "-f", "-", input=ruleset(names, heads).encode())


def down(names: Names) -> None:
    """Take the rules and the bridge away, as far as they are there."""
    for family in ("bridge", "inet"):
        run("nft", "delete", "table", family, names.table, check=False)
    run("ip", "link", "delete", names.bridge, check=False)


def forget_link(names: Names, head: int) -> None:
    """Delete a dead head's link: the kernel is slow to, and the next start needs the name."""
    run("ip", "link", "delete", names.link(head), check=False)


def unplug(names: Names, head: int) -> None:
    """Take a head's link down at once; only a new start brings another."""
    run("ip", "link", "set", names.link(head), "down", check=False)


def cut(names: Names, head: int) -> None:
    """Lose every packet from and to a head, in silence, as a dead switch does."""
    run("nft", "add", "element", "bridge", names.table, "cut", f'{{ "{names.link(head)}" }}')


def heal(names: Names, head: int) -> None:
    """Let a head's packets through again."""
    element = f'{{ "{names.link(head)}" }}'
    run("nft", "delete", "element", "bridge", names.table, "cut", element, check=False)


def throttle(names: Names, head: int, rate: int | None) -> None:
    """Let a head receive no more than `rate` bits per second, or None for all that comes."""
    link = ("dev", names.link(head), "root")
    if rate is None:
        run("tc", "qdisc", "delete", *link, check=False)
        return
    # A bucket of 10 ms, but never smaller than the frames that segmentation offload makes.
    burst = str(max(rate // 800, 70_000))
    run("tc", "qdisc", "replace", *link, "tbf", "rate", f"{rate}bit", "burst", burst,
        "latency", "400ms")  # fmt: skip


def forget_packets(names: Names, head: int) -> None:
    """Count a head's outbound packets from nought."""
    run(
        "nft",
        "-f",
        "-",
        input="".join(f"flush set bridge {names.table} {kind}{head}\n" for kind in KINDS).encode(),
    )


def packets(names: Names, head: int) -> Outbound:
    """Count and list a head's outbound packets."""
    seen: dict[str, int] = {}
    for kind in KINDS:
        answer = run("nft", "-j", "list", "set", "bridge", names.table, f"{kind}{head}")
        seen |= parse_set(json.loads(answer.stdout))
    return Outbound(sum(seen.values()), tuple(sorted(seen)))


KINDS = {
    "ports": "ip daddr . ip protocol . th dport",
    "hosts": "ip daddr . ip protocol",
    "ports_v6_": "ip6 daddr . ip6 nexthdr . th dport",
    "hosts_v6_": "ip6 daddr . ip6 nexthdr",
    "frames": "ether type",
}


def parse_set(answer: dict[str, Any]) -> dict[str, int]:
    """Read `nft -j list set`: what was sent where, as words, and the number of packets."""
    found: dict[str, int] = {}
    for item in answer["nftables"]:
        for element in item.get("set", {}).get("elem", []):
            key = element["elem"]["val"]
            words = key["concat"] if isinstance(key, dict) else [key]
            found[" ".join(str(word) for word in words)] = element["elem"]["counter"]["packets"]
    return found


def ruleset(names: Names, heads: int) -> str:
    """Write the rules: count what leaves each head, lose what a cut link carries, forward nothing.

    Packets are counted before they are lost. From head to head they pass, also where the kernel
    shows bridged packets to these chains (net.bridge.bridge-nf-call-iptables). Broadcast and
    link-local multicast stay on the link and are none of our business.
    """
    return f"""
table bridge {names.table} {{
  set cut {{ type ifname; }}
{"".join(_sets(head) for head in range(1, heads + 1))}
{"".join(_chain(names, head) for head in range(1, heads + 1))}
  chain arriving {{
    type filter hook prerouting priority -300; policy accept;
{"".join(f'    iifname "{names.link(n)}" jump head{n}{chr(10)}' for n in range(1, heads + 1))}
    iifname @cut drop
  }}
  chain passing {{
    type filter hook forward priority -300; policy accept;
    oifname @cut drop
  }}
  chain leaving {{
    type filter hook output priority -300; policy accept;
    oifname @cut drop
  }}
}}
table inet {names.table} {{
  chain passing {{
    type filter hook forward priority -300; policy accept;
    iifname "{names.bridge}" oifname != "{names.bridge}" drop
    oifname "{names.bridge}" iifname != "{names.bridge}" drop
  }}
}}
"""


def _sets(head: int) -> str:
    return "".join(
        f"  set {kind}{head} {{ typeof {key}; flags dynamic; counter; size 65535; }}\n"
        for kind, key in KINDS.items()
    )


def _chain(names: Names, head: int) -> str:
    return f"""
  chain head{head} {{
    ether type arp return
    ether type != {{ ip, ip6 }} add @frames{head} {{ ether type }} return
    ip daddr {names.transfer} udp dport 53 add @ports{head} {{ {KINDS["ports"]} }} return
    ip daddr {names.transfer} tcp dport 53 add @ports{head} {{ {KINDS["ports"]} }} return
    ip daddr {{ {names.net}, 224.0.0.0/24, 255.255.255.255 }} return
    ip6 daddr {{ fe80::/10, ff02::/16 }} return
    ip protocol {{ tcp, udp }} add @ports{head} {{ {KINDS["ports"]} }} return
    ip6 nexthdr {{ tcp, udp }} add @ports_v6_{head} {{ {KINDS["ports_v6_"]} }} return
    ether type ip add @hosts{head} {{ {KINDS["hosts"]} }} return
    ether type ip6 add @hosts_v6_{head} {{ {KINDS["hosts_v6_"]} }} return
  }}
"""
