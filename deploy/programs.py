"""What a head runs for a release: services with their ports, state and environment filled in.

Pure: a release and the head's settings go in, programs come out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploy.errors import BadReleaseError
from deploy.release import WEB_SERVER, Release, Service
from deploy.services import Program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.layout import Layout
    from deploy.settings import Settings

LAST_PORT = 65535
OTHER_PORT = re.compile(r"\{port:[^{}]*\}")
MARK = "SEALIFT_HEAD"
"""The variable by which processes of a head are known, should their manager die."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def programs(
    release: Release, layout: Layout, settings: Settings, credentials: Mapping[str, Path]
) -> tuple[Program, ...]:
    """Return what runs for `release`; `credentials` maps services to the folders they may read."""
    numbers = {f"{{port:{name}}}": str(number) for number, name in ports(release, settings).items()}
    found = [
        _service(service, layout, settings, credentials.get(service.name), numbers)
        for _, service in sorted(release.services.items())
    ]
    if release.web is not None:
        found.append(_web(release.web.executable, layout, settings))
    return tuple(found)


def port(service: Service, settings: Settings) -> int:
    """Return the port that `service` listens on, on this head."""
    return service.port + settings.port_offset


def ports(release: Release, settings: Settings) -> dict[int, str]:
    """Return who listens on which port.

    Raises:
        BadReleaseError: two want the same, or one is beyond the last port.
    """
    wants = [(port(each, settings), name) for name, each in sorted(release.services.items())]
    if release.web is not None:
        wants.append((settings.port, WEB_SERVER))
    found: dict[int, str] = {}
    for number, name in wants:
        if number in found or not 0 < number <= LAST_PORT:
            other = f"as {found[number]} does" if number in found else "which there is not"
            hint = "set another port or port_offset for this host"
            raise BadReleaseError(f"{name} wants port {number}, {other}", where=name, hint=hint)
        found[number] = name
    return found


def _service(
    service: Service,
    layout: Layout,
    settings: Settings,
    credentials: Path | None,
    numbers: Mapping[str, str],
) -> Program:
    """Fill in what only the head knows; `numbers` are the ports of all, by `{port:NAME}`."""
    state = layout.state(service.name)
    url = f"http://{settings.address}:{settings.port}"
    words = {"{port}": str(port(service, settings)), "{state}": str(state), "{url}": url, **numbers}
    if credentials is not None:
        words["{credentials}"] = str(credentials)
    _check_ports(service, numbers)
    own = {key: _fill(value, words) for key, value in service.env.items()}
    secret = {"CREDENTIALS_DIRECTORY": str(credentials)} if credentials else {}
    return Program(
        name=service.name,
        command=tuple(_fill(word, words) for word in service.command),
        directory=service.cwd,
        environment={**_base(service.name, state, layout), "SEALIFT_URL": url, **own, **secret},
        log=layout.log(service.name),
        start_seconds=settings.start_seconds,
        stop_seconds=settings.stop_seconds,
    )


def _check_ports(service: Service, numbers: Mapping[str, str]) -> None:
    """Refuse the port of a service that the release does not have."""
    for text in (*service.command, *service.env.values()):
        unknown = [word for word in OTHER_PORT.findall(text) if word not in numbers]
        if unknown:
            raise BadReleaseError(
                f"{service.name} asks for {unknown[0]}, which is not in the release",
                where=service.name,
                expected=", ".join(sorted(numbers)),
            )


def _web(executable: Path, layout: Layout, settings: Settings) -> Program:
    words = ("-p", f"{layout.var_dir}/", "-c", str(layout.nginx_conf))
    return Program(
        name=WEB_SERVER,
        command=(str(executable), *words),
        directory=layout.var_dir,
        environment=_base(WEB_SERVER, layout.head_dir, layout),
        log=layout.log(WEB_SERVER),
        start_seconds=settings.start_seconds,
        stop_seconds=settings.stop_seconds,
    )


def _base(name: str, home: Path, layout: Layout) -> dict[str, str]:
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": PATH,
        # Nobody can write caches into the store; Python need not try at every import.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "SEALIFT_SERVICE": name,
        MARK: str(layout.head_dir),
    }


def _fill(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
