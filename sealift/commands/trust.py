"""`sealift trust`: show the keys of hosts, and pin them once somebody says that they are right."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING

import click

from sealift.asking import agree
from sealift.options import as_json, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.trust import Finding
    from sealift.site import Location


_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@click.command()
@click.argument("hosts", nargs=-1, required=True)
@click.option("--replace", is_flag=True, help="Also where another key is pinned.")
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    metavar="SHA256:…",
    help="Pin without asking what has one of these, and refuse all else.",
)
@yes
@as_json
@click.pass_obj
def trust(
    location: Location,
    hosts: tuple[str, ...],
    *,
    replace: bool,
    fingerprints: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Show the host keys of HOSTS and, once confirmed, pin them in the site's known_hosts.

    Compare the fingerprints with what the machine itself says, on its console:
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. Gateways on the way come first.
    """
    from deploy import trust as trusting
    from deploy.hops import host_keys
    from deploy.inventory import load
    from deploy.route import route
    from sealift.hosts import ssh

    _check_spelling(fingerprints)
    settings = location.settings()
    using, file = ssh(settings), settings.known_hosts
    meant = [host for host in load(settings).select(hosts) if not host.local]
    if not meant:
        raise InputError("none of these is reached by SSH", where=" ".join(hosts))
    ask = partial(host_keys, settings=using)
    for level in trusting.levels(route(host, using) for host in meant):
        found = trusting.look(file, level, ask, parallel=settings.parallel)
        _show(found, as_json=as_json)
        trusting.check(found, replace=replace)
        _confirm(found, fingerprints, yes=yes)
        trusting.accept(file, found)
        _done(found, file)


def _check_spelling(fingerprints: tuple[str, ...]) -> None:
    """Refuse what is no fingerprint before any host is asked.

    Raises:
        InputError: one is none.
    """
    for each in fingerprints:
        if not _FINGERPRINT.fullmatch(each):
            raise InputError(
                f"{each!r} is no fingerprint",
                expected="SHA256: and 43 letters, digits, + or /",
                hint="on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            )


def _show(found: list[Finding], *, as_json: bool) -> None:
    for each in found:
        for key in each.keys:
            if as_json:
                record = {"host": each.name, "pin": each.pin, "state": each.state.value}
                click.echo(json.dumps({**record, "type": key.type, "key": key.fingerprint}))
            else:
                state = each.state.value
                say(f"{each.name:<16} {each.pin:<24} {state:<8} {key.type:<20} {key.fingerprint}")


def _confirm(found: list[Finding], fingerprints: tuple[str, ...], *, yes: bool) -> None:
    """Have the keys that are not pinned confirmed.

    Raises:
        InputError: nobody is there to ask.
        HostKeyError: a host has none of the keys that were named.
    """
    from deploy.ssh_errors import HostKeyError
    from deploy.trust import State, spell

    fresh = [each for each in found if each.state is not State.KNOWN]
    if fingerprints:
        for each in fresh:
            if not {key.fingerprint for key in each.keys} & set(fingerprints):
                expected, got = ", ".join(fingerprints), spell(each.keys)
                raise HostKeyError(
                    "the host has another key",
                    where=each.name,
                    expected=expected,
                    got=got,
                    hint="look at the host's console which is right; nothing was pinned",
                )
        return
    if not fresh:
        return
    names = ", ".join(each.name for each in fresh)
    question = f"Are these the keys of {names}?"
    agree(question, yes=yes, hint="pass --fingerprint SHA256:…, or --yes")


def _done(found: list[Finding], file: Path) -> None:
    from deploy.trust import State

    for each in found:
        if each.state is not State.KNOWN:
            click.echo(f"pinned  {each.name} in {file}", err=True)
