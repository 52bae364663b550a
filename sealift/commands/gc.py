"""`sealift gc`: let go of old generations, and of all that nothing needs any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sealift import many
from sealift.options import as_json, host
from store.amounts import megabytes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deploy.profile import Generation
    from sealift.site import Location, Site
    from store.collect import CollectReport
    from store.path import StorePath


@click.command()
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many generations stay; by default `keep` of sealift.yaml, or 5.",
)
@host
@as_json
@click.pass_obj
def gc(location: Location, /, host: str | None, *, keep: int | None, as_json: bool) -> None:
    """Forget all but the newest generations, and remove what no other needs.

    The current generation, the one before it, and what runs always stay.
    """
    from sealift.commands.store import let_go

    words = [] if keep is None else ["--keep", str(keep)]
    with location.open() as site, many.there(site, host) as heads:
        if heads:
            many.everywhere(site, heads, ["gc", *words], as_json=as_json)
            return
        forgotten = _forget(site, host, keep)
        report = let_go(site, site.store.collect(keep=_kept(site)))
    _tell(forgotten, report, as_json=as_json)


def _forget(site: Site, host: str | None, keep: int | None) -> Sequence[Generation]:
    from deploy.activate import prune

    head = site.head(host)
    return prune(head, keep or (head.keep if site.on_head else site.settings.keep))


def _kept(site: Site) -> Collection[StorePath]:
    """Return what a builder needs to build again; a head builds nothing."""
    from sealift.commands.store import needed_to_build

    return () if site.on_head else needed_to_build(site)


def _tell(forgotten: Sequence[Generation], report: CollectReport, *, as_json: bool) -> None:
    freed = megabytes(report.freed)
    for each in forgotten:
        _say({"event": "forgotten", "name": f"generation {each.number}"}, as_json=as_json)
    record = {"event": "collected", "name": f"{len(report.removed)} paths", "detail": freed}
    facts = {"freed": report.freed, "kept": report.kept}
    _say(record | (facts if as_json else {}), as_json=as_json)
    for fault in report.failed:
        _say({"event": "not removed", "name": fault}, as_json=as_json)


def _say(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record))
        return
    line = f"{record['event']:<10} {record['name']:<26} {record.get('detail', '')}"
    click.echo(line.rstrip(), err=True)
