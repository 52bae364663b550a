"""The YAML that sites have today: a list of controllers and one of compute nodes.

Much else stands in such a file, passwords too; none of it is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from builders.fields import fail, integer, mapping, sequence, text
from builders.hosts_facts import Facts, note, renamed

if TYPE_CHECKING:
    from builders.fields import Node

CONTROLLERS = ("controllers", "controller")
NODES = ("compute_nodes", "viz_nodes")
HEADS = "heads"
COMPUTE = "compute"
VIP = "vip"
WEB = "web"
"""The word under `services` for the platform; the others are infrastructure."""
_NAME = ("hostname", "name")
_ADDRESS = ("ip_address", "ip", "address")
_USER = ("ssh_user", "user")
_PORT = ("ssh_port", "port")
_KEY = ("ssh_key_path", "ssh_key_file", "ssh_key", "key")
_PASSWORDS = ("ssh_password", "password")
_TAKEN = frozenset(
    {*_NAME, *_ADDRESS, *_USER, *_PORT, *_KEY}
    | {"priority", "services", "ssh", "vip_owner", "vip_candidate"}
)
"""What is read of a host."""
_HIGHEST_PORT = 65_535
_HIGHEST_PRIORITY = 1_000_000


def is_cluster(node: Node) -> bool:
    """Tell whether a mapping is such a file."""
    said = _nodes(node)
    return any(key in said for key in (*CONTROLLERS, *NODES))


def read(node: Node) -> tuple[dict[str, Facts], dict[str, tuple[str, ...]], list[str]]:
    """Return hosts by name, groups, and what was left out.

    Raises:
        RecipeError: a host has no name, has it twice, or says what is no value.
    """
    said = _nodes(node)
    hosts: dict[str, Facts] = {}
    groups: dict[str, list[str]] = {HEADS: [], COMPUTE: []}
    notes = [*_notes(said), *_others(node), *_unused(said)]
    for key in (*CONTROLLERS, *NODES):
        for entry in _entries(said.get(key)):
            values = mapping(entry)
            own = _word(values, _NAME)
            if own is None:
                raise fail(entry, "a host without a name", expected="hostname: …")
            name = renamed(own)
            notes += [note(own)] if name != own else []
            if name in hosts:
                raise fail(entry, f"host {name!r} is there twice")
            head = key in CONTROLLERS
            services = _services(values.get("services"))
            found = _facts(values, platform=head and services.get(WEB, True))
            hosts[name] = replace(found, address=found.address or own) if name != own else found
            for group in _groups(values, services, head=head):
                groups.setdefault(group, []).append(name)
    return hosts, {name: tuple(members) for name, members in groups.items()}, notes


def _nodes(node: Node) -> dict[str, Node]:
    """Return the part that lists hosts: `nodes`, or the file itself in its older form."""
    values = mapping(node)
    inner = values.get("nodes")
    return mapping(inner) if inner is not None and inner.sort == "map" else values


def _entries(node: Node | None) -> tuple[Node, ...]:
    if node is None or node.sort == "null":
        return ()
    return (node,) if node.sort == "map" else sequence(node)


def _facts(values: dict[str, Node], *, platform: bool) -> Facts:
    nested = values.get("ssh")
    inner = mapping(nested) if nested is not None and nested.sort == "map" else {}
    return Facts(
        address=_word(values, _ADDRESS),
        user=_word(values, _USER) or _word(inner, _USER),
        port=_number(values, _PORT, _HIGHEST_PORT) or _number(inner, _PORT, _HIGHEST_PORT),
        key=_word(values, _KEY) or _word(inner, _KEY),
        priority=_number(values, ("priority",), _HIGHEST_PRIORITY),
        platform=platform,
    )


def _services(node: Node | None) -> dict[str, bool]:
    """Return which services run there: a mapping to true and false, or a list of those that do.

    Nothing said means nothing known: then the platform is taken to run there.
    """
    if node is None or node.sort == "null":
        return {}
    if node.sort == "seq":
        named = {text(item): True for item in node.items}
        return {WEB: False, **named} if named else {}
    return {key: value.text == "true" for key, value in mapping(node).items()}


def _groups(values: dict[str, Node], services: dict[str, bool], *, head: bool) -> list[str]:
    found = [HEADS if head else COMPUTE]
    found += [name for name, runs in services.items() if runs and name not in found]
    owner = values.get("vip_owner") or values.get("vip_candidate")
    if owner is not None and owner.text == "true":
        found.append(VIP)
    return found


def _notes(said: dict[str, Node]) -> list[str]:
    entries = (entry for key in (*CONTROLLERS, *NODES) for entry in _entries(said.get(key)))
    return [
        f"{key.text} ({key.where}): keys let sealift in, not passwords"
        for entry in entries
        for key, _ in entry.entries
        if key.text in _PASSWORDS
    ]


def _others(node: Node) -> list[str]:
    """Say which parts of the file are not about hosts; those for SSH in them one by one."""
    found = {key.text: value for key, value in node.entries}
    listed = {"nodes"} if "nodes" in found else {*CONTROLLERS, *NODES}
    rest = {name: value for name, value in found.items() if name not in listed}
    notes = [
        f"{name}.{key.text} ({key.where}): keys let sealift in, not passwords"
        for name, value in rest.items()
        if value.sort == "map"
        for key, _ in value.entries
        if key.text == _PASSWORDS[0]
    ]
    return [*notes, f"{', '.join(rest)}: not about hosts"] if rest else notes


def _unused(said: dict[str, Node]) -> list[str]:
    """Say what is known of hosts that a deploy has no use for, each key once."""
    entries = [entry for key in (*CONTROLLERS, *NODES) for entry in _entries(said.get(key))]
    keys = dict.fromkeys(key.text for entry in entries for key, _ in entry.entries)
    rest = [key for key in keys if key not in _TAKEN and key not in _PASSWORDS]
    return [f"{', '.join(rest)} of hosts: a deploy has no use for that"] if rest else []


def _word(values: dict[str, Node], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if key in values and values[key].sort != "null" and values[key].text:
            return text(values[key])
    return None


def _number(values: dict[str, Node], keys: tuple[str, ...], most: int) -> int | None:
    for key in keys:
        if key in values and values[key].sort != "null":
            return integer(values[key], 0, most) or None
    return None
