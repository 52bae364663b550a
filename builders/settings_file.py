"""Read `sealift.yaml`: check each key, and return plain values for `builders.settings`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from builders.cache_urls import CacheUrl
from builders.document import parse
from builders.fields import fail, integer, mapping, sequence, string, strings, text, unknown
from builders.recipe_words import recipe_name, url
from builders.settings_cluster import cluster, node_set
from store.cache_keys import PublicKey
from store.errors import InputError
from store.names import SITE

if TYPE_CHECKING:
    from collections.abc import Callable
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
SIGNING = ("key", "identity", "signers", "revoked", "threshold", "receipts")
SUBSTITUTER = ("url", "public_keys")
LONGEST_WAIT = 600
"""Seconds."""
HIGHEST_PRIORITY = 1_000_000

# No more than the characters: what a set of names means is for whoever expands it.
_NODE_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-\[\],/]*\Z")
_PUBLIC_KEY = re.compile(r"age1[0-9a-z]{58}\Z|ssh-(?:ed25519|rsa) [A-Za-z0-9+/]+=*(?: .*)?\Z")
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,99}\Z")


def read(content: bytes, file: Path) -> dict[str, Any]:
    """Return what the file says, as JSON values; keys that are not there stay out.

    Raises:
        RecipeError: an unknown key or a wrong value.
    """
    node = parse(content, file)
    numbers = {"parallel": MOST_PARALLEL, "connect_timeout": LONGEST_WAIT, "keep": MOST_KEPT}
    values = mapping(node, (*PATHS, *_SECTIONS, *numbers))
    said: dict[str, Any] = {key: string(values[key]) for key in PATHS if key in values}
    said |= {key: section(values[key]) for key, section in _SECTIONS.items() if key in values}
    for key in numbers.keys() & values.keys():
        said[key] = integer(values[key], 1, numbers[key])
    return said


def _mirrors(node: Node) -> dict[str, str]:
    return {key: url(address) for key, address in mapping(node, MIRRORS).items()}


def _sandbox(node: Node) -> str:
    return _word(node, SANDBOX, "sandbox mode")


def _groups(node: Node) -> dict[str, str]:
    return {name: node_set(of) for name, of in _named(node)}


def _roles(node: Node) -> dict[str, list[str]]:
    return {name: list(strings(of, recipe_name)) for name, of in _named(node)}


def _recovery(node: Node) -> list[str]:
    return list(strings(node, _public_key))


def _site(node: Node) -> str:
    return _matching(node, SITE, "site", "hpc1")


def _substituters(node: Node) -> list[dict[str, Any]]:
    return [_substituter(each) for each in sequence(node)]


def _signing(node: Node) -> dict[str, Any]:
    values = mapping(node, SIGNING)
    said: dict[str, Any] = {
        key: string(values[key]) for key in ("key", "signers", "revoked") if key in values
    }
    if "identity" in values:
        said["identity"] = _matching(values["identity"], _IDENTITY, "identity", "release@builder")
    if "threshold" in values:
        said["threshold"] = integer(values["threshold"], 1, MOST_SIGNERS)
    if "receipts" in values:
        said["receipts"] = {
            site: _matching(value, _IDENTITY, "identity", "transfer@hpc1")
            for site, value in mapping(values["receipts"]).items()
        }
    return said


def _substituter(node: Node) -> dict[str, Any]:
    """Read a shared cache: its address, and the keys without which nothing there counts."""
    values = mapping(node, SUBSTITUTER)
    for key in SUBSTITUTER:
        if key not in values:
            raise fail(node, f"a shared cache without {key}", expected=" and ".join(SUBSTITUTER))
    keys = strings(values["public_keys"], _cache_key)
    if not keys:
        raise fail(values["public_keys"], "nobody is trusted here", expected="name:<base 64>")
    return {"url": _cache_url(values["url"]), "public_keys": list(keys)}


def _cache_url(node: Node) -> str:
    try:
        CacheUrl.parse(string(node))
    except InputError as error:
        raise fail(node, error.reason, expected=error.expected, got=error.got) from error
    return node.text


def _cache_key(node: Node) -> str:
    try:
        PublicKey.parse(string(node))
    except InputError as error:
        raise fail(node, error.reason, expected=error.expected, got=error.got) from error
    return node.text


def _matching(node: Node, grammar: re.Pattern[str], what: str, example: str) -> str:
    if not grammar.match(string(node)):
        raise fail(node, f"{node.text!r} is no name of {what}", expected=f"for example {example}")
    return node.text


def _named(node: Node) -> list[tuple[str, Node]]:
    """Return what a mapping says, by names."""
    mapping(node)
    return [(recipe_name(key), value) for key, value in node.entries]


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


_SECTIONS: Final[dict[str, Callable[[Node], Any]]] = {
    "mirrors": _mirrors,
    "sandbox": _sandbox,
    "hosts": _hosts,
    "groups": _groups,
    "roles": _roles,
    "recovery": _recovery,
    "site": _site,
    "signing": _signing,
    "substituters": _substituters,
    "cluster": cluster,
}
"""What stands at the top and is more than a path or a number, and who reads it."""
