"""What a release must answer before it counts as healthy. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import nginx
from deploy.health import Check
from deploy.probes import Request
from deploy.programs import port
from deploy.release import WEB_SERVER, Probe, Release, Service

if TYPE_CHECKING:
    from deploy.settings import Settings

LOOPBACK = "127.0.0.1"


def checks(release: Release, settings: Settings, revision: str) -> tuple[Check, ...]:
    """Return one check per program; `revision` is what the web server must have loaded."""
    found = tuple(_service(each, settings) for _, each in sorted(release.services.items()))
    if release.web is None:
        return found
    patience = max([settings.web_timeout, *(each.timeout for each in found)])
    return (*found, Check(WEB_SERVER, _web(release, settings, revision), patience))


def echo(settings: Settings, revision: str) -> Request:
    """Return the request by which the web server tells which configuration it has loaded."""
    return _through_web(settings, nginx.ECHO, revision)


def _service(service: Service, settings: Settings) -> Check:
    health = service.health
    request = Request(health.probe, LOOPBACK, port(service, settings), health.path)
    return Check(service.name, (request,), health.timeout)


def _web(release: Release, settings: Settings, revision: str) -> tuple[Request, ...]:
    """Ask for the loaded configuration, then every page, then every service behind it."""
    pages = {route.path for each in release.frontends.values() for route in each.routes}
    proxied = {each.health.path for each in release.services.values() if _is_routed(each)}
    paths = (*sorted(pages), *sorted(proxied))
    return (echo(settings, revision), *(_through_web(settings, each) for each in paths))


def _is_routed(service: Service) -> bool:
    """Tell whether the health path is reached through the web server under the same name."""
    path = service.health.path
    return service.health.probe is Probe.HTTP and any(
        not route.strip
        and (path == route.path or (route.path[-1] == "/" and path.startswith(route.path)))
        for route in service.routes
    )


def _through_web(settings: Settings, path: str, body: str | None = None) -> Request:
    return Request(Probe.HTTP, settings.address, settings.port, path, body, tls=settings.tls)
