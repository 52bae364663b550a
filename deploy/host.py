"""A host: what it is called, and what is known of how it is reached.

Which hosts a site has is for `deploy.inventory`; reaching one is for `deploy.transport`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "local"
SSH = "ssh"
_ADDRESS = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})\Z|[0-9A-Fa-f:]{2,45}(?:%[a-z0-9.]+)?\Z"
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\Z")
_HOP = re.compile(r"(?:([^@]+)@)?([^@:\[\]]+|\[[^\]]+\])(?::([0-9]{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Host:
    """One host, complete: every default is filled in that the SSH configuration does not decide.

    `port` is ssh's, or None for what the SSH configuration says; of a local host it is the web
    server's. `services` are what runs there; None for all. `gateway` is the host it is reached
    through. `written` tells whether the settings give the address, or it is only the name.
    """

    name: str
    kind: str = SSH
    address: str = ""
    written: bool = False
    user: str | None = None
    port: int | None = None
    port_offset: int = 0
    key: Path | None = None
    gateway: Host | None = None
    roles: tuple[str, ...] = ()
    services: tuple[str, ...] | None = None
    priority: int = 0
    sudo: str = "auto"

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return self.kind == LOCAL


def parse_hop(text: str) -> Host:
    """Parse `[user@]host[:port]`, as SSH writes gateways; an IPv6 address stands in brackets.

    Raises:
        InputError: it is something else.
    """
    found = _HOP.match(text)
    address = found[2].strip("[]") if found else ""
    port = int(found[3]) if found and found[3] else None
    user = found[1] if found else None
    if not is_address(address) or (user is not None and not is_user(user)):
        raise InputError(f"{text!r} is no gateway", expected="a host, or [user@]host[:port]")
    return Host(name=address, address=address, user=user, port=port)


def is_address(text: str) -> bool:
    """Tell whether text can be a host's name or address."""
    return _ADDRESS.match(text) is not None


def is_user(text: str) -> bool:
    """Tell whether text can be the name of who logs in."""
    return _USER.match(text) is not None
