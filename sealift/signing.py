"""Whose signatures a site takes, and which key it signs with, as its settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builders.settings import Settings
    from deploy.signing import Policy


def policy(
    settings: Settings, *, namespace: str | None = None, identities: Sequence[str] = ()
) -> Policy:
    """Return whose signatures count here; for releases, where no namespace is given.

    The threshold is that of releases: what else is signed is signed by one.
    """
    from deploy.signing import RELEASE, Policy

    said, meant = settings.signing, namespace or RELEASE
    threshold = said.threshold if meant == RELEASE else 1
    return Policy(said.signers, said.revoked, threshold, meant, tuple(identities))


def key(settings: Settings, named: Path | None = None) -> Path:
    """Return the key that signs: the one that is named, or the site's.

    Of a key in an agent only the public half lies there.

    Raises:
        InputError: there is none.
    """
    from store.errors import InputError

    found = named or settings.signing.key
    if found.exists():
        return found
    public = found.with_name(f"{found.name}.pub")
    if public.exists():
        return public
    raise InputError(
        "there is no key to sign with",
        where=str(found),
        hint="sealift key init makes one; or name one: --sign-key FILE, or `signing: {key: FILE}` "
        "in sealift.yaml",
    )


def signer(
    settings: Settings, named: Sequence[Path], namespace: str
) -> Callable[[bytes], tuple[bytes, ...]]:
    """Return what signs bytes with each of these keys, or else with the site's.

    Raises:
        InputError: one of them is not there.
    """
    from deploy.signing import sign

    keys = [key(settings, each) for each in named] or [key(settings)]

    def signed(data: bytes) -> tuple[bytes, ...]:
        found = []
        for each in keys:
            _notify(each)
            found.append(sign(data, each, namespace=namespace))
        return tuple(found)

    return signed


def _notify(key: Path) -> None:
    """Say that a token waits to be touched: ssh-keygen says so only on a terminal of its own."""
    import click

    from deploy.ceremony import public_file
    from deploy.signing import public

    if public_file(key).exists() and public(key).on_token:
        click.echo(f"touch the token of {key}", err=True)
