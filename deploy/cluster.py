"""The hosts of a site's cluster, each with its address among the others.

Pure: from the inventory and from what the settings say of the cluster. How a host is reached by
who deploys is for `deploy.route`; here it is the address that other hosts know it by.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.host import Host
    from deploy.inventory import Inventory

WHERE = "cluster.hosts"


@dataclass(frozen=True, slots=True)
class ClusterHost:
    """A host of the cluster: `address` is an IP; the highest `priority` comes first."""

    name: str
    address: str
    priority: int


def cluster_hosts(
    inventory: Inventory, wanted: str | None, addresses: Mapping[str, str]
) -> tuple[ClusterHost, ...]:
    """Return the hosts of the cluster, in the order of the inventory.

    Without `wanted` they are all that are reached by SSH. `addresses` are for hosts that the
    inventory knows by another name than an IP address.

    Raises:
        InputError: a host is not there, is this machine, or has no IP address; two have one; an
            address is given for a host that is none of the cluster's.
    """
    hosts = _remote(inventory) if wanted is None else inventory.select(wanted)
    found = tuple(_host(host, addresses) for host in hosts)
    _check(found, addresses)
    return found


def within(hosts: Iterable[ClusterHost], wanted: Sequence[Host]) -> tuple[str, ...]:
    """Return the names of the wanted hosts, in the cluster's order.

    Raises:
        InputError: one is not of the cluster.
    """
    named = {host.name for host in wanted}
    names = tuple(host.name for host in hosts if host.name in named)
    strangers = sorted(named - set(names))
    if strangers:
        raise InputError(
            f"{strangers[0]} is none of the cluster's hosts",
            expected="hosts that `cluster.hosts` names",
            hint="name it there too",
        )
    return names


def _remote(inventory: Inventory) -> tuple[Host, ...]:
    hosts = tuple(host for host in inventory.every() if not host.local)
    if not hosts:
        raise InputError(
            "the cluster has no hosts: the inventory has none that is reached by SSH",
            where=WHERE,
            hint="name the heads under `hosts` in sealift.yaml",
        )
    return hosts


def _host(host: Host, addresses: Mapping[str, str]) -> ClusterHost:
    if host.local:
        reason = f"{host.name} is this machine, which is no host of a cluster"
        raise InputError(reason, where=WHERE, hint="name hosts that are reached by SSH")
    return ClusterHost(host.name, _address(host, addresses), host.priority)


def _address(host: Host, addresses: Mapping[str, str]) -> str:
    if host.name in addresses:
        return addresses[host.name]
    with suppress(ValueError):
        # Another host's way to a loopback address leads nowhere: this one is behind a forwarding.
        if not (address := ip_address(host.address)).is_loopback:
            return str(address)
    raise InputError(
        f"which address {host.name} has within the cluster is not said",
        where=f"hosts.{host.name}",
        expected="an IP address",
        got=host.address,
        hint=f"cluster: {{addresses: {{{host.name}: 10.0.0.11}}}}, with its own",
    )


def _check(hosts: Sequence[ClusterHost], addresses: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for host in hosts:
        other = seen.setdefault(host.address, host.name)
        if other != host.name:
            reason = f"{other} and {host.name} have the same address, {host.address}"
            raise InputError(reason, where="cluster.addresses")
    strangers = sorted(set(addresses) - {host.name for host in hosts})
    if strangers:
        reason = f"an address is given for {strangers[0]}, which is none of the cluster's hosts"
        raise InputError(reason, where=f"cluster.addresses.{strangers[0]}")
