"""The words that recipes are made of, each with its grammar: names, paths, patterns, routes.

Every reader takes a node and returns a plain value, or says what is wrong with it and where.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.fields import (
    RecipeError,
    boolean,
    fail,
    integer,
    mapping,
    number,
    sequence,
    string,
    text,
    wrong_type,
)
from builders.recipe import Health, Probe, Route
from builders.secrets_scan import holds_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.fields import Node

LONGEST_NAME = 64
DAY = 86_400

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_REQUEST_PATH = re.compile(r"/[A-Za-z0-9._~/-]*\Z")
_BODY_LIMIT = re.compile(r"[0-9]{1,6}[kmg]?\Z")
_APP = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(\))?\Z")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+){0,3}\Z")
_DEB = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_SUITE = re.compile(r"[a-z][a-z0-9-]*\Z")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z")
_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:_]+(?:/[\x21-\x7e]*)?\Z")
_NPM = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*\Z")
_PROBES = {"http": "http: /path", "tcp": "tcp: true", "websocket": "websocket: /path"}
_OWN_PATH = "/.well-known/sealift"
"""Where the web server answers for sealift itself."""


def name_fault(name: str) -> str | None:
    """Say what is wrong with a recipe's name; None if nothing is."""
    if len(name) > LONGEST_NAME:
        return f"a name of {len(name)} characters; {LONGEST_NAME} are the most"
    if _NAME.match(name) is None:
        return f"{name!r} is no recipe name: letters, digits and . _ - after a letter or digit"
    return None


def recipe_name(node: Node) -> str:
    """Read the name of a recipe."""
    return _named(node, text(node))


def _named(node: Node, name: str) -> str:
    fault = name_fault(name)
    if fault is not None:
        raise fail(node, fault)
    return name


def relative(node: Node) -> str:
    """Read a path that stays below where it starts; a slash at the end is kept."""
    path = string(node)
    parts = path.removesuffix("/").split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        expected = "a relative path without '.', '..' or empty parts"
        raise fail(node, f"path {path!r} does not stay in its folder", expected=expected)
    return path


def folder(node: Node) -> str:
    """Read a relative folder; a slash at the end is dropped."""
    return relative(node).removesuffix("/")


def links(node: Node) -> Mapping[str, str]:
    """Read symbolic links: where each lies, and what it leads to, relative to its own folder."""
    values = mapping(node)
    for key, _ in node.entries:
        relative(key)
    return MappingProxyType({place: string(value) for place, value in values.items()})


def file_pattern(node: Node) -> str:
    """Read a gitignore pattern that names files; what brings back has its own key."""
    glob = string(node)
    if glob.startswith(("!", "#")):
        raise fail(
            node,
            f"pattern {glob!r} starts with {glob[0]!r}",
            hint=f"use `include` to bring back, `exclude` to leave out; '\\{glob[0]}' for itself",
        )
    if ".." in glob.split("/"):
        raise fail(node, f"pattern {glob!r} leads out of the source")
    return glob


def _matching(node: Node, grammar: re.Pattern[str], what: str, example: str) -> str:
    word = text(node)
    if grammar.match(word) is None:
        raise fail(node, f"{word!r} is no {what}", expected=f"for example {example}")
    return word


def application(node: Node) -> str:
    """Read what gunicorn runs: module, colon, name."""
    return _matching(node, _APP, "gunicorn application", "app:app")


def module(node: Node) -> str:
    """Read a dotted Python module name."""
    return _matching(node, _MODULE, "Python module", "package.module")


def version(node: Node) -> str:
    """Read a version of digits and dots, as it was written."""
    return _matching(node, _VERSION, "version", "3.11")


def deb_package(node: Node) -> str:
    """Read a Debian package name."""
    return _matching(node, _DEB, "Debian package name", "libc6")


def suite(node: Node) -> str:
    """Read a Debian suite."""
    return _matching(node, _SUITE, "Debian suite", "bookworm-updates")


def is_suite(word: str) -> bool:
    """Tell whether a word can be the name of a Debian suite."""
    return _SUITE.match(word) is not None


def url(node: Node) -> str:
    """Read the address of a mirror, which asks for no password; a slash at the end is dropped."""
    address = string(node)
    # Before anything that could show it.
    if "@" in address:
        raise fail(node, "a URL with a user or password", hint="use a mirror that asks for none")
    if _URL.match(address) is None:
        raise fail(node, f"{address!r} is no URL", expected="https://… or http://…")
    return address.rstrip("/")


def npm_package(node: Node) -> str:
    """Read an npm package name."""
    return _matching(node, _NPM, "npm package name", "'@scope/name'")


def variable(node: Node) -> str:
    """Read the name of an environment variable; what follows a `=` may be secret, so it is cut."""
    word = text(node)
    if _VARIABLE.match(word) is None:
        shown = repr(word.partition("=")[0] + "=…") if "=" in word else repr(word)
        expected = "letters, digits and _, for example JWT_SECRET_KEY"
        raise fail(node, f"{shown} is no name of an environment variable", expected=expected)
    return word


def role(node: Node) -> str:
    """Read the role that an input plays."""
    return _matching(node, _ROLE, "role", "python")


def environment(node: Node) -> Mapping[str, str]:
    """Read environment variables; passwords are refused, since recipes go into the store."""
    values = mapping(node)
    for key, value in node.entries:
        variable(key)
        # Before anything that could show the value.
        if holds_secret(key.text, value.text):
            raise fail(
                value,
                f"{key.text} is given a value that looks like a secret",
                expected="no secret in a recipe, where everyone can read it",
                hint=f"list the name alone: secrets: [{key.text}]",
            )
    return MappingProxyType({name: text(value) for name, value in values.items()})


def service_environment(node: Node) -> Mapping[str, str]:
    """Read the environment of a running service, which its service manager must carry.

    supervisord's configuration knows no escapes in a value, takes quotes off either end, and
    holds nothing that is not printable.
    """
    found = environment(node)
    for key, value in node.entries:
        told = found[key.text]
        carried(value)
        if told.strip("\"'") != told or ("'" in told and '"' in told):
            raise fail(
                value,
                f"the service manager cannot carry the value of {key.text}",
                expected="no quotes at the ends, and not both kinds",
                got=repr(told),
            )
    return found


def carried(node: Node) -> str:
    """Read a text that stands in the service manager's configuration as it is."""
    said = text(node)
    if not said.isprintable():
        reason = "the service manager cannot carry a character that is not printable"
        raise fail(node, reason, got=repr(said))
    return said


def health(node: Node) -> Health:
    """Read a health check: one probe, and perhaps a timeout in seconds."""
    if node.sort == "str" and node.text in _PROBES:
        hint = f"health: {{{_PROBES[node.text]}}}"
        raise wrong_type(node, "a mapping", hint)
    values = mapping(node, ("http", "tcp", "websocket", "timeout"))
    given = [probe for probe in Probe if probe.value in values]
    if len(given) != 1:
        raise fail(
            node,
            "a health check has exactly one probe",
            expected="one of http: /path, tcp: true, websocket: /path",
            got=" and ".join(probe.value for probe in given) or "none of them",
        )
    value = values[given[0].value]
    timeout = number(values["timeout"], 0.1, 3600) if "timeout" in values else 30.0
    return Health(given[0], _probed(given[0], value), timeout)


def _probed(probe: Probe, node: Node) -> str:
    if probe is not Probe.TCP:
        return request_path(node)
    if not boolean(node):
        raise fail(node, "`tcp: false` asks for nothing", expected="tcp: true")
    return "/"


def request_path(node: Node) -> str:
    """Read the path of a request: it goes into the web server's configuration as it is."""
    path = string(node)
    if _REQUEST_PATH.match(path) is None or "//" in path or ".." in path.split("/"):
        expected = "a path like /api/health, of letters, digits and . _ ~ - /"
        raise fail(node, f"{path!r} is no request path", expected=expected)
    return path


def route_path(node: Node) -> str:
    """Read the path of a route, which may be any but sealift's own."""
    path = request_path(node)
    if f"{path}/".startswith(f"{_OWN_PATH}/"):
        raise fail(node, f"route {path!r} is sealift's own", hint="choose another path")
    return path


def service_route(node: Node) -> Route:
    """Read a location that leads to a service: its path, or a mapping."""
    if node.sort != "map":
        return Route(route_path(node))
    values = mapping(node, ("path", "strip", "upgrade", "timeout", "body_limit"))
    path = route_path(_required(node, values, "path"))
    route = Route(
        path,
        strip="strip" in values and boolean(values["strip"]),
        upgrade="upgrade" in values and boolean(values["upgrade"]),
        timeout=integer(values["timeout"], 1, DAY) if "timeout" in values else 60,
        body_limit=_body_limit(values["body_limit"]) if "body_limit" in values else "16m",
    )
    if route.strip and not path.endswith("/"):
        raise fail(values["strip"], f"exact route {path!r} has nothing to strip")
    return route


def web_route(node: Node) -> Route:
    """Read a location that shows a web root: a path that ends with a slash."""
    inner = _required(node, mapping(node, ("path",)), "path") if node.sort == "map" else node
    path = route_path(inner)
    if not path.endswith("/"):
        raise fail(inner, f"route {path!r} of a web root", expected="a slash at its end")
    return Route(path)


def _body_limit(node: Node) -> str:
    return _matching(node, _BODY_LIMIT, "size", "16m")


def _required(node: Node, values: dict[str, Node], key: str) -> Node:
    if key not in values:
        raise missing(node, key)
    return values[key]


def missing(node: Node, key: str) -> RecipeError:
    """Make the error that a key must be there."""
    return fail(node, f"key {key!r} is missing", got=", ".join(k.text for k, _ in node.entries))


def routes(values: dict[str, Node], *, web: bool) -> tuple[Route, ...]:
    """Read `route` or `routes`, whichever is there."""
    read = web_route if web else service_route
    if "route" in values and "routes" in values:
        raise fail(values["routes"], "both `route` and `routes` are there", hint="keep one")
    if "route" in values:
        return (read(values["route"]),)
    found = tuple(read(item) for item in sequence(values["routes"])) if "routes" in values else ()
    paths = [route.path for route in found]
    for at, path in enumerate(paths):
        if path in paths[:at]:
            raise fail(values["routes"].items[at], f"route {path!r} is listed twice")
    return found
