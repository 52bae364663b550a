"""`sealift receive`, `verify` and `repair-request`: bundles where they arrive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealift.options import as_json, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.settings import Settings
    from deploy.bundle.admission import Admission
    from deploy.bundle.delivery import Delivery
    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.read import Bundle
    from deploy.bundle.receive import Received
    from sealift.bundle_view import Checked
    from sealift.site import Location, Site

files = click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE…",
)


@click.command()
@files
@click.option(
    "--allow-older",
    is_flag=True,
    help="Take a bundle that is older than the newest, or for another site; it is written down.",
)
@yes
@as_json
@click.pass_obj
def receive(
    location: Location,
    /,
    files: Sequence[Path],
    *,
    allow_older: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take a bundle into the store, straight from the medium: all of it or none.

    Name all parts at once, or run it again with the others: what came is kept. Before anything
    is written the signatures are verified, and the number compared with those that came before.
    Exits with 4 if parts are still to come.
    """
    from deploy.bundle.delivery import opened
    from deploy.bundle.numbers import check_site
    from deploy.bundle.receive import alone
    from sealift import medium
    from sealift.bundle_view import Checked

    settings = medium.settings(location, files)
    checked = Checked(settings)
    with opened(files, checked) as delivery:
        bundle, repairs = delivery.bundle, delivery.repairs
        if not as_json:
            _introduce(delivery, checked)
        admission = None if bundle is None else _admit(settings, bundle, allow_older=allow_older)
        if admission is not None and admission.changes:
            if as_json:
                _introduce(delivery, checked)
            _consent(admission, yes=yes)
        for each in () if allow_older else repairs:
            check_site(settings.store_dir.parent / "var", settings.site, each.manifest.site)
        with location.open() as site, alone(site.store):
            if bundle is None and _is_needless(site, repairs[0].manifest, as_json=as_json):
                return
            for each in repairs:
                _take(site, each, as_json=as_json)
            if bundle is None or admission is None:
                raise _just_repairs(repairs[0].manifest)
            admission = _still(site, bundle, checked, admission, allow_older=allow_older)
            received = _take(site, bundle, as_json=as_json)
            _complete(site, bundle, admission, received)
        _tell(bundle, checked, admission, received, as_json=as_json)


def _introduce(delivery: Delivery, checked: Checked) -> None:
    """Say what came and who signed it, before anybody is asked anything."""
    from sealift.bundle_view import headline

    for each in (*delivery.repairs, *([delivery.bundle] if delivery.bundle else [])):
        say(headline(each.manifest, checked.of(each)), err=True)
    say(checked.told, err=True)


def _still(
    site: Site, bundle: Bundle, checked: Checked, asked: Admission, *, allow_older: bool
) -> Admission:
    """Decide anew where another bundle was received since the operator was asked.

    Raises:
        SignatureError: that one took the trust away from whoever signed this one.
        RefusedBundleError: it is too old now, or changes keys that nobody was asked about.
    """
    from deploy.bundle.admission import agreed, stands

    if stands(site.store.var_dir, bundle.manifest, asked, site=site.settings.site):
        return asked
    checked.again(bundle)
    return agreed(asked, _admit(site.settings, bundle, allow_older=allow_older))


def _admit(settings: Settings, bundle: Bundle, *, allow_older: bool) -> Admission:
    from deploy.bundle.admission import admit
    from deploy.bundle.pieces import Pieces
    from sealift.signing import policy

    return admit(
        settings.store_dir,
        bundle.manifest,
        Pieces(bundle.manifest, bundle.parts, None),
        site=settings.site,
        policy=policy(settings),
        allow_older=allow_older,
    )


def _consent(admission: Admission, *, yes: bool) -> None:
    """Ask whether the keys that a bundle brings may take the place of those that are here.

    Raises:
        InputError: nobody is here to say so.
        Abort: they may not.
    """
    from sealift.asking import agreed

    say("this bundle changes whom this site trusts:", err=True)
    for line in admission.changes:
        say(f"  {line}", err=True)
    if not agreed("Trust them from now on?", yes=yes):
        raise click.Abort


def _take(site: Site, bundle: Bundle, *, as_json: bool) -> Received:
    from deploy.bundle.receive import receive as take
    from sealift.progress import drawn

    with drawn("received", quiet=as_json) as observe:
        return take(site.store, bundle, observe)


def _complete(site: Site, bundle: Bundle, admission: Admission, received: Received) -> None:
    from deploy.bundle.admission import complete
    from sealift.fleet import operator
    from sealift.signing import policy

    complete(
        site.store.var_dir,
        bundle.manifest,
        admission,
        by=operator(),
        policy=policy(site.settings),
        documents=received.documents,
    )


def _is_needless(site: Site, manifest: BundleManifest, *, as_json: bool) -> bool:
    """Tell whether the bundle that these replacements are for was received already; say so."""
    from deploy.bundle.numbers import load, only_site

    var_dir = site.store.var_dir
    ours = site.settings.site or only_site(var_dir) or manifest.site
    there = manifest.repairs in {each.digest for each in load(var_dir, ours).arrivals}
    if there and as_json:
        said = {"event": "needless", "site": manifest.site, "number": manifest.number}
        click.echo(json.dumps(said | {"repairs": manifest.repairs}))
    elif there:
        say(f"bundle {manifest.number} was received already: there is nothing to replace", err=True)
    return there


def _just_repairs(manifest: BundleManifest) -> Exception:
    from deploy.bundle.format import PartMissingError

    return PartMissingError(
        f"the replacements for bundle {manifest.number} were taken in; the bundle itself is not",
        hint="sealift receive, with the files of the bundle once more: its damage does no harm now",
    )


def _tell(
    bundle: Bundle, checked: Checked, admission: Admission, received: Received, *, as_json: bool
) -> None:
    from store.amounts import amount, counted

    manifest = bundle.manifest
    if as_json:
        record = {
            "event": "received",
            "site": manifest.site,
            "number": manifest.number,
            "digest": manifest.digest,
            "top": str(manifest.top),
            "root": manifest.root,
            "paths": len(received.paths),
            "files": received.files,
            "size": received.size,
            "seconds": round(received.seconds, 3),
            "signers": [str(each) for each in checked.of(bundle)],
            "allowed_signers": checked.file,
            "allowed": admission.allowed,
            "trust": admission.changes,
        }
        click.echo(json.dumps(record))
        return
    if admission.allowed:
        say(f"let through although it is {' and '.join(admission.allowed)}", err=True)
    if not manifest.paths:
        say("it brings no paths", err=True)
        return
    if not received.paths:
        say(f"nothing new: {counted(len(manifest.paths), 'path')} here already", err=True)
        return
    files = f"{amount(received.size)} in {counted(received.files, 'file')}"
    if not received.files:
        files = "all of whose files were here"
    what = f"{counted(len(received.paths), 'path')}, {files}"
    say(f"{what}, in {received.seconds:.1f} s; sealift deploy puts it on heads", err=True)


@click.command()
@files
@as_json
@click.pass_obj
def verify(location: Location, /, files: Sequence[Path], *, as_json: bool) -> None:
    """Read all of a bundle and compare it with what was signed; nothing is written.

    Exits with 4 if parts are missing and the others are in order.
    """
    from deploy.bundle.check import check
    from deploy.bundle.delivery import opened
    from sealift import medium
    from sealift.bundle_view import Checked
    from sealift.progress import drawn

    settings = medium.settings(location, files)
    checked = Checked(settings)
    with opened(files, checked) as delivery:
        for bundle in (*delivery.repairs, *([delivery.bundle] if delivery.bundle else [])):
            with drawn("verified", quiet=as_json) as observe:
                report = check(bundle, observe)
            _report(bundle, report.record(), checked, as_json=as_json)
            report.check()


def _report(bundle: Bundle, record: dict[str, Any], checked: Checked, *, as_json: bool) -> None:
    from sealift.bundle_view import headline
    from store.amounts import amount, counted

    manifest = bundle.manifest
    if as_json:
        said = {"site": manifest.site, "number": manifest.number, "digest": manifest.digest}
        signers = {
            "signers": [str(each) for each in checked.of(bundle)],
            "allowed_signers": checked.file,
        }
        click.echo(json.dumps({**said, **record, **signers}))
        return
    say(headline(manifest, checked.of(bundle)))
    say(checked.told)
    for each in record["damaged"]:
        say(f"damaged    {each['file']}: {each['reason']}")
    say(
        f"{counted(record['files'], 'file')}, {amount(record['size'])}, "
        f"in {counted(record['groups'], 'group')}: "
        f"{len(record['damaged'])} damaged"
    )


@click.command(name="repair-request")
@files
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the list here; at the builder: sealift bundle --repair LIST -o FILE.",
)
@click.pass_obj
def repair_request(location: Location, /, files: Sequence[Path], *, out: Path) -> None:
    """Write down which files of a bundle are in damaged groups, for the builder to send them."""
    from deploy.bundle.check import check
    from deploy.bundle.delivery import opened
    from deploy.bundle.repair import request
    from sealift import medium
    from sealift.bundle_view import Checked
    from sealift.output import write_file
    from sealift.progress import drawn
    from store.amounts import amount, counted

    _check_place(out)
    settings = medium.settings(location, files)
    with opened(files, Checked(settings), strict=False) as delivery:
        if delivery.bundle is None:
            raise InputError("this is no bundle, but what replaces groups of one")
        with drawn("verified", quiet=False) as observe:
            report = check(delivery.bundle, observe)
        wanted = request(delivery.bundle, report.damaged)
    if not wanted.files:
        say("nothing is damaged", err=True)
        return
    write_file(out, str(wanted))
    size = amount(sum(wanted.files.values()))
    say(f"to bring again: {counted(len(wanted.files), 'file')}, {size}: {out}", err=True)


def _check_place(out: Path) -> None:
    """Refuse to write over what is no list of damaged files, above all over the bundle.

    Raises:
        InputError: such a file lies there.
    """
    from deploy.bundle.repair import BadRequestError, load

    if not out.is_file():
        return
    try:
        load(out)
    except BadRequestError as error:
        raise InputError(
            "a file is in the way that is no list of damaged files",
            where=str(out),
            hint="name another one",
        ) from error
