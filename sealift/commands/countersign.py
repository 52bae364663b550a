"""`sealift countersign`: add a signature to a bundle that somebody else made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.shown import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.signing import Signer
    from sealift.site import Location


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option(
    "--sign-key",
    "sign_keys",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Sign with this key, not the one of the settings.",
)
@click.pass_obj
def countersign(location: Location, /, files: Sequence[Path], *, sign_keys: Sequence[Path]) -> None:
    """Add a signature to a bundle, all of whose parts are named: for sites that ask for several.

    At least one that counts here must be there already. `sealift inspect` says what is signed.
    """
    from deploy.bundle.countersign import countersign as add
    from deploy.signing import RELEASE, verify
    from sealift.bundle_view import headline
    from sealift.signing import policy, signer

    settings = location.settings()
    anybody = replace(policy(settings), threshold=1)
    signers: list[Signer] = []
    new: list[Signer] = []
    made = signer(settings, sign_keys, RELEASE)

    def check(data: bytes, signatures: Sequence[bytes]) -> None:
        signers.extend(verify(data, signatures, anybody))

    def sign(data: bytes) -> Sequence[bytes]:
        signatures = made(data)
        new.extend(verify(data, signatures, anybody))
        return signatures

    manifest = add(files, check, sign)
    said = f"{headline(manifest, signers)}, now also signed by {', '.join(map(str, new))}"
    say(said, err=True)
