"""`sealift secret …`: write a site's secrets, sealed for its heads, and see who can read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.asking import agree
from sealift.options import as_json, yes
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deploy.vault import Recipients
    from sealift.secret_rows import Row
    from sealift.site import Location


@click.group()
def secret() -> None:
    """Write secrets for heads: passwords, keys, certificates.

    They lie encrypted in `secrets/` beside sealift.yaml, for the pinned SSH host keys of the heads.
    This machine writes them and cannot read them back. A deploy takes them to the heads.
    """


@secret.command("set")
@click.argument("name")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Take the value from a file, byte for byte; - is standard input.",
)
@click.option("--edit", is_flag=True, help="Write the value in $EDITOR, in memory.")
@click.pass_obj
def set_(location: Location, name: str, *, file: Path | None, edit: bool) -> None:
    """Seal the value of NAME.

    It is asked for without echo, or taken from standard input, from a file or from an editor.
    From an editor or from standard input, the end of a single line is not part of the value.
    """
    from deploy.seal import check_name
    from sealift import keyring
    from sealift.secret_value import value

    check_name(name)
    if edit and file is not None:
        raise click.UsageError("give --file or --edit, not both")
    settings = location.settings()
    recipients = keyring.recipients(settings)
    keyring.vault(settings).put(name, value(name, file, edit=edit), recipients)
    _sealed((name,), recipients)


@secret.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that is missing; so it is without NAMES.")
@click.option("--replace", is_flag=True, help="Make those named anew that are there.")
@click.option(
    "--also",
    multiple=True,
    metavar="NAME|ADDRESS",
    help="How else the web server is reached, to stand in its certificate; goes first.",
)
@click.pass_obj
def generate(
    location: Location,
    names: tuple[str, ...],
    *,
    every: bool,
    replace: bool,
    also: tuple[str, ...],
) -> None:
    """Make what the built release needs and the vault lacks.

    Values are random; certificates are signed by their own keys, that of the web server with the
    names and addresses of all heads. A name that the release does not know becomes a random value.
    """
    from deploy.making import check_reached, make, to_bring, wanted
    from sealift import keyring
    from sealift.secret_rows import built

    if every and names:
        raise click.UsageError("give names or --all, not both")
    settings = location.settings()
    vault, recipients = keyring.vault(settings), keyring.recipients(settings)
    release = built(location)
    if release is None and not names:
        raise InputError(
            "no release was built yet that could need secrets", hint="sealift build all"
        )
    have = vault.names()
    makings = wanted(release, names, have, replace=replace)
    reached = [
        *map(check_reached, also),
        *(word for host in keyring.readers(settings) for word in (host.name, host.address)),
    ]
    made = [value for each in makings for value in make(each, reached).items()]
    # The key of a pair first: a certificate without it is seen, and refused, on the head.
    for name, value in reversed(made):
        vault.put(name, value, recipients)
    _sealed([name for name, _ in made], recipients)
    for name in to_bring(release, have) if release else ():
        click.echo(f"to bring  {name}: sealift secret set {name} --file FILE", err=True)


@secret.command("list")
@as_json
@click.pass_obj
def list_(location: Location, *, as_json: bool) -> None:
    """Show names, who can read them and who uses them. Values cannot be shown."""
    from sealift.secret_rows import rows

    found = rows(location)
    if as_json:
        for row in found:
            click.echo(json.dumps(row.record()))
        return
    _table(found)
    for row in found:
        if row.fault:
            click.echo(f"{row.name}: {row.fault}", err=True)


@secret.command("rm")
@click.argument("name")
@yes
@click.pass_obj
def remove(location: Location, name: str, *, yes: bool) -> None:
    """Remove NAME from the vault; heads that have it keep it."""
    from sealift import keyring
    from sealift.secret_rows import built, users

    vault = keyring.vault(location.settings())
    vault.check(name)
    used = users(built(location)).get(name, ())
    whose = f", which {', '.join(used)} needs" if used else ""
    agree(f"Remove {name}{whose}? It cannot be read back", yes=yes)
    vault.remove(name)
    click.echo(f"removed   {name}", err=True)


@secret.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Also those that the right hosts can read.")
@click.option(
    "--identity",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A private key that reads them: the site's recovery key, or one of SSH.",
)
@click.option("--through", metavar="HOST", help="The head that does it; by default any that can.")
@click.pass_obj
def rekey(
    location: Location,
    names: tuple[str, ...],
    *,
    every: bool,
    files: tuple[Path, ...],
    through: str | None,
) -> None:
    """Seal secrets again for the hosts of today.

    Without NAMES all whose readers are not the right ones. Needed when a head is new, is gone, or
    has another host key. This machine cannot read secrets: a head that can does it, and gives back
    what it sealed; or a private key that is named here.
    """
    from deploy import inventory
    from deploy.seal import load_identities
    from sealift import keyring
    from sealift.through import reseal

    if files and through:
        raise click.UsageError("give --identity or --through, not both")

    settings = location.settings()
    if through is not None:
        inventory.load(settings).select(through)
    vault, recipients = keyring.vault(settings), keyring.recipients(settings)
    stale = [
        name
        for name in names or vault.names()
        if every or names or not vault.standing(name, recipients).right
    ]
    if not stale:
        click.echo("every secret can be read by just the right hosts", err=True)
        return
    if files:
        identities = load_identities(files)
        for name in stale:
            vault.rekey(name, recipients, identities)
    else:
        for name, sealed in reseal(settings, stale, recipients, through):
            vault.keep(name, sealed)
    _sealed(stale, recipients)


def _table(rows: Sequence[Row]) -> None:
    from deploy.node_sets import fold

    if not rows:
        click.echo("no secrets, and no release that needs any", err=True)
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        hosts = row.standing.hosts if row.standing else ()
        read = fold(hosts) if hosts else "nobody"
        more = " +recovery" if row.standing and row.standing.recovery else ""
        click.echo(f"{row.name:<{width}}  {read + more:<24} {', '.join(row.users)}".rstrip())


def _sealed(names: Collection[str], recipients: Recipients) -> None:
    """Say what was sealed, and for whom."""
    from deploy.node_sets import fold

    whom = fold(recipients.hosts) + (" and recovery" if recipients.recovery else "")
    for name in sorted(names):
        click.echo(f"sealed    {name} for {whom}", err=True)
    if not names:
        click.echo("nothing is missing", err=True)
