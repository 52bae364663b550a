"""`sealift receipt`: say what the site holds, so that the next bundle holds only what it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.options import allow_missing as may_be_missing
from sealift.options import as_json
from sealift.shown import say
from store.amounts import amount
from store.errors import Error, InputError

if TYPE_CHECKING:
    from builders.settings import Settings
    from deploy.host import Host
    from deploy.receipt import Receipt
    from deploy.receipt_file import Sealed
    from sealift.held import Told
    from sealift.site import Location, Site


@click.command()
@click.option(
    "--output",
    "-o",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it here; an older receipt is replaced.",
)
@click.option(
    "--host",
    metavar="HOSTS",
    help="Ask these heads: head1, head[1-3], @group. By default all of the inventory.",
)
@click.option("--no-heads", is_flag=True, help="Ask no head; tell of this machine alone.")
@click.option(
    "--sign-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign with this key instead of the one of the settings.",
)
@may_be_missing
@as_json
@click.pass_obj
def receipt(
    location: Location,
    /,
    file: Path,
    *,
    host: str | None,
    no_heads: bool,
    sign_key: Path | None,
    allow_missing: bool,
    as_json: bool,
) -> None:
    """Write what this transfer host and its heads hold to a small signed file.

    It has store paths, generations, facts of the operating systems and what dpkg has installed; no
    secret, no address, nobody's name. At the builder it is what `sealift bundle --since` and
    `sealift capture` read.
    """
    from deploy import durable
    from deploy.bundle.numbers import load
    from deploy.receipt_file import seal
    from deploy.signing import RECEIPT
    from sealift import held
    from sealift.output import refusal
    from sealift.signing import signer

    if host is not None and no_heads:
        raise click.UsageError("--host and --no-heads contradict each other.")
    _check_place(file)
    with location.open() as site:
        name = _name(site.settings)
        sign = signer(site.settings, [sign_key] if sign_key else [], RECEIPT)
        number = load(site.store.var_dir, name).highest or None
        heads = [] if no_heads else _told(site, host, allow_missing=allow_missing)
        found = held.together(site.store, name, number, heads)
    sealed = seal(found, sign)
    try:
        durable.write(file, bytes(sealed))
    except OSError as fault:
        raise refusal(fault, str(file)) from fault
    _show(found, file, sealed, as_json=as_json)


def _check_place(file: Path) -> None:
    """Refuse what cannot be written, and to write over what is no receipt.

    Raises:
        InputError: the folder is not there, or the file is something else.
    """
    from deploy.receipt_file import is_receipt

    if not file.absolute().parent.is_dir():
        raise InputError("the folder is not there", where=str(file.absolute().parent))
    if file.exists() and not is_receipt(file):
        raise InputError(
            "a file is in the way that is no receipt", where=str(file), hint="name another one"
        )


def _name(settings: Settings) -> str:
    """Return what bundles call the site.

    Raises:
        InputError: the settings do not say.
    """
    if settings.site is None:
        raise InputError(
            "the settings do not say which site this is",
            where=str(settings.file),
            hint="site: NAME, as at the builder",
        )
    return settings.site


def _told(site: Site, host: str | None, *, allow_missing: bool) -> list[Told]:
    """Ask heads, several at once.

    Raises:
        Error: of the first that does not answer, unless it may be missing; others are said before.
    """
    from sealift import fleet, held, many

    hosts = _hosts(site, host)
    with fleet.reaching(site.settings, hosts) as heads:
        found, lost = fleet.gather(heads, held.there, site.settings.parallel)
        if lost and not (allow_missing and all(map(_is_silent, lost.values()))):
            many.raise_lost(lost, heads)
    for name, error in lost.items():
        say(f"{name}: {error.reason}; the receipt does not tell of it", err=True)
    return [found[each.name] for each in hosts if each.name in found]


def _hosts(site: Site, host: str | None) -> tuple[Host, ...]:
    """Return the heads that are meant and are other machines; of this one all is told anyway."""
    from deploy.inventory import load

    inventory = load(site.settings)
    meant = inventory.hosts.values() if host is None else inventory.select(host)
    return tuple(each for each in meant if not each.local)


def _is_silent(error: Error) -> bool:
    from deploy.survey import SILENT

    return isinstance(error, SILENT)


def _show(found: Receipt, file: Path, sealed: Sealed, *, as_json: bool) -> None:
    from sealift.receipt_view import SHORT, current, last, sentence

    size = len(bytes(sealed))
    if as_json:
        record = {
            "file": str(file),
            "bytes": size,
            "digest": sealed.digest,
            "site": found.site,
            "number": found.number,
            "paths": len(found.held),
            "machines": [
                {
                    "name": each.name,
                    "paths": None if each.paths is None else len(each.paths),
                    "generation": current(each),
                    "packages": each.packages is not None,
                }
                for each in found.machines
            ],
        }
        click.echo(json.dumps(record))
        return
    held = f"{last(found)}, {len(found.held)} paths, {amount(size)}"
    say(f"receipt   {sealed.digest[:SHORT]} of {found.site}: {held}", err=True)
    for each in found.machines[1:]:
        say(f"          {each.name}: {sentence(each)}", err=True)
    click.echo(file)
