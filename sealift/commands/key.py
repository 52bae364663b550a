"""`sealift key …`: make keys that sign, and say whose signatures count."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.asking import agree
from sealift.options import as_json, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from builders.settings import Settings
    from deploy.public_key import PublicKey
    from sealift.site import Location

PURPOSES = ("release", "receipt", "proof")
_purposes = click.option(
    "--for",
    "purposes",
    multiple=True,
    type=click.Choice(PURPOSES),
    help="What the key may sign; releases by default. Can be given several times.",
)
_key = click.option(
    "--key",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key that signs; by default what `signing: {key: …}` says, or keys/signing.",
)
_kind = click.option(
    "--type",
    "kind",
    type=click.Choice(("ed25519", "ed25519-sk", "ecdsa-sk", "ecdsa", "rsa")),
    default="ed25519",
    show_default=True,
    help="The kind of key; those with -sk stay on a FIDO token.",
)
_no_passphrase = click.option(
    "--no-passphrase", is_flag=True, help="Leave the key unlocked; else a passphrase is asked for."
)


@click.group()
def key() -> None:
    """Make keys that sign, and say whose signatures count.

    allowed_signers and revoked_keys beside sealift.yaml say it, on the builder and at the site.
    Bundles bring the builder's to the site. docs/security.md tells who must trust what.
    """


@key.command()
@click.option(
    "--identity",
    metavar="NAME",
    help="Whom the key stands for: release@builder. By default what `signing: {identity: …}` "
    "says, or you at this machine.",
)
@_key
@_purposes
@_kind
@_no_passphrase
@click.pass_obj
def init(
    location: Location,
    *,
    identity: str | None,
    file: Path | None,
    purposes: tuple[str, ...],
    kind: str,
    no_passphrase: bool,
) -> None:
    """Make a key pair, and let it sign.

    Prints the line for the allowed_signers of the other side: take it there by hand, once.
    """
    from deploy import ceremony, signers, signing
    from deploy.ceremony import public_file
    from sealift.signing import policy

    settings = location.settings()
    who = signers.check_identity(identity or settings.signing.identity or _user())
    made = file or settings.signing.key
    _make(made, who, kind, no_passphrase=no_passphrase)
    public = signing.public(made)
    line = signers.Allowed(who, public, _namespaces(purposes), comment=_added())
    ceremony.add(policy(settings), line)
    click.echo(f"made      {made} and {public_file(made)}", err=True)
    click.echo(f"added     {who} {public.fingerprint} to {settings.signing.signers}", err=True)
    click.echo(str(line))


@key.command()
@click.argument("identity")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_purposes
@click.option(
    "--until",
    type=click.DateTime(("%Y-%m-%d",)),
    help="The last day, in UTC, on which the key counts.",
)
@click.option("--fingerprint", metavar="SHA256:…", help="Add it without asking if it has this.")
@yes
@click.pass_obj
def add(
    location: Location,
    identity: str,
    file: Path,
    *,
    purposes: tuple[str, ...],
    until: dt.datetime | None,
    fingerprint: str | None,
    yes: bool,
) -> None:
    """Let IDENTITY sign with the public key in FILE.

    Compare the fingerprint with what its owner tells you another way than that by which the file
    came: ssh-keygen -lf FILE.
    """
    from deploy import ceremony, signers, signing
    from sealift.signing import policy

    settings = location.settings()
    who, public = signers.check_identity(identity), signing.public(_public(file))
    before = _end_of(until)
    line = signers.Allowed(who, public, _namespaces(purposes), before=before, comment=_added())
    say(f"{who}  {public.type}  {public.fingerprint}  {line.scope}")
    _check_fingerprint(public, fingerprint)
    question = f"Is this the key of {who}, and may it sign {line.scope}?"
    agree(question, yes=yes or fingerprint is not None)
    for old in ceremony.add(policy(settings), line):
        click.echo(f"replaced  {who} {old.scope}", err=True)
    click.echo(f"added     {who} to {settings.signing.signers}", err=True)


@key.command()
@click.argument("which")
@click.option("--reason", default="", metavar="TEXT", help="Why; stands in the list.")
@yes
@click.pass_obj
def revoke(location: Location, which: str, *, reason: str, yes: bool) -> None:
    """Revoke WHICH: an identity with all its keys, a fingerprint, or a FILE.pub.

    What they signed counts no more, here at once, and at the site once it has received a bundle
    that another key signed.
    """
    from deploy import ceremony
    from sealift.signing import policy

    settings = location.settings()
    rule = policy(settings)
    found = ceremony.find(rule, which)
    for key, whose in found.items():
        say(f"{whose}  {key.fingerprint}")
    agree("Revoke this? It cannot be taken back", yes=yes)
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    why = f": {_printable(reason)}" if reason else ""
    for key, whose in found.items():
        ceremony.revoke(rule, key, f"{whose}, revoked {today}{why}")
        click.echo(f"revoked   {whose} {key.fingerprint}", err=True)
    _warn_if_too_few(settings)


@key.command()
@_key
@_kind
@_no_passphrase
@click.option(
    "--new",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take this public key, of an agent or a token, in place of a made one.",
)
@click.option("--finish", is_flag=True, help="Revoke the old key, and sign with the new one.")
@click.option(
    "--without-bundle",
    is_flag=True,
    help="With --finish: though sites have no bundle yet that tells of the new key.",
)
@yes
@click.pass_obj
def rotate(
    location: Location,
    *,
    file: Path | None,
    kind: str,
    no_passphrase: bool,
    new: Path | None,
    finish: bool,
    without_bundle: bool,
    yes: bool,
) -> None:
    """Put another key in place of the one that signs, in two steps.

    First a new key is made and allowed beside the old one; bundles are still signed by the old one,
    and tell the site of the new one. Once the site has received one of these: --finish.
    """
    from sealift import untold
    from sealift.signing import policy

    settings = location.settings()
    old = file or settings.signing.key
    if finish:
        if not without_bundle:
            untold.check(settings, old)
        _finish(settings, old, yes=yes)
        return
    from deploy import ceremony, signing

    rule, fresh = policy(settings), ceremony.next_file(old)
    identity = ceremony.owner(rule, signing.public(old))
    if new is not None:
        ceremony.bring(new, ceremony.public_file(fresh))
    elif not ceremony.public_file(fresh).exists():
        _make(fresh, identity, kind, no_passphrase=no_passphrase)
    public = signing.public(fresh)
    for line in ceremony.begin_rotation(rule, old, public):
        click.echo(f"added     {line.identity} {public.fingerprint} {line.scope}", err=True)
    click.echo(
        "next      bundle as before; when the site has received that bundle: "
        "sealift key rotate --finish",
        err=True,
    )


@key.command("list")
@as_json
@click.pass_obj
def list_(location: Location, *, as_json: bool) -> None:
    """Show who may sign, for what, and which keys are revoked."""
    from sealift.key_rows import elsewhere, rows, text

    settings = location.settings()
    signers = settings.signing.signers
    if not signers.exists():
        click.echo(f"nobody: there is no {signers}; sealift key init makes a key", err=True)
        return
    for row in rows(settings):
        if as_json:
            click.echo(json.dumps(row))
        else:
            say(text(row))
    if binary := elsewhere(settings):
        click.echo(f"more in   {binary}: ssh-keygen -Q -l -f {binary}", err=True)


def _make(file: Path, identity: str, kind: str, *, no_passphrase: bool) -> None:
    """Make a key pair.

    Raises:
        InputError: a passphrase is wanted, and nobody is there to type it.
    """
    from deploy import ceremony

    if not no_passphrase and not sys.stdin.isatty():
        raise InputError("nobody is here to type a passphrase", hint="--no-passphrase")
    if kind.endswith("-sk"):
        click.echo("touch the token when it blinks", err=True)
    ceremony.make_key(file, identity, kind=kind, passphrase=not no_passphrase)


def _finish(settings: Settings, key: Path, *, yes: bool) -> None:
    from deploy import ceremony, signing
    from sealift.signing import policy

    if not yes:
        old = signing.public(key).fingerprint
        agree(f"Has the site received a bundle since? This revokes {old}", yes=False)
    gone = ceremony.finish_rotation(policy(settings), key)
    click.echo(f"revoked   {gone.fingerprint}", err=True)
    click.echo(f"signs     {signing.public(key).fingerprint} in {key}", err=True)
    _warn_if_too_few(settings)


def _warn_if_too_few(settings: Settings) -> None:
    """Say that no release could be signed any more, if so."""
    from deploy import signers, signing
    from sealift.signing import policy

    said, rule = settings.signing, policy(settings)
    allowed = signers.parse(signing.read(said.signers), str(said.signers))
    left = signing.able(rule, allowed, signing.read(said.revoked))
    if len(left) < rule.threshold:
        click.echo(
            f"warning   {len(left)} may sign releases now, and it takes {rule.threshold}: "
            "no site would receive a bundle of them",
            err=True,
        )


def _check_fingerprint(public: PublicKey, wanted: str | None) -> None:
    if wanted is not None and public.fingerprint != wanted:
        raise InputError(
            "this is another key",
            expected=wanted,
            got=public.fingerprint,
            hint="find out which is right; nothing was added",
        )


def _public(file: Path) -> Path:
    """Refuse a private key that was meant to be the public one."""
    if file.suffix != ".pub":
        raise InputError(
            "a public key lies in a file that ends with .pub", where=str(file), hint=f"{file}.pub"
        )
    return file


def _namespaces(purposes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"sealift-{each}" for each in dict.fromkeys(purposes or PURPOSES[:1]))


def _end_of(day: dt.datetime | None) -> dt.datetime | None:
    """Return when a day ends.

    Raises:
        InputError: it is over.
    """
    if day is None:
        return None
    end = day.replace(tzinfo=dt.UTC) + dt.timedelta(days=1)
    if end <= dt.datetime.now(dt.UTC):
        raise InputError(
            "that day is over: the key would count for nothing",
            expected="--until a day to come",
            got=f"{day:%Y-%m-%d}",
            hint="so that a key counts no more: sealift key revoke",
        )
    return end


def _added() -> str:
    return f"added {dt.datetime.now(dt.UTC):%Y-%m-%d}"


def _printable(text: str) -> str:
    """Return a remark as the file takes it: one line of ASCII."""
    if not (text.isascii() and text.isprintable()):
        raise InputError("a reason is one line of ASCII", got=text[:100])
    return text


def _user() -> str:
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"
