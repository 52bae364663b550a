"""A release as it lies in the store: which services run, which web roots are served, and how.

`parse` is strict: what it lets through can be rendered. Values only, read from `release.json`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from deploy.errors import BadReleaseError
from deploy.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1
NONE: Mapping[str, Any] = MappingProxyType({})
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]{0,63}")
USER = re.compile(r"sealift-[0-9A-Za-z_-]{1,23}")
"""No other users may be named: who runs as root is not for a release to say."""
INSTANCE = re.compile(r"[0-9a-z]{32}-[0-9a-f]{8}")
WEB_SERVER = "nginx"
"""The name that the web server goes by among the services."""
MANAGER = "supervisord"
"""The tool that keeps services running on a head without systemd."""


class Probe(Enum):
    """How a service shows that it is healthy."""

    HTTP = "http"
    TCP = "tcp"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Health:
    """One probe; `timeout` is in seconds from the start to the first healthy answer."""

    probe: Probe
    path: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Route:
    """A location of the web server that leads to a service or a web root."""

    path: str
    strip: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate among a service's secrets; with `key` a pair, which the head can make."""

    certificate: str
    key: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """How systemd runs a service: as which user, and how a new instance takes over.

    `socket`: systemd holds the listening socket, and the service takes it. `concurrent`: old and
    new instance may run at once; never without `socket`.
    """

    user: str
    socket: bool
    concurrent: bool
    instance: str = ""
    """Says all that its unit says; empty in releases that name it after the store path alone."""
    listens: str = ""
    """Says how its socket listens."""


@dataclass(frozen=True, slots=True)
class Service:
    """How one artefact runs.

    Words of `command` and values of `env` may hold {port}, {port:NAME}, {state}, {credentials};
    words may hold {url}.
    """

    name: str
    path: Path
    port: int
    cwd: Path
    command: tuple[str, ...]
    health: Health
    state: tuple[str, ...]
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    routes: tuple[Route, ...]
    certificates: tuple[Certificate, ...] = ()
    unit: Unit | None = None
    """None in releases that know nothing of systemd."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """A web root and the routes at which it is shown."""

    name: str
    path: Path
    root: str
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class WebServer:
    """The web server's own store path and executable."""

    path: Path
    executable: Path


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a head runs besides the services: its store path, and the file in it."""

    path: Path
    executable: Path


@dataclass(frozen=True, slots=True)
class Systemd:
    """How systemd runs the web server, and what that listens on; `https` is None without TLS.

    `certificate` and `key` are names of secrets; `revision` is what it answers when it has loaded
    the release's configuration. The last two are those of `Unit`.
    """

    user_nginx: str
    http: int
    https: int | None
    certificate: str | None
    key: str | None
    revision: str
    instance: str = ""
    listens: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Everything that one generation runs; `path` is its store path."""

    path: Path
    services: Mapping[str, Service]
    frontends: Mapping[str, Frontend]
    web: WebServer | None
    tools: Mapping[str, Tool] = field(default_factory=lambda: NONE)
    """By the executable's name. Which one is needed, whoever needs it says."""
    packages: Mapping[str, Path] = field(default_factory=lambda: NONE)
    """Sets of Debian packages by name, each the store path of an apt repository."""
    glibc: Mapping[str, str] = field(default_factory=lambda: NONE)
    """Program → version of the head's glibc that it needs; who brings its own is not in it."""

    systemd: Systemd | None = None
    """None in releases that know nothing of it."""

    @property
    def site_conf(self) -> Path:
        """The locations of the web server, as the release brings them."""
        return self.path / "nginx" / "site.conf"

    @property
    def nginx_conf(self) -> Path:
        """The whole configuration of the web server on a head with systemd."""
        return self.path / "nginx" / "nginx.conf"

    @property
    def units_dir(self) -> Path:
        """The units of systemd, and `sysusers.conf`."""
        return self.path / "systemd"


def load(path: Path) -> Release:
    """Read the release at the store path `path`.

    Raises:
        BadReleaseError: there is no `release.json`, or it cannot be used.
    """
    file = path / "release.json"
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        hint = "deploy what `sealift build release` made"
        raise BadReleaseError("this is no release", where=str(path), hint=hint) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Release:
    """Make the release described by `text`, which lies at `path`."""
    where = f"{path}/release.json"
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadReleaseError(f"not JSON: {error}", where=where) from error
    fields = Fields(document, where)
    if fields.integer("format") != FORMAT:
        raise BadReleaseError("made by another version of sealift", where=f"{where}: format")
    services = {name: _service(name, each) for name, each in fields.mapping("services")}
    frontends = {name: _frontend(name, each) for name, each in fields.mapping("frontends")}
    server = fields.optional("nginx")
    tools = {name: _tool(name, each) for name, each in fields.mapping("tools", needed=False)}
    sets = {name: _packages(name, each) for name, each in fields.mapping("packages", needed=False)}
    needs = fields.optional("needs")
    glibc = _glibc(needs) if needs else NONE
    managed = fields.optional("systemd")
    fields.end()
    web = _web(server) if server else None
    systemd = _systemd(managed) if managed else None
    release = Release(path, services, frontends, web, tools, sets, glibc, systemd)
    _check(release, where)
    return release


def _service(name: str, fields: Fields) -> Service:
    service = Service(
        name=_name(name, fields.where),
        path=fields.path("path"),
        port=fields.integer("port", low=1, high=65535),
        cwd=fields.path("cwd"),
        command=fields.strings("command"),
        health=_health(fields.child("health")),
        state=tuple(_inside(each, fields.where) for each in fields.strings("state", default=())),
        env=fields.string_map("env"),
        secrets=tuple(_name(e, fields.where) for e in fields.strings("secrets", default=())),
        routes=tuple(_route(each) for each in fields.children("routes")),
        certificates=tuple(_certificate(each) for each in fields.children("certificates")),
        unit=_unit(fields.optional("unit")),
    )
    fields.end()
    if not service.command or not service.command[0].startswith("/"):
        raise BadReleaseError("the command must begin with an absolute path", where=fields.where)
    return service


def _unit(fields: Fields | None) -> Unit | None:
    if fields is None:
        return None
    unit = Unit(
        user=_user(fields.string("user"), fields.where),
        socket=fields.boolean("socket", default=False),
        concurrent=fields.boolean("concurrent", default=False),
        instance=_instance(fields),
        listens=fields.string("listens") if fields.has("listens") else "",
    )
    fields.end()
    if unit.concurrent and not unit.socket:
        raise BadReleaseError("two instances cannot open one port", where=fields.where)
    return unit


def _systemd(fields: Fields) -> Systemd:
    secrets = {key: fields.maybe(key) for key in ("certificate", "key") if fields.has(key)}
    https = fields.integer("https", low=1, high=65535) if fields.has("https") else None
    systemd = Systemd(
        user_nginx=_user(fields.string("user_nginx"), fields.where),
        http=fields.integer("http", low=1, high=65535),
        https=https,
        certificate=_secret(secrets.get("certificate"), fields.where),
        key=_secret(secrets.get("key"), fields.where),
        revision=_revision(fields.string("revision"), fields.where),
        instance=_instance(fields),
        listens=fields.string("listens") if fields.has("listens") else "",
    )
    fields.end()
    pair = (systemd.certificate, systemd.key)
    if (systemd.https is None) != (pair == (None, None)) or pair.count(None) == 1:
        reason = "https goes with a certificate and a key, and they with it"
        raise BadReleaseError(reason, where=fields.where)
    return systemd


def _instance(fields: Fields) -> str:
    text = fields.string("instance") if fields.has("instance") else ""
    if text and not INSTANCE.fullmatch(text):
        raise BadReleaseError("this is no instance", where=fields.where, got=repr(text))
    return text


def _user(text: str, where: str) -> str:
    if not USER.fullmatch(text):
        raise BadReleaseError("this is no name of a user", where=where, got=repr(text))
    return text


def _secret(name: str | None, where: str) -> str | None:
    return None if name is None else _name(name, where)


def _revision(text: str, where: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise BadReleaseError("this is no revision", where=where, got=repr(text))
    return text


def _glibc(fields: Fields) -> Mapping[str, str]:
    needs = fields.string_map("glibc")
    fields.end()
    for version in needs.values():
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
            raise BadReleaseError("this is no version", where=fields.where, got=repr(version))
    return needs


def _certificate(fields: Fields) -> Certificate:
    name, key = fields.string("certificate"), fields.maybe("key")
    certificate = Certificate(
        _name(name, fields.where),
        None if key is None else _name(key, fields.where),
        fields.maybe("subject"),
    )
    fields.end()
    return certificate


def _frontend(name: str, fields: Fields) -> Frontend:
    routes = tuple(_route(each) for each in fields.children("routes"))
    root = _inside(fields.string("root"), fields.where)
    frontend = Frontend(_name(name, fields.where), fields.path("path"), root, routes)
    fields.end()
    return frontend


def _health(fields: Fields) -> Health:
    health = Health(
        probe=Probe(fields.string("probe", among=[each.value for each in Probe])),
        path=fields.string("path", default="/"),
        timeout=fields.number("timeout", default=30.0),
    )
    fields.end()
    if not re.fullmatch(r"/[!-~]*", health.path):
        raise BadReleaseError(
            "a health path begins with a slash and has no blanks", where=fields.where
        )
    return health


def _route(fields: Fields) -> Route:
    route = Route(fields.string("path"), fields.boolean("strip", default=False))
    fields.boolean("upgrade", default=False)
    fields.number("timeout", default=60.0)
    fields.string("body_limit", default="16m")
    fields.end()
    if not re.fullmatch(r"/[!-~]*", route.path):
        raise BadReleaseError("a route begins with a slash and has no blanks", where=fields.where)
    return route


def _web(fields: Fields) -> WebServer:
    server = WebServer(fields.path("path"), fields.path("executable"))
    fields.end()
    return server


def _tool(name: str, fields: Fields) -> Tool:
    tool = Tool(fields.path("path"), fields.path("executable"))
    fields.end()
    if not tool.executable.is_relative_to(tool.path):
        reason = f"the executable of {_name(name, fields.where)} lies outside its path"
        raise BadReleaseError(reason, where=fields.where, got=str(tool.executable))
    return tool


def _packages(name: str, fields: Fields) -> Path:
    _name(name, fields.where)
    path = fields.path("path")
    fields.end()
    return path


def _name(text: str, where: str) -> str:
    if not NAME.fullmatch(text):
        raise BadReleaseError("this name cannot be used", where=where, got=repr(text))
    return text


def _inside(text: str, where: str) -> str:
    parts = Path(text).parts
    if not parts or text.startswith("/") or ".." in parts or not text.isprintable():
        raise BadReleaseError("a path must stay inside its artefact", where=where, got=repr(text))
    return text


def _check(release: Release, where: str) -> None:
    _check_users(release, where)
    if release.web is None and release.frontends:
        raise BadReleaseError("frontends need a web server", where=where)
    if WEB_SERVER in release.services:
        raise BadReleaseError(f"no service may be called {WEB_SERVER!r}", where=where)
    _check_pairs(release.services.values(), where)
    twice = _repeated(service.port for service in release.services.values())
    if twice is not None:
        raise BadReleaseError("two services have the same port", where=where, got=str(twice))


def _check_users(release: Release, where: str) -> None:
    """Refuse two services that run as one user, and would read each other's secrets."""
    users = [service.unit.user for service in release.services.values() if service.unit]
    users += [release.systemd.user_nginx] if release.systemd else []
    for each in users:
        if users.count(each) > 1:
            raise BadReleaseError("two services run as one user", where=where, got=each)


def _check_pairs(services: Iterable[Service], where: str) -> None:
    """Refuse two services that mean different pairs by one name."""
    pairs: dict[str, Certificate] = {}
    for each in (pair for service in services for pair in service.certificates if pair.key):
        for name in (each.certificate, each.key or ""):
            if pairs.setdefault(name, each) != each:
                reason = f"two services declare the secret {name} in different pairs"
                raise BadReleaseError(reason, where=where, got=f"{pairs[name]} and {each}")


def _repeated(ports: Iterable[int]) -> int | None:
    seen: set[int] = set()
    for port in ports:
        if port in seen:
            return port
        seen.add(port)
    return None
