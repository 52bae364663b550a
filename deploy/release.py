"""A release as it lies in the store: which services run, which web roots are served, and how.

Values only; reading them from `release.json` is for `deploy.release_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NONE: Mapping[str, Any] = MappingProxyType({})
WEB_SERVER = "nginx"
"""The name that the web server goes by among the services."""
MANAGER = "supervisord"
"""The tool that keeps services running on a head without systemd."""
PASSWORD = "password"  # noqa: S105 - a sort of secret
BYTES = "bytes"
SORTS = (PASSWORD, BYTES)
"""What secrets of phases are: a word that people could type, or a key of random bytes."""


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
class PhaseOf:
    """A phase of the cluster: by host the store path of what it wants there.

    In which order hosts are is said there. `secrets` are the sorts of those that it uses, by name.
    """

    number: int
    hosts: Mapping[str, Path]
    secrets: Mapping[str, str] = field(default_factory=lambda: NONE)


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
    phases: Mapping[str, PhaseOf] = field(default_factory=lambda: NONE)
    """Phases of the cluster by name, in the order of their numbers; none of a site without one."""

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
