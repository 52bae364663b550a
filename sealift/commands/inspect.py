"""`sealift inspect`: say what is in a bundle, once its signatures are found good."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealift.options import as_json
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.read import Bundle
    from deploy.signing import Signer
    from sealift.site import Location

_WIDTH = 11


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--paths", is_flag=True, help="List the store paths that it carries.")
@click.option("--sbom", is_flag=True, help="Print the bill of materials of the release.")
@as_json
@click.pass_obj
def inspect(
    location: Location,
    /,
    files: Sequence[Path],
    *,
    paths: bool,
    sbom: bool,
    as_json: bool,
) -> None:
    """Verify the signatures of a bundle, and say what it is and carries.

    One of its parts is enough. Contents are not read: that is `sealift verify FILE`. A receipt is
    shown likewise; with --json all that it says.
    """
    from deploy.bundle.read import Bundle
    from deploy.receipt_file import is_receipt
    from sealift import medium
    from sealift.bundle_view import Checked

    if paths and sbom:
        raise click.UsageError("--paths and --sbom print two things: one at a time.")
    if len(files) == 1 and not sbom and is_receipt(files[0]):
        _show_receipt(location, files[0], paths=paths, as_json=as_json)
        return
    checked = Checked(medium.settings(location, files))
    with Bundle.open(files, checked) as found:
        if sbom:
            _print_bill(found)
            return
        if as_json:
            record = _record(found, checked.signers) | {"allowed_signers": checked.file}
            click.echo(json.dumps(record | ({"paths": _paths(found.manifest)} if paths else {})))
            return
        for label, text in _rows(found, checked.signers):
            say(f"{label:<{_WIDTH}} {text}")
        say(f"{'judged by':<{_WIDTH}} {checked.file}")
        if paths:
            for each in _paths(found.manifest):
                say(f"{each['path']}  {each['nar_size']}")


def _show_receipt(location: Location, file: Path, *, paths: bool, as_json: bool) -> None:
    """Say what a receipt says: nothing else leaves the site in it."""
    from deploy.receipt_json import record
    from sealift import receipt_view
    from sealift.receipts import checked

    found, signers = checked(location.settings(), file)
    if as_json:
        click.echo(json.dumps(record(found)))
        return
    for label, text in receipt_view.rows(found, signers):
        say(f"{label:<{_WIDTH}} {text}")
    if paths:
        for each in found.infos:
            say(f"{each.path}  {each.nar_size}")


def _print_bill(found: Bundle) -> None:
    """Print the bill of materials as it stands in the bundle.

    Raises:
        InputError: it has none, or a delta that has only what changed in it.
        PartMissingError: it is in a part that is not at hand.
    """
    sha256 = found.manifest.documents.get("sbom")
    data = None if sha256 is None else found.document(sha256)
    if data is None:
        raise InputError(
            "the bundle does not hold a whole bill of materials",
            hint="after sealift receive: sealift sbom release",
        )
    click.echo(data, nl=False)


def _rows(found: Bundle, signers: Sequence[Signer]) -> Iterator[tuple[str, str]]:
    from sealift.bundle_view import headline
    from store.amounts import amount

    manifest = found.manifest
    yield "is", headline(manifest, signers)
    yield "release", f"{manifest.store}/{manifest.top}"
    yield from sorted(manifest.release.items())
    if manifest.base is not None:
        count = len(manifest.base.paths)
        yield "base", f"{count} paths of receipt {manifest.base.receipt[:16]}"
    yield "paths", str(len(manifest.paths))
    patched = f", {len(manifest.patches)} of them by what changed" if manifest.patches else ""
    yield "files", f"{len(manifest.blobs) + len(manifest.patches)}{patched}"
    yield "size", f"{amount(manifest.raw)} as {amount(found.whole_size)}"
    yield "parts", _parts(found)
    for name, sha256 in manifest.documents.items():
        yield name, f"sha256 {sha256}"
    if manifest.trust:
        yield "keys", "it tells whose signatures count at the builder"
    yield "digest", f"sha256 {manifest.digest}"


def _parts(found: Bundle) -> str:
    missing = found.missing_parts()
    count = str(len(found.manifest.parts))
    if not missing:
        return count
    return f"{count}; looked at {', '.join(map(str, sorted(found.parts)))}"


def _record(found: Bundle, signers: Sequence[Signer]) -> dict[str, Any]:
    manifest, base = found.manifest, found.manifest.base
    return {
        "site": manifest.site,
        "number": manifest.number,
        "created": dt.datetime.fromtimestamp(manifest.created, dt.UTC).isoformat(),
        "store": manifest.store,
        "root": manifest.root,
        "top": str(manifest.top),
        "release": dict(manifest.release),
        "base": base and {"receipt": base.receipt, "paths": [str(each) for each in base.paths]},
        "repairs": manifest.repairs,
        "carries": len(manifest.paths),
        "files": len(manifest.blobs),
        "patches": len(manifest.patches),
        "raw": manifest.raw,
        "size": found.whole_size,
        "groups": len(manifest.groups),
        "parts": len(manifest.parts),
        "missing": list(found.missing_parts()),
        "documents": dict(manifest.documents),
        "trust": dict(manifest.trust),
        "digest": manifest.digest,
        "signers": [
            {"identity": each.identity, "fingerprint": each.fingerprint} for each in signers
        ],
    }


def _paths(manifest: BundleManifest) -> list[dict[str, Any]]:
    return [
        {
            "path": str(path),
            "nar_sha256": each.nar_sha256,
            "nar_size": each.nar_size,
            "references": [str(reference) for reference in each.references],
        }
        for path, each in zip(manifest.store_paths(), manifest.paths, strict=True)
    ]
