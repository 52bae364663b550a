"""The hosts of a site, as the settings file lists them, and the ones that an operator means.

`Said` and `Site` are what is needed of the settings; reading them from YAML is not for here, and
a host itself is in `deploy.host`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from deploy.host import LOCAL, SSH, Host, is_address, is_user, parse_hop
from deploy.local_head import LocalHead
from deploy.node_sets import expand, fold, is_host_name
from deploy.settings import Settings
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from store.local import LocalStore

DEFAULT = "local"
WEB_PORT = 8080
SSH_PORT = 22
_REMOTE = ("address", "user", "key", "gateway", "sudo")
"""What is only said of a host that is reached by SSH."""
_SAID = ("kind", "port", "port_offset", *_REMOTE, "roles", "priority")
_DIGITS = re.compile(r"([0-9]+)")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"]|\$\{")


class Said(Protocol):
    """What the settings say under one key of `hosts`; None where they say nothing."""

    @property
    def kind(self) -> str | None:
        """`local` or `ssh`."""
        ...

    @property
    def port(self) -> int | None:
        """The web server's port of a local host, else ssh's."""
        ...

    @property
    def port_offset(self) -> int | None:
        """What is added to every service's port."""
        ...

    @property
    def address(self) -> str | None:
        """Where it is reached; `{name}` stands for its name."""
        ...

    @property
    def user(self) -> str | None:
        """Who logs in."""
        ...

    @property
    def key(self) -> str | None:
        """The file of a private key; relative to the settings file."""
        ...

    @property
    def gateway(self) -> str | None:
        """A host of the inventory, or `[user@]host[:port]`."""
        ...

    @property
    def roles(self) -> tuple[str, ...] | None:
        """Names of roles."""
        ...

    @property
    def priority(self) -> int | None:
        """Higher is earlier."""
        ...

    @property
    def sudo(self) -> str | None:
        """`auto`, `always` or `never`."""
        ...


class Site(Protocol):
    """The part of a site's settings that names its hosts."""

    @property
    def file(self) -> Path:
        """The settings file."""
        ...

    @property
    def root(self) -> Path:
        """The folder that paths in it start at."""
        ...

    @property
    def state_dir(self) -> Path:
        """Where the state of services lies."""
        ...

    @property
    def hosts(self) -> Mapping[str, Said]:
        """What is said of hosts, by name or set of names."""
        ...

    @property
    def groups(self) -> Mapping[str, str]:
        """Sets of hosts by name."""
        ...

    @property
    def roles(self) -> Mapping[str, tuple[str, ...]]:
        """Services by role."""
        ...


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts by name, and groups as plain names with commas between."""

    hosts: Mapping[str, Host]
    groups: Mapping[str, str]

    def host(self, name: str) -> Host:
        """Return one host.

        Raises:
            InputError: there is none of this name; says which is near.
        """
        if name in self.hosts:
            return self.hosts[name]
        near = get_close_matches(name, self.hosts, 1)
        have = fold(self.hosts) if self.hosts else "none"
        raise InputError(
            f"there is no host {name!r}",
            got=f"there are: {have}",
            hint=f"did you mean {near[0]!r}?" if near else "sealift inventory list",
        )

    def select(self, wanted: str | Sequence[str]) -> tuple[Host, ...]:
        """Return the hosts of a set: those of high priority first, then by name.

        Raises:
            InputError: the set cannot be read, is empty, or names what is not here.
        """
        text = wanted if isinstance(wanted, str) else ",".join(wanted)
        names = expand(text, self.groups)
        lacking = [name for name in names if name not in self.hosts]
        if len(lacking) > 1:
            raise InputError(
                f"there are no hosts {fold(lacking)}",
                got=f"there are: {fold(self.hosts) if self.hosts else 'none'}",
                hint="sealift inventory list",
            )
        return _in_place(map(self.host, names))

    def every(self) -> tuple[Host, ...]:
        """Return all hosts, in the order of `select`."""
        return _in_place(self.hosts.values())

    def gateway(self, text: str) -> Host:
        """Return the host that a gateway's text means: one of the inventory, or another.

        Raises:
            InputError: it is no `[user@]host[:port]`.
        """
        return self.hosts[text] if text in self.hosts else parse_hop(text)


def load(site: Site) -> Inventory:
    """Read what the settings say about hosts.

    Keys that name one host say more than those that name a set: `head[1-3]` for what all have,
    `head1` for what is its own.

    Raises:
        InputError: names that are none, two sets with the same host, a role, group or gateway
            that is not there, gateways in a circle, two hosts at one address.
    """
    said = _by_name(site)
    plain = {name: _host(site, name, each) for name, each in said.items()}
    through = {name: each["gateway"] for name, each in said.items() if each.get("gateway")}
    hosts = {name: _routed(host, plain, through, ()) for name, host in plain.items()}
    _refuse_twins(site, hosts.values())
    return Inventory(MappingProxyType(hosts), MappingProxyType(_groups(site, hosts)))


def head(site: Site, store: LocalStore, name: str = DEFAULT) -> LocalHead:
    """Return this machine's head, which the site calls `name`.

    Raises:
        InputError: there is no such host, or it is another machine.
    """
    inventory = load(site)
    host = inventory.host(name)
    if not host.local:
        raise InputError(f"{name} is another machine", where=name, hint=f"--host {name}")
    local = [each.name for each in inventory.hosts.values() if each.local]
    if len(local) > 1:
        raise InputError(
            "two hosts are this machine",
            where=name,
            got=", ".join(sorted(local)),
            hint="keep one host of kind `local`: a store has one embedded head",
        )
    settings = Settings(port=host.port or WEB_PORT, port_offset=host.port_offset)
    return LocalHead(store, site.state_dir, settings, name=name)


def _in_place(hosts: Iterable[Host]) -> tuple[Host, ...]:
    return tuple(sorted(hosts, key=_place))


def _place(host: Host) -> tuple[int, list[tuple[int, str]]]:
    """Order by priority, then by name with numbers as numbers."""
    parts = _DIGITS.split(host.name)
    return -host.priority, [(int(p) if p.isdigit() else -1, p) for p in parts]


def _by_name(site: Site) -> dict[str, dict[str, Any]]:
    """Return what is said of each host; what is said of it alone goes before its set's."""
    sets: dict[str, dict[str, Any]] = {}
    alone: dict[str, dict[str, Any]] = {}
    for key, said in site.hosts.items():
        names = _expanded(site, key)
        found = {word: getattr(said, word) for word in _SAID if getattr(said, word) is not None}
        into = alone if is_host_name(key) else sets
        for name in names:
            if name in into:
                raise _fault(site, key, f"{name} is there twice")
            into[name] = found
    return {name: {**sets.get(name, {}), **alone.get(name, {})} for name in {**sets, **alone}}


def _expanded(site: Site, key: str) -> tuple[str, ...]:
    try:
        return expand(key)
    except InputError as fault:
        raise _fault(site, key, fault.reason) from fault


def _host(site: Site, name: str, said: Mapping[str, Any]) -> Host:
    remote = name != DEFAULT or any(word in said for word in _REMOTE)
    kind = said.get("kind") or (SSH if remote else LOCAL)
    if kind == LOCAL and any(word in said for word in _REMOTE):
        words = ", ".join(word for word in _REMOTE if word in said)
        raise _fault(site, name, f"a host of kind `local` is not reached by SSH: {words}")
    host = Host(
        name=name,
        kind=kind,
        address=said.get("address", name).replace("{name}", name),
        written="address" in said,
        user=said.get("user"),
        port=said.get("port") or (WEB_PORT if kind == LOCAL else None),
        port_offset=said.get("port_offset", 0),
        key=_key(site, name, said.get("key")),
        roles=said.get("roles", ()),
        priority=said.get("priority", 0),
        sudo=said.get("sudo", "auto"),
    )
    _check(site, host)
    return replace(host, services=_services(site, host))


def _check(site: Site, host: Host) -> None:
    if not is_address(host.address):
        raise _fault(site, host.name, f"{host.address!r} is no address")
    if host.user is not None and not is_user(host.user):
        raise _fault(site, host.name, f"{host.user!r} is no user")


def _key(site: Site, name: str, text: str | None) -> Path | None:
    if text is None:
        return None
    if _UNSAFE.search(text):
        raise _fault(site, name, f"the key {text!r} cannot be named to ssh")
    return site.root / Path(text).expanduser()


def _services(site: Site, host: Host) -> tuple[str, ...] | None:
    if not host.roles:
        return None
    for role in host.roles:
        if role not in site.roles:
            near = get_close_matches(role, site.roles, 1)
            hint = f"did you mean {near[0]!r}?" if near else "list its services under `roles`"
            raise _fault(site, host.name, f"there is no role {role!r}", hint=hint)
    return tuple(sorted({service for role in host.roles for service in site.roles[role]}))


def _routed(
    host: Host, hosts: Mapping[str, Host], through: Mapping[str, str], seen: tuple[str, ...]
) -> Host:
    """Return a host with its gateway, and that with its own."""
    text = through.get(host.name)
    if text is None:
        return host
    if host.name in seen:
        circle = " → ".join((*seen, host.name))
        raise InputError(f"gateways lead in a circle: {circle}", where=host.name)
    gate = hosts[text] if text in hosts else parse_hop(text)
    if gate.local:
        raise InputError("this machine is no gateway", where=host.name, got=text)
    return replace(host, gateway=_routed(gate, hosts, through, (*seen, host.name)))


def _refuse_twins(site: Site, hosts: Iterable[Host]) -> None:
    """Refuse two names for one machine; behind different gateways an address may be of two."""
    seen: dict[tuple[tuple[str, int], ...], str] = {}
    for host in hosts:
        if host.local:
            continue
        other = seen.setdefault(_way(host), host.name)
        if other != host.name:
            reason = f"{other} and {host.name} have the same address, {host.address}"
            raise _fault(site, host.name, reason, hint="each head is a machine of its own")


def _way(host: Host) -> tuple[tuple[str, int], ...]:
    """Return address and port of a host and of its gateways, however they are spelt."""
    address = host.address.lower().removesuffix(".")
    with suppress(ValueError):
        address = str(ip_address(address))
    further = () if host.gateway is None else _way(host.gateway)
    return (address, host.port or SSH_PORT), *further


def _groups(site: Site, hosts: Iterable[str]) -> dict[str, str]:
    known = set(hosts)
    plain: dict[str, str] = {}
    for name in _in_order(site):
        members = expand(site.groups[name], plain)
        for member in members:
            if member not in known:
                reason = f"group {name!r} names {member!r}, which is no host"
                raise InputError(reason, where=f"{site.file}: groups.{name}")
        plain[name] = ",".join(members)
    return plain


def _in_order(site: Site) -> Iterator[str]:
    """Yield groups so that those that another one names come before it."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            circle = " → ".join((*path, name))
            raise InputError(f"groups lead in a circle: {circle}", where=f"{site.file}: groups")
        for other in re.findall(r"@([A-Za-z0-9._-]+)", site.groups[name]):
            if other in site.groups and other not in done:
                yield from visit(other, (*path, name))
        if name not in done:
            done.add(name)
            yield name

    for name in site.groups:
        yield from visit(name, ())


def _fault(site: Site, key: str, reason: str, *, hint: str | None = None) -> InputError:
    return InputError(reason, where=f"{site.file}: hosts.{key}", hint=hint)
