"""Do the rules say what is counted, and are counts read as nft and the kernel give them?"""

from __future__ import annotations

import ipaddress
import json

import pytest

from deploy.counting import Counts, Flow, Sockets, parse, sockets
from deploy.cutting import arming, frames, opened, packets

HEADS = (ipaddress.ip_network("10.0.0.1/32"), ipaddress.ip_network("fd00::1/128"))
SNMP = """\
Ip: Forwarding DefaultTTL OutNoRoutes
Ip: 2 64 {four}
Icmp: InMsgs
Icmp: 3
Ip6InNoRoutes 3
Ip6OutNoRoutes {six}
"""
# sl local_address rem_address st, as proc(5) has them: 22 listens and serves one, 443 listens on
# IPv6, 40000 is a connection that this machine opened; one of 40001 has ended. Of UDP 53 is bound
# to serve, 123 is connected, and 50000 the kernel chose.
SOCKETS = """\
32768\t60999
  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:0016 00000000:0000 0A 00000000:00000000
   1: 0100007F:9C40 0100007F:0016 01 00000000:00000000
   2: 0100007F:0016 0100007F:9C40 01 00000000:00000000
   3: 0100007F:9C41 0100007F:0016 06 00000000:00000000
  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt inode ref pointer drops
   7: 00000000:0035 00000000:0000 07 00000000:00000000
   8: 0100007F:007B 070200C0:007B 01 00000000:00000000
  sl  local_address remote_address st tx_queue rx_queue inode ref pointer drops
   9: 00000000000000000000000000000000:C350 00000000000000000000000000000000:0000 07 0
"""


def listed(
    *, armed: bool = True, unnamed: int = 0, lapsed: int = 0, **sets: list[tuple[list[object], int]]
) -> bytes:
    """What `nft -j list table` writes of a table with these elements."""
    items: list[object] = [{"metainfo": {"version": "1.0.6"}}]
    timed = [{"elem": {"val": "ipv4", "timeout": 60, "expires": 57}}]
    items.append({"set": {"name": "armed", **({"elem": timed} if armed else {})}})
    items.append({"counter": {"name": "unnamed", "packets": unnamed, "bytes": 0}})
    items.append({"counter": {"name": "lapsed", "packets": lapsed, "bytes": 0}})
    for name, elements in sets.items():
        found = [
            {"elem": {"val": {"concat": words}, "counter": {"packets": count, "bytes": 1}}}
            for words, count in elements
        ]
        items.append({"set": {"name": name, "elem": found}})
    return json.dumps({"nftables": items}).encode()


def test_heads_are_let_through_by_family() -> None:
    text = packets(HEADS, (443, 22), 90)
    assert (
        "set heads4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.1/32 }; }"
        in text
    )
    assert (
        "set heads6 { type ipv6_addr; flags interval; auto-merge; elements = { fd00::1/128 }; }"
        in text
    )
    assert "set served { type inet_service; elements = { 22, 443 }; }" in text
    assert "ipv4 timeout 90s" in text
    assert "elements = {  }" not in packets((), (), 90), "it is a syntax error"
    assert opened(()) == ""
    assert 'add element netdev sealift_proof armed { "eth0" timeout 90s }' in arming(90, ["eth0"])
    assert "elements = { 10.0.0.1/32 }" in frames(HEADS, ["eth0"], 90)


def test_counts_are_read_and_subtracted() -> None:
    before = parse(
        [listed(sent4=[([995, "192.0.2.1", "tcp", 443], 2)], rest4=[(["192.0.2.9", "icmp"], 1)])],
        SNMP.format(four=4, six=0),
    )
    ip = listed(
        sent4=[([995, "192.0.2.1", 6, 443], 4), ([0, "192.0.2.1", "udp", 53], 1)],
        sent6=[([995, "2001:db8::1", "17", 53], 7)],
        rest4=[(["192.0.2.9", "icmp"], 1)],
        rest6=[(["2001:db8::1", "ipv6-icmp"], 1)],
        unnamed=2,
    )
    frame = {"elem": {"val": 0x88B5, "counter": {"packets": 2, "bytes": 1}}}
    raw = json.loads(listed(sent4=[([995, "192.0.2.1", 6, 443], 1)], unnamed=1))
    raw["nftables"].append({"set": {"name": "frames", "elem": [frame]}})
    after = parse([ip, json.dumps(raw).encode()], SNMP.format(four=6, six=1))
    added = after.since(before)
    assert added.packets == {
        Flow(995, "192.0.2.1", "tcp", 443): 3,
        Flow(0, "192.0.2.1", "udp", 53): 1,
        Flow(995, "2001:db8::1", "udp", 53): 7,
        Flow(None, "2001:db8::1", "icmpv6"): 1,
        Flow(None, "frames", "of type 0x88b5"): 2,
    }
    assert (added.unnamed, added.routeless, added.total) == (3, 3, 20)
    assert before.since(before).total == 0
    assert str(Flow(995, "192.0.2.1", "tcp", 443)) == "192.0.2.1 tcp 443"
    assert str(Flow(None, "2001:db8::1", "icmpv6")) == "2001:db8::1 icmpv6"


def test_a_table_that_lapsed_says_so_even_if_it_was_armed_again() -> None:
    lapsed = parse([listed(armed=False)], "")
    armed = parse([listed()], "")
    assert armed.armed
    assert not lapsed.armed
    assert not armed.since(lapsed).armed
    assert not lapsed.since(armed).armed
    assert Counts().total == 0
    assert not parse([listed(), listed(armed=False)], "").armed
    assert not parse([listed(), listed(lapsed=1)], "").armed, "one packet went uncounted"


def test_sockets_serve_or_were_opened_by_this_machine() -> None:
    assert sockets(SOCKETS) == Sockets((22, 443), ((6, 40000), (17, 123), (17, 50000)))


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"nftables": 3}'])
def test_what_is_no_list_of_nft_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="nft lists no table"):
        parse([text], "")
