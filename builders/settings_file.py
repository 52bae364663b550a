"""Read `sealift.yaml`: check each key, and return plain values for `builders.settings`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from builders.document import parse
from builders.fields import fail, integer, mapping, string, strings, text, unknown
from builders.recipe_words import recipe_name, url

if TYPE_CHECKING:
    from pathlib import Path

    from builders.fields import Node

PATHS = (
    "store_dir",
    "state_dir",
    "recipes",
    "locks",
    "sources",
    "keyring",
    "known_hosts",
    "ssh_config",
)
MIRRORS = ("pypi_index", "pypi_files", "npm", "nodejs", "debian", "debian_security")
SANDBOX = ("on", "off")
HOST_KINDS = ("local", "ssh")
SUDO = ("auto", "always", "never")
HOST_WORDS = ("address", "user", "key", "gateway")
HOST_KEYS = ("kind", "port", "port_offset", *HOST_WORDS, "roles", "priority", "sudo")
HIGHEST_PORT = 65_535
MOST_PARALLEL = 256
MOST_KEPT = 1000
MOST_SIGNERS = 16
SIGNING = ("key", "identity", "signers", "revoked", "threshold")
LONGEST_WAIT = 600
"""Seconds."""
HIGHEST_PRIORITY = 1_000_000

# No more than the characters: what a set of names means is for whoever expands it.
_NODE_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-\[\],/]*\Z")
_PUBLIC_KEY = re.compile(r"age1[0-9a-z]{58}\Z|ssh-(?:ed25519|rsa) [A-Za-z0-9+/]+=*(?: .*)?\Z")
# It names files, and it is what a bundle says for whom it is.
_SITE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,99}\Z")
_WANTED = re.compile(r"[A-Za-z0-9._\-\[\],/@!&^ ]+\Z")


def read(content: bytes, file: Path) -> dict[str, Any]:
    """Return what the file says, as JSON values; keys that are not there stay out.

    Raises:
        RecipeError: an unknown key or a wrong value.
    """
    node = parse(content, file)
    numbers = {"parallel": MOST_PARALLEL, "connect_timeout": LONGEST_WAIT, "keep": MOST_KEPT}
    sections = ("mirrors", "sandbox", "hosts", "groups", "roles", "recovery", "site", "signing")
    values = mapping(node, (*PATHS, *sections, *numbers))
    said: dict[str, Any] = {key: string(values[key]) for key in PATHS if key in values}
    if "mirrors" in values:
        said["mirrors"] = {
            key: url(address) for key, address in mapping(values["mirrors"], MIRRORS).items()
        }
    if "sandbox" in values:
        said["sandbox"] = _word(values["sandbox"], SANDBOX, "sandbox mode")
    if "hosts" in values:
        said["hosts"] = _hosts(values["hosts"])
    if "groups" in values:
        said["groups"] = {name: _wanted(of) for name, of in _named(values["groups"])}
    if "roles" in values:
        said["roles"] = {
            name: list(strings(of, recipe_name)) for name, of in _named(values["roles"])
        }
    if "recovery" in values:
        said["recovery"] = list(strings(values["recovery"], _public_key))
    if "site" in values:
        said["site"] = _matching(values["site"], _SITE, "site", "hpc1")
    if "signing" in values:
        said["signing"] = _signing(values["signing"])
    for key in numbers.keys() & values.keys():
        said[key] = integer(values[key], 1, numbers[key])
    return said


def _signing(node: Node) -> dict[str, Any]:
    values = mapping(node, SIGNING)
    said: dict[str, Any] = {
        key: string(values[key]) for key in ("key", "signers", "revoked") if key in values
    }
    if "identity" in values:
        said["identity"] = _matching(values["identity"], _IDENTITY, "identity", "release@builder")
    if "threshold" in values:
        said["threshold"] = integer(values["threshold"], 1, MOST_SIGNERS)
    return said


def _matching(node: Node, grammar: re.Pattern[str], what: str, example: str) -> str:
    if not grammar.match(string(node)):
        raise fail(node, f"{node.text!r} is no name of {what}", expected=f"for example {example}")
    return node.text


def _named(node: Node) -> list[tuple[str, Node]]:
    """Return what a mapping says, by names."""
    mapping(node)
    return [(recipe_name(key), value) for key, value in node.entries]


def _wanted(node: Node) -> str:
    """Read a set of hosts, as on the command line; a list is joined."""
    words = strings(node) if node.sort == "seq" else (string(node),)
    if not all(_WANTED.match(word) for word in words):
        raise fail(node, "this is no set of hosts", expected="for example head[1-3] or @heads")
    return ",".join(words)


def _public_key(node: Node) -> str:
    """Read a key that secrets are sealed to; whether it is one, who seals finds out."""
    if not _PUBLIC_KEY.match(string(node)):
        raise fail(node, "this is no public key", expected="age1…, ssh-ed25519 … or ssh-rsa …")
    return node.text


def _word(node: Node, words: tuple[str, ...], what: str) -> str:
    if string(node) not in words:
        raise unknown(node, words, what)
    return node.text


def _hosts(node: Node) -> dict[str, dict[str, Any]]:
    values = mapping(node)
    if not values:
        raise fail(node, "there is no host", expected="at least one, for example local: {}")
    return {_host_name(key): _host(value) for key, value in node.entries}


def _host_name(node: Node) -> str:
    if not _NODE_SET.match(text(node)):
        raise fail(
            node, f"{node.text!r} is no host name", expected="for example head1 or head[1-3]"
        )
    return node.text


def _host(node: Node) -> dict[str, Any]:
    if node.sort == "null":
        return {}
    values = mapping(node, HOST_KEYS)
    said: dict[str, Any] = {key: text(values[key]) for key in HOST_WORDS if key in values}
    for key, words in (("kind", HOST_KINDS), ("sudo", SUDO)):
        if key in values:
            said[key] = _word(values[key], words, f"{key} of host")
    if "roles" in values:
        said["roles"] = list(strings(values["roles"], recipe_name))
    for key, least, most in (
        ("port", 1, HIGHEST_PORT),
        ("port_offset", 0, HIGHEST_PORT - 1024),
        ("priority", -HIGHEST_PRIORITY, HIGHEST_PRIORITY),
    ):
        if key in values:
            said[key] = integer(values[key], least, most)
    return said
