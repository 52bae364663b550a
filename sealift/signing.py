"""Whose signatures a site takes, and which key it signs with, as its settings say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builders.settings import Settings
    from deploy.signing import Policy


class UselessKeyError(InputError):
    """A key whose signatures do not count, by what lies here itself."""

    slug = "useless-key"


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

    It raises `UselessKeyError` where a signature would not count here: elsewhere it would count
    less, and whoever finds that out has carried it there.

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
            _check_counts(settings, each, data, found[-1], namespace)
        return tuple(found)

    return signed


def _check_counts(
    settings: Settings, key: Path, data: bytes, signature: bytes, namespace: str
) -> None:
    """See that a signature counts by the two files that lie here.

    Raises:
        UselessKeyError: it does not; says why.
    """
    from deploy.signing import SignatureError, verify

    rule = replace(policy(settings, namespace=namespace), threshold=1)
    try:
        verify(data, (signature,), rule)
    except SignatureError as error:
        raise UselessKeyError(
            f"what this key signs does not count: {error.got}",
            where=str(key),
            expected=error.expected,
            hint=_cure(key, namespace),
        ) from error


def _cure(key: Path, namespace: str) -> str:
    """Say which command lets a key sign."""
    from deploy.ceremony import public_file

    purpose = namespace.removeprefix("sealift-")
    return (
        f"sealift key list says who may sign; to let this key: sealift key add IDENTITY "
        f"{public_file(key)} --for {purpose}; or sign with another: --sign-key FILE"
    )


def _notify(key: Path) -> None:
    """Say that a token waits to be touched: ssh-keygen says so only on a terminal of its own."""
    import click

    from deploy.ceremony import public_file
    from deploy.signing import public

    if public_file(key).exists() and public(key).on_token:
        click.echo(f"touch the token of {key}", err=True)
