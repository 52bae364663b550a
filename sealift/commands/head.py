"""Commands for a head that has a release: look at it, start, stop, compare."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from sealift import many
from sealift.commands.deploy import telling
from sealift.complete import service_names
from sealift.options import as_json, host
from sealift.shown import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.journal import Intent
    from deploy.profile import Generation
    from deploy.remote import RemoteHead
    from deploy.status import HeadStatus
    from sealift.site import Location, Site

INTERRUPTED = 130
"""The exit code that shells give to what ends by Ctrl-C."""

names = click.argument("names", nargs=-1, shell_complete=service_names)


@click.command()
@host
@as_json
@click.pass_obj
def status(location: Location, /, host: str | None, *, as_json: bool) -> int:
    """Show every service: running, pid, health, generation, since, store path.

    Of several heads, equal answers are shown once. Exits with 1 if something does not run well, a
    head cannot be reached, or heads run different releases.
    """
    from sealift import head_view

    with location.open() as site, many.there(site, host) as heads:
        if heads:
            return _statuses(site, heads, as_json=as_json)
        found = _looked(site, host)
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo("\n".join(head_view.status(found)))
    return 0 if found["healthy"] else 1


def _looked(site: Site, host: str | None) -> dict[str, Any]:
    from deploy.status import status as look

    return _record(look(site.head(host)))


def _statuses(site: Site, heads: Sequence[RemoteHead], *, as_json: bool) -> int:
    from sealift import fleet, head_view

    told, lost = fleet.gather(heads, _status_of, site.settings.parallel)
    found = {head.name: told[head.name] for head in heads if head.name in told}
    if as_json:
        for record in found.values():
            click.echo(json.dumps(record))
        many.show_lost(lost)
    elif len(heads) == 1 and found:
        click.echo("\n".join(head_view.status(found[heads[0].name])))
    else:
        for line in head_view.statuses(found, lost):
            click.echo(line)
    return 0 if head_view.healthy(found, lost) else 1


def _status_of(head: RemoteHead) -> dict[str, Any]:
    """Ask a head; what it calls itself does not matter, but what we call it."""
    from deploy.errors import NoGenerationError

    try:
        return {**head.ask("status")[-1], "head": head.name}
    except NoGenerationError:
        return {"head": head.name, **NOTHING}


NOTHING: dict[str, Any] = {
    "url": "",
    "generation": None,
    "release": None,
    "created": None,
    "healthy": False,
    "changing": None,
    "interrupted": None,
    "services": [],
    "certificates": [],
    "phases": {},
}


def _record(found: HeadStatus) -> dict[str, Any]:
    return {
        "head": found.name,
        "url": found.url,
        "generation": found.generation.number if found.generation else None,
        "release": str(found.generation.path) if found.generation else None,
        "created": found.generation.created if found.generation else None,
        "healthy": found.healthy,
        "changing": str(found.holder) if found.holder else None,
        "interrupted": _intent(found.interrupted) if found.interrupted else None,
        "services": [
            {
                "name": each.name,
                "running": each.running,
                "phase": each.phase.value,
                "pid": each.pid,
                "health": each.health,
                "generation": each.generation,
                "path": str(each.path),
                "since": each.since,
            }
            for each in found.services
        ],
        "certificates": [
            {"name": each.name, "end": each.end.timestamp(), "expired": each.past}
            for each in found.certificates
        ],
        "phases": {name: each.value for name, each in found.phases.items()},
    }


def _intent(cut: Intent) -> dict[str, Any]:
    return {
        "action": cut.action,
        "generation": cut.after,
        "before": cut.before,
        "by": cut.by,
        "since": cut.since,
        "stage": cut.stage.value,
    }


@click.command()
@names
@host
@as_json
@click.pass_obj
def start(
    location: Location, /, names: tuple[str, ...], host: str | None, *, as_json: bool
) -> None:
    """Start everything, or just some services, and wait until they are healthy."""
    from deploy.activate import start as begin

    with location.open() as site, many.there(site, host) as heads:
        if heads:
            many.everywhere(site, heads, ["start", *names], as_json=as_json)
            return
        begin(site.head(host), names, observe=telling(as_json=as_json))


@click.command()
@names
@host
@as_json
@click.pass_obj
def stop(location: Location, /, names: tuple[str, ...], host: str | None, *, as_json: bool) -> None:
    """Stop everything, or just some services; generations and state stay."""
    from deploy.activate import stop as end

    with location.open() as site, many.there(site, host) as heads:
        if heads:
            many.everywhere(site, heads, ["stop", *names], as_json=as_json)
            return
        end(site.head(host), names, observe=telling(as_json=as_json))


@click.command()
@names
@host
@as_json
@click.pass_obj
def restart(
    location: Location, /, names: tuple[str, ...], host: str | None, *, as_json: bool
) -> None:
    """Stop and start everything, or just some services; several heads one after the other."""
    from deploy.activate import restart as again

    with location.open() as site, many.there(site, host) as heads:
        many.in_turn(site, heads, ["restart", *names], as_json=as_json)
        if not heads:
            again(site.head(host), names, observe=telling(as_json=as_json))


@click.command()
@click.argument("name", shell_complete=service_names)
@click.option("--follow", "-f", is_flag=True, help="Go on as lines come.")
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="How many of each log.",
)
@host
@as_json
@click.pass_obj
def logs(
    location: Location,
    /,
    name: str,
    host: str | None,
    *,
    follow: bool,
    lines: int,
    as_json: bool,
) -> None:
    """Show what a service wrote: its output, and log files in its state."""
    from deploy.activate import known_service

    with location.open() as site, many.there(site, host) as heads:
        if heads:
            words = ["logs", name, "-n", str(lines), *(["-f"] if follow else [])]
            with _until_ctrl_c(follow=follow):
                many.logs(heads, words, as_json=as_json)
            return
        head = site.head(host)
        known_service(head, name)
        with _until_ctrl_c(follow=follow):
            for line in head.follow(name, lines) if follow else head.lines(name, lines):
                if line is not None:
                    record = {"file": line.file.name, "text": line.text}
                    many.show_line(None, record, as_json=as_json)


@contextmanager
def _until_ctrl_c(*, follow: bool) -> Iterator[None]:
    """End quietly by Ctrl-C what has no other end."""
    try:
        yield
    except KeyboardInterrupt:
        if not follow:
            raise
        raise click.exceptions.Exit(INTERRUPTED) from None


@click.command()
@click.option("--audit", is_flag=True, help="Who changed what, from where, and the result.")
@host
@as_json
@click.pass_obj
def history(location: Location, /, host: str | None, *, audit: bool, as_json: bool) -> None:
    """List the generations of a head, oldest first; with --audit every change instead."""
    from deploy.status import history as past
    from sealift import head_view

    words = ["history", *(["--audit"] if audit else [])]
    with location.open() as site, many.there(site, host) as heads:
        if heads:
            generations = partial(head_view.generations, several=len(heads) > 1)
            draw = head_view.changes if audit else generations
            many.show(site, heads, words, draw, as_json=as_json)
            return
        head = site.head(host)
        found: dict[str, Any] = {"generations": [_generation(each) for each in past(head)]}
        if audit:
            found = {"changes": [asdict(each) for each in head.audit.entries()]}
    if as_json:
        click.echo(json.dumps(found))
        return
    for row in head_view.changes(found) if audit else head_view.generations(found):
        click.echo(row)


def _generation(each: Generation) -> dict[str, Any]:
    return {
        "number": each.number,
        "path": str(each.path),
        "created": each.created,
        "status": each.status.value,
        "by": each.by,
        "current": each.current,
    }


@click.command()
@click.argument("before", type=click.IntRange(min=1), metavar="GENERATION")
@click.argument("after", type=click.IntRange(min=1), metavar="GENERATION")
@host
@as_json
@click.pass_obj
def diff(
    location: Location, /, before: int, after: int, host: str | None, *, as_json: bool
) -> None:
    """Show what differs between two generations: packages, versions, sizes, services."""
    from deploy.diff import diff as compare
    from sealift import diff_view

    with location.open() as site, many.there(site, host) as heads:
        if heads:
            words = ["diff", str(before), str(after)]
            many.show(site, heads, words, diff_view.lines, as_json=as_json)
            return
        found = diff_view.record(compare(site.head(host), before, after))
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in diff_view.lines(found):
        click.echo(line)


@click.command("open")
@host
@click.pass_obj
def open_url(location: Location, /, host: str | None) -> None:
    """Print the address of the platform."""
    with location.open() as site, many.there(site, host) as heads:
        for head in heads:
            say(head.ask("status")[-1]["url"])
        if not heads:
            click.echo(site.head(host).url)
