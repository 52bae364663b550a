"""`sealift agent …`: what other machines and systemd ask of a head; nothing that people type."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sealift.options import as_json
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.events import Event
    from deploy.install.machine import Machine
    from deploy.systemd_head import SystemdHead
    from sealift.site import Location, Site


@click.group(hidden=True)
def agent() -> None:
    """Serve an operator elsewhere, or the machine's start."""


@agent.command()
@click.pass_obj
def session(location: Location) -> int:
    """Change this head at the word of whoever is at the other end of standard input."""
    from deploy.line import Line
    from deploy.session import serve

    line = Line(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        with location.open() as site:
            return serve(line, lambda: _head(site))
    finally:
        line.close()


@agent.command()
@click.option("--root", metavar="NAME", help="Keep what comes from the collector, by this name.")
@click.pass_obj
def receive(location: Location, *, root: str | None) -> None:
    """Take store paths from standard input; what is asked for in return goes to standard output."""
    from store.receive import receive as take

    with location.open() as site:
        take(site.store, reader=sys.stdin.buffer, writer=sys.stdout.buffer, root=root)


@agent.command()
@as_json
def reseal(*, as_json: bool) -> None:
    """Seal secrets, which came on standard input, for other readers; nothing open is told."""
    from deploy.reseal import Request, answer
    from deploy.seal import load_identities
    from deploy.secrets_head import host_keys

    del as_json  # It is how errors are told; the answer is a record in any case.
    request = Request.from_json(sys.stdin.buffer.read())
    click.echo(answer(request, load_identities(host_keys())))


@agent.command()
@as_json
@click.pass_obj
def holds(location: Location, *, as_json: bool) -> None:
    """Tell which paths this head keeps, and what for."""
    from deploy.holding import look

    del as_json  # It is how errors are told; the answer is a record in any case.
    with location.open() as site:
        click.echo(json.dumps(look(site.store).to_json()))


@agent.command()
@click.pass_obj
def boot(location: Location) -> None:
    """Put right what a power cut left, and start what is current."""
    from deploy.boot import boot as begin

    with location.open() as site:
        begin(_head(site), _tell)


@agent.command()
@click.pass_obj
def recover(location: Location) -> None:
    """Finish or take back a change that nobody is at any more."""
    from deploy.boot import recover as look

    with location.open() as site:
        look(_head(site), _tell)


@agent.command()
@click.pass_obj
def phases(location: Location) -> int:
    """Do the work of phases on this head at the word of whoever is at the other end."""
    from deploy.install.serve import serve
    from deploy.line import Line

    line = Line(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        return serve(line, lambda: _machine(location))
    finally:
        line.close()


@agent.command("phases-boot")
@click.pass_obj
def phases_boot(location: Location) -> None:
    """Open the secrets of phases, when the machine has started."""
    from deploy.install.boot import boot as begin

    with _machine(location) as machine:
        begin(machine)


@contextmanager
def _machine(location: Location) -> Iterator[Machine]:
    """Give this machine as phases see it, and keep the store's collector out meanwhile.

    Raises:
        InputError: it is no head, or not for this user to change.
    """
    from deploy.install.copying import make_folders
    from deploy.install.machine import Machine
    from deploy.layout import Layout
    from sealift.site import own_path
    from store.lock import close_to_others

    _check_root()
    with location.open() as site, site.store.session():
        layout = Layout(site.store.var_dir, site.settings.state_dir)
        for folder in (layout.head_dir, layout.profiles_dir):
            make_folders(folder)
        close_to_others(layout.head_dir)
        yield Machine(layout, site.store.store_dir, own_path())


def _head(site: Site) -> SystemdHead:
    """Return the head that this machine is.

    Raises:
        InputError: it is none, or not for this user to change.
    """
    from deploy.systemd_head import SystemdHead

    _check_root()
    return SystemdHead(site.store)


def _check_root() -> None:
    if os.geteuid() != 0:
        raise InputError("only root changes a head", hint="sudo")


def _tell(event: Event) -> None:
    click.echo(f"{event.what.value} {event.name} {event.detail}".rstrip())
