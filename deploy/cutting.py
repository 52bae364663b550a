"""The rules that cut a machine off: what may leave it, and that everything else is counted.

Text for `nft -f`, made of values; `deploy.counting` reads what was counted. There are two tables.
One sees what the machine sends or passes on as IP, before addresses are rewritten and after. The
other, where kernel and nft have that hook, sees every frame on its way into an interface, and
counts what did not pass the first: packet sockets, guests on bridges, protocols other than IP.

Both bind only while a set has its elements, which time out: whoever laid them and died leaves
nothing behind that drops anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Collection, Iterable, Sequence

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TABLE = "sealift_proof"
PASSED = 0x08000000
"""The bit of a packet's mark that says that the rules for IP let it through."""
_MOST = 65535
_DYNAMIC = f"flags dynamic; counter; size {_MOST};"
# Protocols are numbers, as a machine need not have /etc/protocols: 2 IGMP, 112 VRRP; of ICMPv6,
# 133 to 137 discover neighbours and 130 to 132 and 143 say who listens to which group.
LINK = """\
    ip protocol 2 ip daddr 224.0.0.0/4 ip ttl 1 return
    ip daddr 224.0.0.18 ip protocol 112 return
    ip6 daddr ff02::12 ip6 nexthdr 112 return
    ip protocol 17 udp sport 68 udp dport 67 return
    ip6 daddr { fe80::/10, ff02::/16 } udp sport 546 udp dport 547 return
    icmpv6 type { 133, 134, 135, 136, 137 } ip6 hoplimit 255 return
    icmpv6 type { 130, 131, 132, 143 } ip6 daddr ff02::/16 return
"""
"""What a link needs to be one; all else that goes to many is counted."""
COUNT = """\
    ip protocol { 6, 17 } add @sent4 { meta skuid . ip daddr . ip protocol . th dport } drop
    ip6 nexthdr { 6, 17 } add @sent6 { meta skuid . ip6 daddr . ip6 nexthdr . th dport } drop
    add @rest4 { ip daddr . ip protocol } drop
    add @rest6 { ip6 daddr . ip6 nexthdr } drop
"""


def packets(allowed: Iterable[Network], served: Collection[int], seconds: int) -> str:
    """Spell the table for IP, which binds for so long; it replaces one that is there.

    `allowed` is where packets may go; `served` are the TCP ports that somebody listens on. What
    comes from elsewhere may be answered: the kernel knows who began if that was after the rules,
    and what is older and comes from a served port opens nothing. `opened` names the others.
    """
    inside = f"""\
    meta nfproto != @armed counter name lapsed return
    oifname "lo" return
    ip daddr @heads4 return
    ip6 daddr @heads6 return
{LINK}"""
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set armed {{ type nf_proto; flags timeout; {_elements(_timed(("ipv4", "ipv6"), seconds))} }}
{_sets(allowed)}
  set served {{ type inet_service; {_elements(map(str, sorted(served)))} }}
  set opened {{ type inet_proto . inet_service; }}
  chain counted {{
{COUNT}    counter name unnamed drop
  }}
  chain own {{
{inside}    goto counted
  }}
  chain elsewhere {{
{inside}    meta l4proto {{ 1, 6, 17, 58 }} ct direction reply return
    tcp flags & (syn | ack) != syn tcp sport @served return
    goto counted
  }}
  chain leaving {{
    type filter hook output priority -150; policy accept;
    meta l4proto . th sport @opened goto own
    jump elsewhere
  }}
  chain passing {{
    type filter hook forward priority -150; policy accept;
    jump elsewhere
  }}
  chain rewritten {{
    type filter hook postrouting priority 1000; policy accept;
    jump elsewhere
    meta mark set meta mark | {PASSED:#x}
  }}
}}
"""


def opened(connections: Iterable[tuple[int, int]]) -> str:
    """Spell which sockets were others' before the rules: protocol and local port of each.

    Nobody saw who began these connections, so no answer of theirs is taken for one.
    """
    elements = _elements(f"{protocol} . {port}" for protocol, port in sorted(set(connections)))
    said = elements.removeprefix("elements = ").removesuffix(";")
    return f"add element inet {TABLE} opened {said}\n" if said else ""


def frames(allowed: Iterable[Network], interfaces: Sequence[str], seconds: int) -> str:
    """Spell the table for all frames into these interfaces; that for IP must be there before.

    It lets through what that one marked, ARP, and what no bridge passes on (IEEE 802.1Q, 8.6.3).
    """
    names = tuple(f'"{name}"' for name in interfaces)
    return f"""\
table netdev {TABLE}
delete table netdev {TABLE}
table netdev {TABLE} {{
  set armed {{ type ifname; flags timeout; {_elements(_timed(names, seconds))} }}
{_sets(allowed)}
  set frames {{ typeof meta protocol; {_DYNAMIC} }}
  chain leaving {{
    type filter hook egress devices = {{ {", ".join(names)} }} priority 0; policy accept;
    oifname != @armed counter name lapsed return
    meta mark & {PASSED:#x} != 0 return
    ether type arp return
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 return
    ip daddr @heads4 return
    ip6 daddr @heads6 return
{LINK}{COUNT}    add @frames {{ meta protocol }} drop
    counter name unnamed drop
  }}
}}
"""


def arming(seconds: int, interfaces: Sequence[str] = ()) -> str:
    """Spell what lets both tables bind for so long again; it fails if one has lapsed."""
    words = {"inet": ("ipv4", "ipv6"), "netdev": tuple(f'"{name}"' for name in interfaces)}
    return "".join(
        f"delete element {family} {TABLE} armed {{ {', '.join(names)} }}\n"
        f"add element {family} {TABLE} armed {{ {', '.join(_timed(names, seconds))} }}\n"
        for family, names in words.items()
        if names
    )


def _sets(allowed: Iterable[Network]) -> str:
    nets = sorted({str(net) for net in allowed})
    four = [net for net in nets if ":" not in net]
    six = [net for net in nets if ":" in net]
    return f"""\
  set heads4 {{ type ipv4_addr; flags interval; auto-merge; {_elements(four)} }}
  set heads6 {{ type ipv6_addr; flags interval; auto-merge; {_elements(six)} }}
  set sent4 {{ typeof meta skuid . ip daddr . ip protocol . th dport; {_DYNAMIC} }}
  set sent6 {{ typeof meta skuid . ip6 daddr . ip6 nexthdr . th dport; {_DYNAMIC} }}
  set rest4 {{ typeof ip daddr . ip protocol; {_DYNAMIC} }}
  set rest6 {{ typeof ip6 daddr . ip6 nexthdr; {_DYNAMIC} }}
  counter unnamed {{ }}
  counter lapsed {{ }}"""


def _timed(names: Iterable[str], seconds: int) -> list[str]:
    return [f"{name} timeout {seconds}s" for name in names]


def _elements(words: Iterable[str]) -> str:
    joined = ", ".join(words)
    return f"elements = {{ {joined} }};" if joined else ""
