"""What of a release runs as which units of systemd. Pure, but for reading the release's files.

The names are those under which `builders` writes the units: per service one socket that stays
open, a template whose instance is named after the service's store path and the text of its units,
and a private socket of each instance. The web server goes by the name `nginx` among them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import BadReleaseError, UnknownServiceError
from deploy.release import WEB_SERVER, Release

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TARGET = "sealift.target"
TIMER, RECOVER = "sealift-recover.timer", "sealift-recover.service"
BOOT = "sealift-boot.service"
SYSUSERS = "sysusers.conf"
PROBES = Path("/run/sealift/probe")
HASH = 32
"""Characters of a store path's name that are its hash."""
INSTANCE = re.compile(r"sealift-(.+)@([0-9a-z]{32}(?:-[0-9a-f]{8})?)\.service")
OF_SERVICE = re.compile(r"sealift-(.+?)(?:-probe@\.socket|\.socket|@\.service)")
_PORT = re.compile(r"^ListenStream=(?:.*:)?(\d+)$", re.MULTILINE)
OWN = (TIMER, RECOVER, BOOT)
"""What a head helps itself by; it is not part of what is started and stopped."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One service of a release, as systemd knows it.

    `socket` and `probe` are empty where the service opens its port itself. `digest` is of the text
    of the template, `socket_digest` of what decides how the socket listens, on `ports`.
    """

    name: str
    instance: str
    user: str
    concurrent: bool
    socket: str | None
    probe: str | None
    digest: str
    socket_digest: str = ""
    ports: frozenset[int] = frozenset()

    @property
    def service(self) -> str:
        """The unit that runs it."""
        return f"sealift-{self.name}@{self.instance}.service"

    @property
    def address(self) -> Path | None:
        """The socket at which just this instance answers."""
        if self.probe is None:
            return None
        # An instance that is named after a store path alone may share it with another service.
        mine = self.instance if len(self.instance) > HASH else f"{self.name}-{self.instance}"
        return PROBES / f"{mine}.sock"

    @property
    def sockets(self) -> tuple[str, ...]:
        """The sockets that it takes over when it starts."""
        return tuple(each for each in (self.socket, self.probe) if each is not None)


def chosen(release: Release, services: Collection[str] | None) -> Release:
    """Return the part of a release that a head with these services runs; None means all.

    A name that the release does not have is passed over: an earlier release had not got all.

    Raises:
        UnknownServiceError: the release has none of them.
    """
    if services is None:
        return release
    have = {*release.services, *([WEB_SERVER] if release.web else [])}
    if not have & set(services):
        raise UnknownServiceError(
            "the release has none of the services that this head is to run",
            expected=f"one of {', '.join(sorted(services))}",
            got=", ".join(sorted(have)),
            hint="look at the roles of this host in sealift.yaml",
        )
    web = release.web is not None and WEB_SERVER in services
    return replace(
        release,
        services={name: each for name, each in release.services.items() if name in services},
        frontends=release.frontends if web else {},
        web=release.web if web else None,
        systemd=release.systemd if web else None,
    )


def units(release: Release) -> dict[str, Unit]:
    """Return what runs for `release`, by name.

    Raises:
        BadReleaseError: it was made for heads without systemd, or a unit is missing.
    """
    found = {}
    for name, service in sorted(release.services.items()):
        if service.unit is None:
            raise _without(release, name)
        found[name] = _unit(
            release,
            name,
            service.unit.instance or service.path.name[:HASH],
            service.unit.user,
            service.port,
            socket=service.unit.socket,
            concurrent=service.unit.concurrent,
        )
    if release.web is not None:
        if release.systemd is None:
            raise _without(release, WEB_SERVER)
        found[WEB_SERVER] = _unit(
            release,
            WEB_SERVER,
            release.systemd.instance or release.web.path.name[:HASH],
            release.systemd.user_nginx,
            release.systemd.http,
            socket=True,
            concurrent=True,
        )
    return found


def files(release: Release, wanted: Mapping[str, Unit]) -> dict[str, Path]:
    """Return the unit files that a head links for what it runs, by name.

    Instances by their own names, too: what runs goes on being what it was started as, whatever the
    template of a later release says.
    """
    names = [TARGET, TIMER, RECOVER]
    for unit in wanted.values():
        names.append(f"sealift-{unit.name}@.service")
        if unit.socket is not None:
            names += [unit.socket, f"sealift-{unit.name}-probe@.socket"]
    found = {name: release.units_dir / name for name in names}
    found |= {
        unit.service: release.units_dir / f"sealift-{unit.name}@.service"
        for unit in wanted.values()
        if len(unit.instance) > HASH
    }
    return {name: file for name, file in found.items() if file.is_file()}


def parse(unit: str) -> tuple[str, str] | None:
    """Return service and instance of a unit's name; None for one that is no instance."""
    match = INSTANCE.fullmatch(unit)
    return (match[1], match[2]) if match else None


def probe(unit: str) -> str | None:
    """Return the private socket that goes with an instance, if it has one."""
    known = parse(unit)
    return f"sealift-{known[0]}-probe@{known[1]}.socket" if known else None


def owner(link: str) -> str | None:
    """Return the service that a unit file of ours is for; None for those of the whole head."""
    match = OF_SERVICE.fullmatch(link)
    return match[1] if match else None


def _unit(
    release: Release,
    name: str,
    instance: str,
    user: str,
    port: int,
    *,
    socket: bool,
    concurrent: bool,
) -> Unit:
    listening = f"sealift-{name}.socket" if socket else None
    said = _text(release, listening) if listening else ""
    return Unit(
        name=name,
        instance=instance,
        user=user,
        concurrent=concurrent,
        socket=listening,
        probe=f"sealift-{name}-probe@{instance}.socket" if socket else None,
        digest=_digest(_text(release, f"sealift-{name}@.service")),
        socket_digest=_digest(_listening(said)) if listening else "",
        ports=frozenset(int(each) for each in _PORT.findall(said))
        if listening
        else frozenset({port}),
    )


def _listening(text: str) -> str:
    """Leave out which instance comes next: that says nothing of how a socket listens."""
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("Service=")
    )


def _text(release: Release, name: str) -> str:
    try:
        return (release.units_dir / name).read_text("utf-8")
    except FileNotFoundError:
        reason = f"the release brings no unit {name}"
        raise BadReleaseError(reason, where=str(release.units_dir)) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _without(release: Release, name: str) -> BadReleaseError:
    return BadReleaseError(
        f"the release does not say how systemd runs {name}",
        where=str(release.path),
        hint="an earlier sealift made it; build it again: sealift build",
    )
