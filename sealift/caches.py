"""Shared caches as the settings name them, and how those behind sshd are reached: as heads are."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builders.cache_source import Cache
    from builders.cache_urls import CacheUrl, Dial, Patience
    from builders.plan import Plan
    from builders.resolve import Lookup
    from builders.settings import Settings
    from deploy.host import Host
    from sealift.site import Site


def caches(settings: Settings) -> tuple[Cache, ...]:
    """Return the shared caches that builds ask, in their order."""
    if not settings.substituters:
        return ()
    from builders.cache_source import Cache
    from builders.cache_urls import CacheUrl
    from store.cache_keys import load_trusted

    reach = dial(settings)
    return tuple(
        Cache(CacheUrl.parse(each.url), load_trusted(each.public_keys), reach)
        for each in settings.substituters
    )


def remembered(site: Site, plan: Plan) -> Lookup:
    """Return what finds outputs by derivation: in the store, and as caches told earlier builds."""
    from builders.derive import platform_of
    from builders.events import ignore
    from builders.substitute import Substitutes

    asked = caches(site.settings)
    platform = platform_of(bare=site.settings.sandbox == "off")
    known = Substitutes(plan, site.store, asked, platform=platform, observe=ignore)
    known.recall()
    return known.lookup


def dial(settings: Settings) -> Dial:
    """Return what connects to a host for SFTP, with the site's pinned host keys and no others."""

    @contextmanager
    def reach(url: CacheUrl, patience: Patience) -> Iterator[Callable[[], Any]]:
        from dataclasses import replace

        from deploy.ssh_errors import HostKeyError
        from deploy.transport import connect
        from sealift.hosts import ssh

        how = replace(ssh(settings), connect_timeout=patience.connect)
        try:
            connection = connect(_host(settings, url), how)
        except HostKeyError as error:
            if error.got is None and not _listed(settings, url):
                error.hint = f"put a line with its public key into {settings.known_hosts}"
            raise
        with connection:
            yield partial(connection.files, patience.silence)

    return reach


def _host(settings: Settings, url: CacheUrl) -> Host:
    """Return the host of an address: one of the inventory, or any other."""
    from dataclasses import replace

    from deploy.host import Host

    host = _listed(settings, url) or Host(name=url.host, address=url.host)
    return replace(host, user=url.user or host.user, port=url.port or host.port)


def _listed(settings: Settings, url: CacheUrl) -> Host | None:
    from deploy.inventory import load

    host = load(settings).hosts.get(url.host)
    return None if host is None or host.local else host
