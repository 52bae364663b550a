"""The hosts of a site as commands see them: the inventory, and how SSH is set for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.settings import Settings
    from deploy.route import Ssh


def ssh(settings: Settings) -> Ssh:
    """Return what holds for every connection of the site."""
    from deploy.route import Ssh

    return Ssh(settings.known_hosts, float(settings.connect_timeout), settings.ssh_config)
