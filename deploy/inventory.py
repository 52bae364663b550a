"""The heads that a site names, as the settings file lists them.

`Host` and `Site` are what is needed of the settings; reading them from YAML is not for here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deploy.head import LocalHead
from deploy.settings import Settings
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from store.local import LocalStore

DEFAULT = "local"


class Host(Protocol):
    """One host of the settings."""

    @property
    def kind(self) -> str:
        """How it is reached: `local`."""
        ...

    @property
    def port(self) -> int:
        """The web server's port."""
        ...

    @property
    def port_offset(self) -> int:
        """What is added to every service's port."""
        ...


class Site(Protocol):
    """The part of a site's settings that names its heads."""

    @property
    def state_dir(self) -> Path:
        """Where the state of services lies."""
        ...

    @property
    def hosts(self) -> Mapping[str, Host]:
        """Hosts by name."""
        ...


def head(site: Site, store: LocalStore, name: str = DEFAULT) -> LocalHead:
    """Return the head that the site calls `name`.

    Raises:
        InputError: there is no such host, or its kind cannot be reached.
    """
    host = site.hosts.get(name)
    if host is None:
        have = ", ".join(sorted(site.hosts)) or "none"
        raise InputError(f"there is no host {name!r}", got=f"there are: {have}")
    local = [each for each in site.hosts if site.hosts[each].kind == DEFAULT]
    if len(local) > 1:
        raise InputError(
            "two hosts are this machine",
            where=name,
            got=", ".join(sorted(local)),
            hint="keep one host of kind `local`: a store has one embedded head",
        )
    if host.kind != DEFAULT:
        raise InputError(f"{name} is of kind {host.kind!r}, which cannot be reached", where=name)
    settings = Settings(port=host.port, port_offset=host.port_offset)
    return LocalHead(store, site.state_dir, settings, name=name)
