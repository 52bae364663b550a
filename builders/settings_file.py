"""Read `sealift.yaml`: check each key, and return plain values for `builders.settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builders.document import parse
from builders.fields import fail, integer, mapping, string, unknown
from builders.recipe_words import recipe_name, url

if TYPE_CHECKING:
    from pathlib import Path

    from builders.fields import Node

PATHS = ("store_dir", "state_dir", "recipes", "locks", "sources", "keyring")
MIRRORS = ("pypi_index", "pypi_files", "npm", "nodejs", "debian", "debian_security")
SANDBOX = ("on", "off")
HOST_KINDS = ("local",)
HIGHEST_PORT = 65_535


def read(content: bytes, file: Path) -> dict[str, Any]:
    """Return what the file says, as JSON values; keys that are not there stay out.

    Raises:
        RecipeError: an unknown key or a wrong value.
    """
    node = parse(content, file)
    values = mapping(node, (*PATHS, "mirrors", "sandbox", "hosts"))
    said: dict[str, Any] = {key: string(values[key]) for key in PATHS if key in values}
    if "mirrors" in values:
        said["mirrors"] = {
            key: url(address) for key, address in mapping(values["mirrors"], MIRRORS).items()
        }
    if "sandbox" in values:
        said["sandbox"] = _word(values["sandbox"], SANDBOX, "sandbox mode")
    if "hosts" in values:
        said["hosts"] = _hosts(values["hosts"])
    return said


def _word(node: Node, words: tuple[str, ...], what: str) -> str:
    if string(node) not in words:
        raise unknown(node, words, what)
    return node.text


def _hosts(node: Node) -> dict[str, dict[str, Any]]:
    values = mapping(node)
    if not values:
        raise fail(node, "there is no host", expected="at least one, for example local: {}")
    for key, _ in node.entries:
        recipe_name(key)
    return {name: _host(value) for name, value in values.items()}


def _host(node: Node) -> dict[str, Any]:
    if node.sort == "null":
        return {}
    values = mapping(node, ("kind", "port", "port_offset"))
    said: dict[str, Any] = {}
    if "kind" in values:
        said["kind"] = _word(values["kind"], HOST_KINDS, "kind of host")
    if "port" in values:
        said["port"] = integer(values["port"], 1, HIGHEST_PORT)
    if "port_offset" in values:
        said["port_offset"] = integer(values["port_offset"], 0, HIGHEST_PORT - 1024)
    return said
