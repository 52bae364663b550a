"""How bundles look on their way in: who signed, how far it is, and what came."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builders.settings import Settings
    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.read import Bundle
    from deploy.signing import Signer

MEGABYTE = 1_000_000
_OFTEN = 0.2
"""Seconds between two looks of the line that says how far it is."""


class Progress(Protocol):
    """How far something is, in bytes of files."""

    @property
    def done(self) -> int:
        """Return what is behind it."""

    @property
    def total(self) -> int:
        """Return what it will be in the end."""


class Checked:
    """Verifies what bundles bear, as a site's settings say, and remembers who had signed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.signers: tuple[Signer, ...] = ()
        self._of: dict[str, tuple[Signer, ...]] = {}

    def of(self, bundle: Bundle) -> tuple[Signer, ...]:
        """Return who signed one of several."""
        return self._of[bundle.manifest.digest]

    def again(self, bundle: Bundle) -> None:
        """Verify the signatures of an open bundle, as whose signatures count may have changed.

        Raises:
            SignatureError: too few of them count now.
        """
        self(bundle.stored, next(iter(bundle.parts.values())).signatures())

    @property
    def file(self) -> str:
        """The file that said whose signatures count."""
        return str(self._settings.signing.signers)

    @property
    def told(self) -> str:
        """Say which file decided."""
        return f"who may sign is said by {self.file}"

    def __call__(self, data: bytes, signatures: Sequence[bytes]) -> None:
        """Verify signatures of a manifest.

        Raises:
            SignatureError: too few of them count here.
        """
        from deploy.signing import verify
        from sealift.signing import policy

        self.signers = verify(data, signatures, policy(self._settings))
        self._of[hashlib.sha256(data).hexdigest()] = self.signers


def headline(manifest: BundleManifest, signers: Sequence[Signer]) -> str:
    """Say which bundle it is."""
    made = dt.datetime.fromtimestamp(manifest.created, dt.UTC)
    kind = "bundle" if manifest.base is None else "delta"
    what = kind if manifest.repairs is None else "replacements for bundle"
    by = ", ".join(map(str, signers))
    return f"{what} {manifest.number} for {manifest.site}, made {made:%Y-%m-%d %H:%M} UTC by {by}"


def amount(size: int) -> str:
    """Say how much it is."""
    return f"{size / MEGABYTE:.1f} MB" if size >= MEGABYTE else f"{size / 1000:.1f} kB"


@contextmanager
def watching(done: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Give an observer that draws one line again and again, on a terminal only."""
    last = 0.0
    drawn = False

    def observe(progress: Progress) -> None:
        nonlocal last, drawn
        now = time.monotonic()
        if quiet or not sys.stderr.isatty() or now - last < _OFTEN:
            return
        last, drawn = now, True
        line = f"{amount(progress.done)} of {amount(progress.total)} {done}"
        click.echo(f"\r{line:<60}", nl=False, err=True)

    try:
        yield observe
    finally:
        if drawn:
            click.echo(f"\r{'':<60}\r", nl=False, err=True)


def agreed(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; elsewhere only `--yes` will do.

    Raises:
        InputError: nobody is there to be asked.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InputError("nobody is here to agree", hint="pass --yes")
    return click.confirm(question, err=True)
