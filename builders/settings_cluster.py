"""Read `cluster:` of `sealift.yaml`: which hosts it has, and what is said of its phases.

What a phase's parameters mean is for who knows its recipe (`builders.phases`); here they are
kept as they were written.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from builders.fields import fail, mapping, strings, text
from builders.kept_node import to_json
from store.names import SITE

if TYPE_CHECKING:
    from builders.fields import Node

KEYS = ("name", "hosts", "addresses", "phases")
PHASE = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_WANTED = re.compile(r"[A-Za-z0-9._\-\[\],/@!&^ ]+\Z")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}\Z")


def cluster(node: Node) -> dict[str, Any]:
    """Return what is said of the cluster, as JSON values; keys that are not there stay out.

    Raises:
        RecipeError: an unknown key or a wrong value.
    """
    if node.sort == "null":
        return {}
    values = mapping(node, KEYS)
    said: dict[str, Any] = {}
    if "name" in values:
        said["name"] = _name(values["name"])
    if "hosts" in values:
        said["hosts"] = node_set(values["hosts"])
    if "addresses" in values:
        said["addresses"] = _addresses(values["addresses"])
    if "phases" in values:
        said["phases"] = _phases(values["phases"])
    return said


def node_set(node: Node) -> str:
    """Read a set of hosts, as on the command line; a list is joined."""
    words = strings(node, text) if node.sort == "seq" else (text(node),)
    if not words or not all(_WANTED.match(word) for word in words):
        raise fail(node, "this is no set of hosts", expected="for example head[1-3] or @heads")
    return ",".join(words)


def _name(node: Node) -> str:
    if not SITE.match(text(node)):
        raise fail(node, f"{node.text!r} is no name of a cluster", expected="for example hpc1")
    return node.text


def _addresses(node: Node) -> dict[str, str]:
    values = mapping(node)
    for host, _ in node.entries:
        if not _HOST.match(host.text):
            raise fail(host, f"{host.text!r} is no host name", expected="for example head1")
    return {host: _address(value) for host, value in values.items()}


def _address(node: Node) -> str:
    try:
        return str(ipaddress.ip_address(text(node)))
    except ValueError:
        expected = "the address of a host within the cluster, for example 10.0.0.11"
        raise fail(node, f"{node.text!r} is no IP address", expected=expected) from None


def _phases(node: Node) -> dict[str, Any]:
    values = mapping(node)
    for name, _ in node.entries:
        if not PHASE.match(name.text):
            raise fail(name, f"{name.text!r} is no name of a phase", expected="for example storage")
    return {name: _phase(value) for name, value in values.items()}


def _phase(node: Node) -> dict[str, Any]:
    left_out = node.sort == "bool" and node.text == "false"
    if node.sort not in ("map", "null") and not left_out:
        expected = "its parameters, or false to leave it out"
        raise fail(node, f"wrong type of {node.key!r}", expected=expected, got=str(node))
    return to_json(node)
