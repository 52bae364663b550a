"""Secrets of a site as one sees them: names, who can read them, who uses them. Never values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builders.settings import Settings
    from deploy.release import Release
    from deploy.vault import Recipients, Standing, Vault
    from sealift.site import Location


@dataclass(frozen=True, slots=True)
class Row:
    """One secret as `list` shows it."""

    name: str
    standing: Standing | None
    users: tuple[str, ...]
    fault: str | None = None

    def record(self) -> dict[str, object]:
        """Give it as JSON."""
        said: dict[str, object] = {"name": self.name, "present": self.standing is not None}
        if self.standing is not None:
            said |= {
                "hosts": self.standing.hosts,
                "lacking": self.standing.lacking,
                "strangers": self.standing.strangers,
                "recovery": self.standing.recovery,
            }
        return {**said, "used_by": self.users, **({"fault": self.fault} if self.fault else {})}


def rows(location: Location) -> list[Row]:
    """Return all secrets that the vault has or the built release needs."""
    from sealift import keyring

    settings = location.settings()
    vault, recipients = keyring.vault(settings), _pinned(settings)
    needed = users(built(location))
    return [
        _row(name, vault, recipients, needed.get(name, ()))
        for name in sorted({*vault.names(), *needed})
    ]


def _row(name: str, vault: Vault, recipients: Recipients, users: tuple[str, ...]) -> Row:
    if name not in vault.names():
        return Row(name, None, users, fault=f"not there: sealift secret set {name}, or generate")
    try:
        standing = vault.standing(name, recipients)
    except Error as error:
        return Row(name, None, users, fault=error.reason)
    stale = None if standing.right else f"for other keys than today's: sealift secret rekey {name}"
    return Row(name, standing, users, stale)


def _pinned(settings: Settings) -> Recipients:
    """Return the recipients as far as their keys are pinned; the rest is said.

    A host without a key can read nothing, which is no reason not to list.
    """
    from deploy.vault import NoRecipientError, choose
    from sealift import keyring

    found: dict[str, Collection[str]] = {}
    for host, keys in keyring.pinned(settings).items():
        try:
            choose({host: keys})
        except NoRecipientError as error:
            click.echo(f"{error.reason}; {error.hint}", err=True)
        else:
            found[host] = keys
    return choose(found, settings.recovery)


def built(location: Location) -> Release | None:
    """Return the release as last built, if one was."""
    from deploy.release_file import load

    with location.open() as site:
        try:
            path = site.path(site.release())
        except InputError:
            return None
        return load(site.store.real(path))


def users(release: Release | None) -> Mapping[str, tuple[str, ...]]:
    """Return by secret who needs it."""
    from deploy.secrets_head import needs

    found: dict[str, list[str]] = {}
    for service, names in (needs(release) if release else {}).items():
        for name in names:
            found.setdefault(name, []).append(service)
    for phase, about in (release.phases if release else {}).items():
        for name in about.secrets:
            found.setdefault(name, []).append(f"phase {phase}")
    return {name: tuple(sorted(users)) for name, users in found.items()}
