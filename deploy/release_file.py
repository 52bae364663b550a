"""`release.json`, as a release has it in the store, read into the values of `deploy.release`.

`parse` is strict: what it lets through can be rendered.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import BadReleaseError
from deploy.fields import Fields
from deploy.release import (
    NONE,
    PASSWORD,
    SORTS,
    WEB_SERVER,
    Certificate,
    Frontend,
    Health,
    PhaseOf,
    Probe,
    Release,
    Route,
    Service,
    Systemd,
    Tool,
    Unit,
    WebServer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]{0,63}")
USER = re.compile(r"sealift-[0-9A-Za-z_-]{1,23}")
"""No other users may be named: who runs as root is not for a release to say."""
INSTANCE = re.compile(r"[0-9a-z]{32}-[0-9a-f]{8}")
PHASE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
HOST = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]{0,62})")
LAST_PHASE = 99


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
    phases = {name: _phase(name, each) for name, each in fields.mapping("phases", needed=False)}
    fields.end()
    web = _web(server) if server else None
    systemd = _systemd(managed) if managed else None
    release = Release(
        path, services, frontends, web, tools, sets, glibc, systemd, _ordered(phases, where)
    )
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


def _phase(name: str, fields: Fields) -> PhaseOf:
    if not PHASE.fullmatch(name):
        raise BadReleaseError("this is no name of a phase", where=fields.where, got=repr(name))
    number = fields.integer("number", high=LAST_PHASE)
    hosts = fields.child("hosts")
    secrets = fields.string_map("secrets")
    fields.end()
    for secret, sort in secrets.items():
        _name(secret, fields.where)
        if sort not in SORTS:
            raise BadReleaseError("this is no sort of secret", where=fields.where, got=repr(sort))
    return PhaseOf(number, _configurations(hosts), secrets)


def _configurations(fields: Fields) -> Mapping[str, Path]:
    """Read by host where the configuration of a phase lies."""
    hosts = {host: fields.path(host) for host in fields.names()}
    for host in hosts:
        if not HOST.fullmatch(host):
            raise BadReleaseError("this is no name of a host", where=fields.where, got=repr(host))
    return hosts


def _ordered(phases: Mapping[str, PhaseOf], where: str) -> Mapping[str, PhaseOf]:
    twice = _repeated(each.number for each in phases.values())
    if twice is not None:
        raise BadReleaseError("two phases have the same number", where=where, got=str(twice))
    return dict(sorted(phases.items(), key=lambda item: item[1].number))


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
    _check_sorts(release, where)
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


def _check_sorts(release: Release, where: str) -> None:
    """Refuse a secret that would have to be two things at once."""
    sorts = {name: PASSWORD for each in release.services.values() for name in each.secrets}
    for phase in release.phases.values():
        for name, sort in phase.secrets.items():
            if sorts.setdefault(name, sort) != sort:
                reason = f"the secret {name} is a password in one place and a key in another"
                raise BadReleaseError(reason, where=where, hint="give one of them another name")


def _repeated(ports: Iterable[int]) -> int | None:
    seen: set[int] = set()
    for port in ports:
        if port in seen:
            return port
        seen.add(port)
    return None
