"""What recipes say of systemd heads: a service's limits, and a release's web server."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.fields import boolean, fail, integer, mapping, text
from builders.recipe import Web
from builders.recipe_words import variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builders.fields import Node

WEB = Web(80, 443)
"""Where the web server listens unless the recipe says otherwise."""
LAST_PORT = 65_535
MOST_TASKS = 4_194_304
MOST_FILES = 1_048_576
"""What kernels let one process have open (fs.nr_open)."""
LEAST_FILES = 64
_MEMORY = re.compile(r"[1-9][0-9]{0,8}[KMGT]\Z")
_CPU = re.compile(r"[1-9][0-9]{0,6}%\Z")
_WEB = ("http", "https", "tls", "certificate", "key")


def limits(node: Node) -> Mapping[str, str]:
    """Read the most that a service may take: `memory`, `cpu`, `tasks` and open `files`.

    Raises:
        RecipeError: an unknown limit, or one that systemd would not take.
    """
    values = mapping(node, _LIMITS)
    return MappingProxyType({name: _LIMITS[name](value) for name, value in values.items()})


def _size(node: Node) -> str:
    return _matching(node, _MEMORY, "512M or 2G")


def _share(node: Node) -> str:
    return _matching(node, _CPU, "50%, or 200% for two processors")


def _matching(node: Node, grammar: re.Pattern[str], expected: str) -> str:
    said = text(node)
    if grammar.match(said) is None:
        raise fail(node, f"{said!r} is no limit", expected=expected)
    return said


_LIMITS: Mapping[str, Callable[[Node], str]] = {
    "memory": _size,
    "cpu": _share,
    "tasks": lambda node: str(integer(node, 1, MOST_TASKS)),
    "files": lambda node: str(integer(node, LEAST_FILES, MOST_FILES)),
}


def web(node: Node) -> Web:
    """Read what the web server listens on, and which secrets are its certificate and key.

    Raises:
        RecipeError: an unknown key, a wrong value, or one about TLS where there is none.
    """
    values = mapping(node, _WEB)
    http = integer(values["http"], 1, LAST_PORT) if "http" in values else WEB.http
    if "tls" in values and not boolean(values["tls"]):
        for key in ("https", "certificate", "key"):
            if key in values:
                raise fail(values[key], f"`{key}` is of no use with `tls: false`", hint="keep one")
        return Web(http, None)
    https = integer(values["https"], 1, LAST_PORT) if "https" in values else WEB.https
    if http == https:
        raise fail(values.get("https", node), "`http` and `https` are one port")
    names = {key: variable(values[key]) for key in ("certificate", "key") if key in values}
    found = Web(http, https, **names)
    if found.certificate == found.key:
        raise fail(node, "`certificate` and `key` are one secret")
    return found
