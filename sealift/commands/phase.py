"""`sealift phase …`: make heads a cluster, phase by phase."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sealift import options
from sealift.commands.deploy import release_option
from sealift.complete import phase_names
from sealift.options import as_json, host, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.phases.wish import Wish
    from deploy.release import Release
    from sealift.cluster import Meant
    from sealift.site import Location, Site
    from store.errors import Error

REFUSED = 6
SILENT = "does not answer"
COLUMN = 16

which = click.argument("phases", metavar="PHASES", shell_complete=phase_names)
which_or_all = click.argument(
    "phases", default="all", metavar="[PHASES]", shell_complete=phase_names
)
begin = click.option(
    "--from",
    "begin",
    metavar="N",
    shell_complete=phase_names,
    help="Leave out what comes before.",
)
skip = click.option(
    "--skip",
    multiple=True,
    metavar="N",
    shell_complete=phase_names,
    help="Leave these out, too.",
)
diff = click.option("--diff", is_flag=True, help="Show the text of files that differ.")


@click.group()
def phase() -> None:
    """Make heads a cluster: packages, storage, database, cache, job scheduler.

    PHASES are numbers or names: 0-4, 2, storage,redis, all.
    """


@phase.command("list")
@which_or_all
@host
@release_option
@as_json
@click.pass_obj
def list_phases(
    location: Location,
    /,
    phases: str,
    host: str | None,
    *,
    release: str | None,
    as_json: bool,
) -> None:
    """List the phases; with --host also how far each head is, by what it has written down."""
    from sealift import cluster, fleet

    with location.open() as site:
        found = fleet.release(site, release)
        if host is None:
            from deploy.phases.selection import select

            names = select(phases, cluster.numbers(found)).names
            records: dict[str, Mapping[str, Mapping[str, Any]]] = {}
            lost: Mapping[str, Error] = {}
        else:
            what = cluster.meant(site, found, host, phases)
            names, (records, lost) = what.phases.names, _records(site, what)
    rows = [_row(found, name, records, lost) for name in names]
    for row in rows:
        _show_row(row, as_json=as_json)
    _show_unused(phases, as_json=as_json)
    for error in lost.values():
        raise error


@phase.command()
@which_or_all
@host
@begin
@skip
@release_option
@options.allow_missing
@diff
@as_json
@click.pass_obj
def plan(location: Location, /, phases: str, *, diff: bool, as_json: bool, **wanted: Any) -> int:  # noqa: ANN401 - what the options give
    """Show what a run would do: what changes and what that costs, and what speaks against it.

    Brings the packages to the heads' stores, and changes nothing else. Exits with 6 if something
    speaks against it.
    """
    with location.open() as site:
        return _planned(site, phases, wanted, diff=diff, as_json=as_json)


@phase.command()
@which
@host
@begin
@skip
@click.option("--dry-run", is_flag=True, help="Only show what would be done, as plan does.")
@release_option
@options.phase_deadline
@options.allow_missing
@diff
@yes
@as_json
@click.pass_obj
def run(
    location: Location,
    /,
    phases: str,
    *,
    dry_run: bool,
    diff: bool,
    yes: bool,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - what the options give
) -> int:
    """Carry phases out: look at all, then lay, apply, enable and verify one after the other.

    The first failure ends it, and the same again goes on from there. Exits with 6 if nothing was
    touched, 4 if some of it was done.
    """
    from sealift import phases as work

    with location.open() as site:
        if dry_run:
            return _planned(site, phases, wanted, diff=diff, as_json=as_json)
        wish = _wish(site, phases, wanted, as_json=as_json)
        if wish is not None:
            work.run(site, wish, yes=yes, diff=diff, as_json=as_json)
    return 0


@phase.command()
@which_or_all
@host
@begin
@skip
@release_option
@options.allow_missing
@as_json
@click.pass_obj
def verify(location: Location, /, phases: str, *, as_json: bool, **wanted: Any) -> None:  # noqa: ANN401 - what the options give
    """Try whether phases work, for real. Exits with 7 if one does not."""
    from sealift import phases as work

    with location.open() as site:
        wish = _wish(site, phases, wanted, as_json=as_json)
        if wish is not None:
            work.verify(site, wish, as_json=as_json)


@phase.command()
@which
@host
@begin
@skip
@click.option(
    "--yes-destroy",
    "destroy",
    multiple=True,
    metavar="NAME",
    help="Destroy this, which cannot be brought back; the plan names what there is.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be taken back.")
@release_option
@options.phase_deadline
@options.allow_missing
@yes
@as_json
@click.pass_obj
def undo(
    location: Location,
    /,
    phases: str,
    *,
    destroy: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - what the options give
) -> int:
    """Take phases back, the last first; data stays unless it is named."""
    from sealift import phases as work

    said = {**wanted, "laid": True, "look": dry_run}
    with location.open() as site:
        wish = _wish(site, phases, said, as_json=as_json, whole=True)
        if wish is not None and dry_run:
            found = work.undo_plan(site, wish, destroy, as_json=as_json)
            return REFUSED if found.refusals else 0
        if wish is not None:
            work.undo(site, wish, destroy, yes=yes, as_json=as_json)
    return 0


def _planned(
    site: Site, phases: str, wanted: Mapping[str, Any], *, diff: bool, as_json: bool
) -> int:
    from sealift import phases as work

    wish = _wish(site, phases, {**wanted, "look": True}, as_json=as_json)
    if wish is None:
        return 0
    return REFUSED if work.plan(site, wish, diff=diff, as_json=as_json).refusals else 0


def _wish(
    site: Site, phases: str, wanted: Mapping[str, Any], *, as_json: bool, whole: bool = False
) -> Wish | None:
    """Return what is wanted; None if it is nothing but numbers that stand for nothing."""
    from sealift import cluster, fleet
    from sealift import phases as work

    said = dict(wanted)
    host, release = said.pop("host"), said.pop("release")
    chosen = {"begin": said.pop("begin"), "skip": said.pop("skip")}
    what = cluster.meant(site, fleet.release(site, release), host, phases, **chosen)
    work.unused(what.phases.unused, as_json=as_json)
    if not what.phases.names:
        if not what.phases.unused:
            raise InputError(
                "no phase is left of those that were asked for", hint="leave out --skip"
            )
        return None
    return cluster.wish(site, what, whole=whole, **said)


def _records(
    site: Site, what: Meant
) -> tuple[dict[str, Mapping[str, Mapping[str, Any]]], dict[str, Error]]:
    """Return what heads have written down of phases, and what is wrong with those that are lost."""
    from sealift import fleet

    with fleet.reaching(site.settings, what.heads) as heads:
        look: Callable[..., Any] = lambda head: head.look(None).phases  # noqa: E731
        return fleet.gather(heads, look, site.settings.parallel)


def _row(
    release: Release,
    name: str,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
    lost: Mapping[str, Error],
) -> dict[str, Any]:
    from deploy.phases.standing import standing

    of = release.phases[name]
    states = {
        head: standing(found.get(name), of.hosts[head]).value
        for head, found in records.items()
        if head in of.hosts
    }
    states |= dict.fromkeys((head for head in lost if head in of.hosts), SILENT)
    hosts = list(of.hosts)
    return {
        "phase": name,
        "number": of.number,
        "hosts": hosts,
        "heads": {head: states[head] for head in hosts if head in states},
    }


def _show_row(row: Mapping[str, Any], *, as_json: bool) -> None:
    from deploy.node_sets import fold as spell
    from sealift.fold import fold

    if as_json:
        click.echo(json.dumps(row))
        return
    told = "; ".join(f"{heads}: {state}" for heads, state in fold(row["heads"]))
    say(f"{row['number']} {row['phase']:<{COLUMN}} {told or spell(row['hosts'])}")


def _show_unused(phases: str, *, as_json: bool) -> None:
    """Say of the numbers that stand for nothing that they do, where all are listed."""
    from deploy.phases.selection import ALL, UNUSED

    listed: Sequence[int] = sorted(UNUSED) if phases == ALL else ()
    for number in listed:
        if as_json:
            click.echo(json.dumps({"phase": None, "number": number, "hosts": [], "heads": {}}))
        else:
            say(f"{number} {'(unused)':<{COLUMN}}")
