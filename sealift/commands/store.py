"""`sealift store …`: look after the store itself."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealift import away, many
from sealift.away import Group
from sealift.options import as_json, host
from store.amounts import megabytes
from store.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sealift.site import Location, Site
    from store.collect import CollectReport
    from store.path import StorePath
    from store.verify import VerifyReport


class DamagedStoreError(IntegrityError):
    """A store that does not hold what it says it holds."""

    slug = "store-damaged"


@click.group(cls=Group)
def store() -> None:
    """Look after the store: verify, collect, roots, single paths."""


@store.command()
@click.option("--repair", is_flag=True, help="Build or fetch damaged paths again.")
@host
@as_json
@click.pass_obj
def verify(location: Location, /, host: str | None, *, repair: bool, as_json: bool) -> None:
    """Read every path, and compare it with its registered hash."""
    with location.open() as site:
        if repair and site.on_head:
            away.refuse("`--repair`: it builds nothing", "sealift store verify")
        if host is not None and _verified_there(site, host, repair=repair, as_json=as_json):
            return
        report, on_head = _verified(site, repair=repair), site.on_head
    if as_json:
        click.echo(json.dumps(_record(report)))
    else:
        for line in _lines(_record(report)):
            click.echo(line)
    if not report.clean:
        raise DamagedStoreError(
            f"{len(report.damaged) + len(report.links)} objects are not what is registered",
            where=str(site.store.store_dir),
            hint=None if repair or on_head else "sealift store verify --repair",
        )


def _record(report: VerifyReport) -> dict[str, Any]:
    return {
        "checked": report.checked,
        "size": report.size,
        "clean": report.clean,
        "damaged": [{"path": str(d.info.path), "reason": d.reason} for d in report.damaged],
        "repaired": [str(path) for path in report.repaired],
        "links": list(report.links),
        "unregistered": list(report.unregistered),
        "database": list(report.database),
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{each['reason']:<10} {each['path']}" for each in found["damaged"]]
    lines += [f"repaired   {path}" for path in found["repaired"]]
    lines += [f"link       {name}" for name in found["links"]]
    lines += [f"leftover   {name}" for name in found["unregistered"]]
    lines += [f"database   {fault}" for fault in found["database"]]
    return [*lines, f"{found['checked']} paths, {megabytes(found['size'])} read"]


def _verified_there(site: Site, host: str, *, repair: bool, as_json: bool) -> bool:
    """Let other machines verify their stores; tell whether any was meant."""
    with many.there(site, host) as heads:
        if heads and repair:
            raise click.UsageError("--repair builds, which heads do not.")
        if heads:
            many.show(site, heads, ["store", "verify"], _lines, as_json=as_json)
        return bool(heads)


def _verified(site: Site, *, repair: bool) -> VerifyReport:
    """Verify, and with `repair` make damaged paths again from their recipes."""
    if not repair:
        return site.store.verify()
    from builders.repair import repairing
    from builders.sandbox import SandboxMode

    mode = SandboxMode.OFF if site.settings.sandbox == "off" else SandboxMode.BUBBLEWRAP
    with repairing(site.plan(()), site.store, sandbox_mode=mode) as again:
        return site.store.verify(repair=again)


@store.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--all", "everything", is_flag=True, help="Also what only building needs.")
@click.option(
    "--keep-generations",
    type=click.IntRange(min=1),
    metavar="N",
    help="Forget all but the newest N generations of the local head first.",
)
@as_json
@click.pass_obj
def gc(
    location: Location,
    *,
    dry_run: bool,
    everything: bool,
    keep_generations: int | None,
    as_json: bool,
) -> None:
    """Remove what no root, generation or running process reaches.

    What the recipes need to be built again (downloads, wheels, node_modules) stays, unless
    --all is given. The current generation and the good one before it always stay. Build logs
    older than 30 days go too, but for the newest of each step.
    """
    if dry_run and keep_generations is not None:
        raise click.UsageError("--dry-run changes nothing, so it cannot forget generations.")
    with location.open() as site:
        if keep_generations is not None:
            _prune(site, keep_generations)
        if not dry_run:
            _drop_bills(site)
        keep = () if everything else needed_to_build(site)
        report = site.store.collect(dry_run=dry_run, keep=keep)
        if not dry_run:
            report = let_go(site, report)
            _tidy(site)
    if as_json:
        record = {"removed": [str(i.path) for i in report.removed], "freed": report.freed}
        click.echo(json.dumps(record | {"kept": report.kept, "dry_run": dry_run}))
        return
    for info in report.removed:
        click.echo(str(info.path))
    verb = "would go" if dry_run else "gone"
    freed = megabytes(report.freed)
    click.echo(f"{len(report.removed)} paths {verb}, {freed}; {report.kept} kept", err=True)
    for fault in report.failed:
        click.echo(f"not removed: {fault}", err=True)


def _drop_bills(site: Site) -> None:
    """Let bills of materials go with what they describe: they would keep it."""
    from builders.contents import BILL

    roots = site.store.var_dir / "gcroots"
    for link in roots.glob(f"*{BILL}"):
        if not (roots / link.name.removesuffix(BILL)).is_symlink():
            site.store.remove_root(link.name)


def let_go(site: Site, report: CollectReport) -> CollectReport:
    """Remove groups of bundles that wait for others: the rest of what came is gone now."""
    from deploy.bundle.quarantine import abandon

    return replace(report, freed=report.freed + abandon(site.store.var_dir))


def _tidy(site: Site) -> None:
    from builders import logs, provenance, workshop

    logs.prune(site.store)
    provenance.prune(site.store)
    workshop.drop_stale_locks(site.store)


def _prune(site: Site, keep: int) -> None:
    from deploy.activate import prune

    for generation in prune(site.head(), keep):
        click.echo(f"generation {generation.number} forgotten", err=True)


def needed_to_build(site: Site) -> Collection[StorePath]:
    """Return every output that the recipes, as they stand, have in the store."""
    from builders.resolve import Resolver
    from sealift.caches import remembered

    # Where nothing was built or received yet, recipes need not be there either.
    if not site.store.paths():
        return ()
    plan = site.plan(())
    resolver = Resolver(plan, str(site.store.store_dir), remembered(site, plan))
    resolver.advance()
    return resolver.paths.values()


@store.command()
@as_json
@click.pass_obj
def roots(location: Location, *, as_json: bool) -> None:
    """List what keeps paths from being collected."""
    with location.open() as site:
        for root in site.store.roots():
            if as_json:
                click.echo(json.dumps({"root": root.name, "path": str(root.path)}))
            else:
                click.echo(f"{root.name:<40} {root.path}")


@store.command()
@click.argument("tree", type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR")
@click.option("--name", help="The store path's name; the file's own by default.")
@click.pass_obj
def add(location: Location, tree: Path, name: str | None) -> None:
    """Copy a file or folder into the store and print its path."""
    from store.names import store_name

    with location.open() as site, site.store.session(), site.store.temporary() as place:
        copy = place / "tree"
        _copy(tree, copy)
        info = site.store.add(copy, name or store_name(tree.resolve().name))
        click.echo(str(site.store.real(info.path)))


def _copy(tree: Path, copy: Path) -> None:
    """Copy what can be in a store.

    Raises:
        InputError: something in it is no file, folder or link, or cannot be read.
    """
    try:
        if tree.is_dir():
            _refuse_special(tree)
            shutil.copytree(tree, copy, symlinks=True)
        else:
            _refuse(tree)
            shutil.copy2(tree, copy, follow_symlinks=False)
    except shutil.Error as error:
        file, _, why = error.args[0][0]
        raise InputError(f"{tree} cannot be copied: {why}", where=file) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        reason = f"{tree} cannot be copied: {error.strerror or error}"
        raise InputError(reason, where=error.filename) from error


def _refuse_special(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        for name in files:
            _refuse(Path(folder, name))


def _refuse(file: Path) -> None:
    mode = file.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        what = kinds.get(stat.S_IFMT(mode), "a device")
        reason = f"{file.name} is {what}; the store holds files, folders and links"
        raise InputError(reason, where=str(file))


@store.command()
@click.argument("path", metavar="NAME|PATH[/FILE]")
@click.pass_obj
def cat(location: Location, path: str) -> None:
    """Print a file of the store, or the names in a folder of it."""
    with location.open() as site:
        name, _, inner = path.removeprefix(f"{site.store.store_dir}/").partition("/")
        target = site.store.real(site.path(name)) / inner
        if not os.path.lexists(target):
            raise InputError("there is no such file in the store", where=str(target))
        if target.is_dir():
            for name in sorted(entry.name for entry in target.iterdir()):
                click.echo(name)
            return
        with target.open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
