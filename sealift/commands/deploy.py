"""`sealift deploy` and `sealift rollback`: change what a head runs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from sealift.options import as_json, host, yes
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.activate import Outcome
    from deploy.events import Event
    from deploy.head import LocalHead
    from sealift.site import Location


@click.command()
@host
@click.option("--release", metavar="NAME|PATH", help="Another than the newest that was built.")
@yes
@as_json
@click.pass_obj
def deploy(
    location: Location, host: str | None, *, release: str | None, yes: bool, as_json: bool
) -> None:
    """Put the built release on a head: prepare, switch, restart what changed, check, confirm."""
    from deploy.activate import deploy as put

    with location.open() as site:
        head = site.head(host)
        path = site.store.real(site.path(release or site.release()))
        _ask(f"Deploy {path.name} to {head.name}?", yes=yes)
        outcome = put(head, path, observe=telling(as_json=as_json))
        _tell(outcome, head, as_json=as_json)


@click.command()
@host
@click.option("--to", type=click.IntRange(min=1), metavar="N", help="A generation; see history.")
@yes
@as_json
@click.pass_obj
def rollback(
    location: Location, host: str | None, *, to: int | None, yes: bool, as_json: bool
) -> None:
    """Run the generation before the current one again, or the one that --to names."""
    from deploy.activate import rollback as back

    with location.open() as site:
        head = site.head(host)
        _ask(f"Roll {head.name} back?", yes=yes)
        outcome = back(head, to, observe=telling(as_json=as_json))
        _tell(outcome, head, as_json=as_json)


def telling(*, as_json: bool) -> Callable[[Event], None]:
    """Return an observer that shows what a head does."""

    def tell(event: Event) -> None:
        if as_json:
            record = {"event": event.what.value, "name": event.name, "detail": event.detail}
            click.echo(json.dumps(record))
        else:
            click.echo(f"{event.what.value:<10} {event.name:<26} {event.detail}".rstrip(), err=True)

    return tell


def _ask(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere only `--yes` will do."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is here to confirm", hint="pass --yes")
    click.confirm(question, abort=True, err=True)


def _tell(outcome: Outcome, head: LocalHead, *, as_json: bool) -> None:
    changes = outcome.changes
    touched = (*changes.started, *changes.restarted, *changes.stopped)
    if as_json:
        record = {
            "event": "done",
            "generation": outcome.generation,
            "before": outcome.before,
            "started": changes.started,
            "restarted": changes.restarted,
            "stopped": changes.stopped,
            "reloaded": changes.reloaded,
            "seconds": round(outcome.seconds, 3),
            "url": head.url,
        }
        click.echo(json.dumps(record))
        return
    what = ", ".join(touched) or "nothing had to be restarted"
    click.echo(f"generation {outcome.generation} in {outcome.seconds:.1f} s: {what}", err=True)
    click.echo(head.url)
