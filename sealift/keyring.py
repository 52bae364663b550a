"""For whom a site's secrets are sealed, as its settings, inventory and pinned host keys say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from builders.settings import Settings
    from deploy.host import Host
    from deploy.release import Release
    from deploy.vault import Recipients, Vault


def vault(settings: Settings) -> Vault:
    """Return the site's vault."""
    from deploy.vault import FOLDER, Vault

    return Vault(settings.root / FOLDER)


def readers(settings: Settings) -> tuple[Host, ...]:
    """Return the hosts that have secrets.

    They are those reached by SSH on which services run, and those of the cluster.
    """
    from deploy import inventory
    from deploy.cluster import cluster_hosts

    known = inventory.load(settings)
    said = settings.cluster
    members = cluster_hosts(known, said.hosts, said.addresses) if said else ()
    names = {each.name for each in members}
    remote = (each for each in known.hosts.values() if not each.local)
    return tuple(each for each in remote if each.services != () or each.name in names)


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
    from deploy.route import route
    from sealift.hosts import ssh

    how = ssh(settings)
    pins = {host.name: route(host, how)[-1].pin for host in readers(settings)}
    return {
        name: tuple(str(key) for key in known_hosts.pinned(settings.known_hosts, pin))
        for name, pin in pins.items()
    }


def sealed(
    settings: Settings, hosts: Sequence[Host], wanted: Release
) -> dict[str, dict[str, bytes]]:
    """Return per host the sealed secrets that what it runs of a release needs.

    Those that the vault has not are not among them: a host may have them from before, and says so
    if it does not.

    Raises:
        NoRecipientError: a host has no pinned key that secrets could be sealed to.
        SecretUnreadableError: a secret was sealed for other keys than a host has now.
        UnknownServiceError: a host is to run nothing of the release.
    """
    return sealed_names(settings, {host.name: _needed(wanted, host) for host in hosts})


def sealed_names(
    settings: Settings, wants: Mapping[str, Collection[str]]
) -> dict[str, dict[str, bytes]]:
    """Return per host those of the secrets named for it that the vault has, sealed.

    Raises:
        NoRecipientError: a host has no pinned key that secrets could be sealed to.
        SecretUnreadableError: a secret was sealed for other keys than a host has now.
    """
    from deploy.vault import choose

    have = vault(settings)
    if not {name for names in wants.values() for name in names} & set(have.names()):
        return {}
    # A host without any pinned key is not reached, which is said where it is tried.
    keys = {name: pins for name, pins in pinned(settings).items() if name in wants and pins}
    recipients = choose(keys, settings.recovery)
    return {name: have.for_host(wants[name], name, recipients) for name in keys}


def _needed(wanted: Release, host: Host) -> frozenset[str]:
    """Return the names of the secrets of what a host runs."""
    from deploy.secrets_head import needs
    from deploy.units import chosen

    every = needs(chosen(wanted, host.services)).values()
    return frozenset(name for names in every for name in names)
