"""For whom a site's secrets are sealed, as its settings, inventory and pinned host keys say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.settings import Settings
    from deploy.inventory import Host
    from deploy.vault import Recipients, Vault


def vault(settings: Settings) -> Vault:
    """Return the site's vault."""
    from deploy.vault import FOLDER, Vault

    return Vault(settings.root / FOLDER)


def readers(settings: Settings) -> tuple[Host, ...]:
    """Return the hosts that have secrets: those reached by SSH on which services run."""
    from deploy import inventory

    hosts = inventory.load(settings).hosts.values()
    return tuple(each for each in hosts if not each.local and each.services != ())


def recipients(settings: Settings) -> Recipients:
    """Return the keys of all hosts that should read the site's secrets.

    Raises:
        NoRecipientError: a host has no pinned key that fits.
    """
    from deploy.vault import choose

    return choose(pinned(settings), settings.recovery)


def pinned(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the pinned public keys of each host that has secrets."""
    from deploy import known_hosts
    from deploy.route import Ssh, route

    ssh = Ssh(settings.known_hosts, settings.connect_timeout)
    pins = {host.name: route(host, ssh)[-1].pin for host in readers(settings)}
    return {
        name: tuple(str(key) for key in known_hosts.pinned(settings.known_hosts, pin))
        for name, pin in pins.items()
    }
