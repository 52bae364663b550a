"""A recipe: what to package, and how the result runs.

Values only. `builders.loader` reads them from YAML; each kind's module turns them into steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Kind(Enum):
    """The builder that a recipe asks for."""

    PEX = "pex"
    SHIV = "shiv"
    ENV = "env"
    NODE = "node"
    DIST = "dist"
    DEB = "deb"
    APT = "apt"
    TOOLCHAIN = "toolchain"
    EXECUTABLE = "executable"
    RELEASE = "release"
    PHASE = "phase"


class Probe(Enum):
    """How a service shows that it is healthy."""

    HTTP = "http"
    TCP = "tcp"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Which files of a site's tree go in: a folder under the sources root, and patterns.

    `include` brings back files that the defaults leave out (gitignore patterns, relative to
    the folder); `allow_secrets` names files that look like secrets and may go in all the same.
    With `only`, nothing but these files and folders is looked at. With `beside` the path starts
    at the folder that holds the recipes folder.
    """

    path: str
    subdir: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_secrets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    beside: bool = False


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """A suite of a package archive; `keyring` is a path that starts at the recipes folder.

    Without a mirror it is Debian's, which is a setting; without a keyring, that of the settings.
    """

    suite: str
    mirror: str | None = None
    components: tuple[str, ...] = ("main",)
    keyring: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """One probe of a running service: an HTTP or WebSocket path, or a bare TCP connection."""

    probe: Probe
    path: str = "/"
    timeout: float = 30.0
    """Seconds from start until the first healthy answer must have come."""


@dataclass(frozen=True, slots=True)
class Route:
    """A location of the site's web server that leads to a service or a web root.

    `path` ends with a slash, or is exact (`/ws`). `strip` removes it before the request is
    handed on; `upgrade` lets WebSockets through; `timeout` is in seconds.
    """

    path: str
    strip: bool = False
    upgrade: bool = False
    timeout: int = 60
    body_limit: str = "16m"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate among the secrets of a service, by the name of the secret.

    With `key`, the name of another, the head makes the pair where it has neither; `subject` is
    the common name that it is made for. Without, it is somebody else's and must be there.
    """

    certificate: str
    key: str | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Web:
    """What the web server of a head with systemd listens on; `https` is None without TLS.

    `certificate` and `key` are names of secrets.
    """

    http: int
    https: int | None
    certificate: str = "TLS_CERT"
    key: str = "TLS_KEY"


@dataclass(frozen=True, slots=True)
class Service:
    """How an artefact runs: exactly one of `app` (a gunicorn application) and `command` is set.

    `state` paths are relative to the artefact's root and live outside the store. `secrets` are
    the names of all values that the head alone knows, those of `certificates` among them. `env`
    values and `command` words may hold `{port}`, `{port:NAME}`, `{state}` and `{credentials}`,
    words `{url}` as well: how browsers reach the site, without a slash at its end.
    `socket`: it takes its listening socket from who starts it; None is for what `app` implies.
    `concurrent`: an old and a new instance may run at once. `limits` are systemd's, by words of
    ours.
    """

    port: int
    health: Health
    app: str | None = None
    config: str | None = None
    command: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    secrets: tuple[str, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    routes: tuple[Route, ...] = ()
    socket: bool | None = None
    concurrent: bool = True
    limits: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One thing to package. `options` holds the keys that only its kind knows, already checked."""

    name: str
    kind: Kind
    file: Path
    description: str = ""
    source: SourceSpec | None = None
    lock: str | None = None
    """Lock file, relative to the locks folder; each kind has a default made from the name."""
    inputs: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Role → name of the recipe that plays it, for example `python` → `python-3.11`."""
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Environment of the build, not of the service."""
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    service: Service | None = None
    routes: tuple[Route, ...] = ()
    """Where the web server shows this artefact's web root (kind `dist`)."""
