"""Commands for a head that has a release: look at it, start, stop, compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from sealift.commands.deploy import telling
from sealift.complete import service_names
from sealift.options import as_json, host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.bill import Change
    from deploy.diff import Diff, Package, Parts
    from deploy.journal import Intent
    from deploy.profile import Generation
    from deploy.status import HeadStatus, ServiceStatus
    from sealift.site import Location

names = click.argument("names", nargs=-1, shell_complete=service_names)


@click.command()
@host
@as_json
@click.pass_obj
def status(location: Location, host: str | None, *, as_json: bool) -> int:
    """Show every service: running, pid, health, generation, since, store path.

    Exits with 1 if something does not run well.
    """
    from deploy.status import status as look

    with location.open() as site:
        found = look(site.head(host))
    if as_json:
        click.echo(json.dumps(_record(found)))
        return 0 if found.healthy else 1
    for line in _lines(found):
        click.echo(line)
    return 0 if found.healthy else 1


def _record(found: HeadStatus) -> dict[str, Any]:
    return {
        "head": found.name,
        "url": found.url,
        "generation": found.generation.number if found.generation else None,
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


def _cut(found: HeadStatus, cut: Intent) -> str:
    """Say what was cut off, and by which command it is put right."""
    what = f"{cut.action} of generation {cut.after} by {cut.by} at {moment(cut.since)}"
    begin = "" if cut.before is None else f"sealift start --host {found.name}, or "
    return f"interrupted: {what}; to put it right: {begin}sealift deploy --host {found.name}"


def _lines(found: HeadStatus) -> list[str]:
    cut = [] if found.interrupted is None else [_cut(found, found.interrupted)]
    if found.generation is None:
        return cut or [f"{found.name}: nothing is deployed; sealift deploy --host {found.name}"]
    created = moment(found.generation.created)
    lines = [f"{found.name}  {found.url}  generation {found.generation.number} of {created}"]
    if found.holder is not None:
        lines.append(f"is being changed by {found.holder}")
    lines += cut
    lines += [
        f"certificate {each.name} {'expired' if each.past else 'expires'} {each.end:%Y-%m-%d}"
        for each in found.certificates
    ]
    width = max(len(each.name) for each in found.services)
    return lines + [_line(each, width) for each in found.services]


def _line(each: ServiceStatus, width: int) -> str:
    since = moment(each.since) if each.since else ""
    pid = str(each.pid or "-")
    health = each.health or "-"
    return (
        f"{each.name:<{width}}  {each.phase.value:<8} {pid:>7}  {health:<10} {since:<19}"
        f"  {each.path.name}"
    )


def moment(seconds: float) -> str:
    """Spell seconds since the epoch as local date and time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@click.command()
@names
@host
@click.pass_obj
def start(location: Location, names: tuple[str, ...], host: str | None) -> None:
    """Start everything, or just some services, and wait until they are healthy."""
    from deploy.activate import start as begin

    with location.open() as site:
        begin(site.head(host), names, observe=telling(as_json=False))


@click.command()
@names
@host
@click.pass_obj
def stop(location: Location, names: tuple[str, ...], host: str | None) -> None:
    """Stop everything, or just some services; generations and state stay."""
    from deploy.activate import stop as end

    with location.open() as site:
        end(site.head(host), names, observe=telling(as_json=False))


@click.command()
@names
@host
@click.pass_obj
def restart(location: Location, names: tuple[str, ...], host: str | None) -> None:
    """Stop and start everything, or just some services."""
    from deploy.activate import restart as again

    with location.open() as site:
        again(site.head(host), names, observe=telling(as_json=False))


@click.command()
@click.argument("name", shell_complete=service_names)
@click.option("--follow", "-f", is_flag=True, help="Go on as lines come.")
@click.option("--lines", "-n", default=40, show_default=True, help="How many of each log.")
@host
@click.pass_obj
def logs(location: Location, name: str, host: str | None, *, follow: bool, lines: int) -> None:
    """Show what a service wrote: its output, and log files in its state."""
    from deploy.activate import known_service
    from deploy.logs import follow as following
    from deploy.logs import last_lines

    with location.open() as site:
        head = site.head(host)
        known_service(head, name)
        found = following(head.layout, name, lines) if follow else None
        for line in found if found is not None else last_lines(head.layout, name, lines):
            if line is not None:
                click.echo(f"{line.file.name}: {line.text}")


@click.command()
@host
@as_json
@click.pass_obj
def history(location: Location, host: str | None, *, as_json: bool) -> None:
    """List the generations of a head, oldest first."""
    from deploy.status import history as past

    with location.open() as site:
        found = past(site.head(host))
    if as_json:
        click.echo(json.dumps({"generations": [_generation(each) for each in found]}))
        return
    for each in found:
        mark = "→" if each.current else " "
        row = f"{mark} {each.number:>4}  {moment(each.created)}  {each.status.value:<12}"
        click.echo(f"{row} {each.by:<24} {each.path.name}")


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
def diff(location: Location, before: int, after: int, host: str | None, *, as_json: bool) -> None:
    """Show what differs between two generations: packages, versions, sizes, services."""
    from deploy.diff import diff as compare

    with location.open() as site:
        found = compare(site.head(host), before, after)
    if as_json:
        click.echo(json.dumps(_difference(found)))
        return
    for label, parts in (("service", found.services), ("frontend", found.frontends)):
        for change, name in _changes(parts):
            click.echo(f"{label:<9} {change:<8} {name}")
    for line in _contents(found):
        click.echo(line)
    delta = found.size_after - found.size_before
    click.echo(f"closure   {found.size_after:,} bytes ({delta:+,})")


def _contents(found: Diff) -> Iterator[str]:
    """Tell of packages by ecosystem, and of store paths where a release has no such list."""
    if found.inside is None:
        yield from (f"package   {_package(package)}" for package in found.packages)
        return
    for each in found.inside:
        members = f"  ({', '.join(each.members)})" if each.members != (each.name,) else ""
        yield f"{each.ecosystem:<9} {each.name}: {_moved(each.before, each.after)}{members}"


def _changes(parts: Parts) -> list[tuple[str, str]]:
    rows = [("added", parts.added), ("removed", parts.removed), ("changed", parts.changed)]
    return [(change, name) for change, found in rows for name in found]


def _difference(found: Diff) -> dict[str, Any]:
    return {
        "services": [{"name": n, "change": c} for c, n in _changes(found.services)],
        "frontends": [{"name": n, "change": c} for c, n in _changes(found.frontends)],
        "packages": [
            {"name": p.name, **_sides(p.before, p.after), "delta": p.delta} for p in found.packages
        ],
        "inside": None if found.inside is None else [_inside(each) for each in found.inside],
        "size_before": found.size_before,
        "size_after": found.size_after,
    }


def _inside(change: Change) -> dict[str, Any]:
    return asdict(change) | _sides(change.before, change.after)


def _sides(before: tuple[str, ...], after: tuple[str, ...]) -> dict[str, list[str] | None]:
    """Give the versions of each side: null where it is not there, none where it has none."""
    sides = {"before": before, "after": after}
    return {side: [v for v in found if v] if found else None for side, found in sides.items()}


def _package(package: Package) -> str:
    return f"{package.name}: {_moved(package.before, package.after)} ({package.delta:+,} bytes)"


def _moved(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    """Say how versions moved; equal ones mean other bytes."""
    before = ", ".join(old) if any(old) else ""
    after = ", ".join(new) if any(new) else ""
    if not old:
        change = f"added {after}"
    elif not new:
        change = f"removed {before}"
    else:
        change = f"{before} → {after}" if before != after else f"{before} rebuilt"
    return change.strip()


@click.command("open")
@host
@click.pass_obj
def open_url(location: Location, host: str | None) -> None:
    """Print the address of the platform."""
    with location.open() as site:
        click.echo(site.head(host).url)
