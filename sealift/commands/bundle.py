"""`sealift bundle`: put the release, or what a site lacks of it, into one signed file."""

from __future__ import annotations

import datetime as dt
import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.options import as_json
from sealift.shown import say
from sealift.sizes import Size
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deploy.bundle.issued import Issue
    from deploy.bundle.write import Written
    from deploy.release import Release
    from sealift.cargo import Cargo
    from sealift.site import Location, Site


@click.command()
@click.option(
    "--output",
    "-o",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it here; in parts to FILE.001, FILE.002, and so on.",
)
@click.option(
    "--since",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="RECEIPT",
    help="Carry only what the site lacks that this receipt tells of.",
)
@click.option(
    "--split", type=Size(), help="In parts smaller than this: 4GiB for a file system of sticks."
)
@click.option(
    "--sign-key",
    "sign_keys",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Sign with this key, not the site's; may be given for each signer.",
)
@click.option(
    "--number", type=click.IntRange(min=1), metavar="N", help="Its number, above all before."
)
@click.option("--site", "name", metavar="NAME", help="For another site than the settings name.")
@click.option("--release", metavar="NAME|PATH", help="Another than the newest that was built.")
@click.option(
    "--with-sealift",
    is_flag=True,
    help="Put sealift beside it: one file, for a transfer host that has glibc and nothing else.",
)
@click.option(
    "--repair",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="LIST",
    help="Carry only the damaged files that `sealift repair-request` listed at the site.",
)
@click.option("--force", is_flag=True, help="Replace a bundle that lies there.")
@as_json
@click.pass_obj
def bundle(
    location: Location,
    /,
    out: Path,
    *,
    since: Path | None,
    split: int | None,
    sign_keys: Sequence[Path],
    number: int | None,
    name: str | None,
    release: str | None,
    with_sealift: bool,
    repair: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the built release, with all that it needs, to one signed file to be carried across.

    The same release gives the same file. At the site: `sealift receive FILE`, then `sealift
    deploy`. With --since and a receipt of the site it holds only what is missing there, of small
    files only what changed.
    """
    from deploy.bundle import records
    from deploy.bundle.parts import check_free
    from deploy.bundle.write import write
    from deploy.signing import RELEASE
    from sealift import alongside, cargo, fleet, receipts
    from sealift.progress import drawn
    from sealift.signing import signer

    with location.open() as site:
        if repair is not None:
            _check_alone(since=since, split=split, number=number, release=release, name=name)
            sign = signer(site.settings, sign_keys, RELEASE)
            mended = _repair(site, repair, out, sign, force=force, quiet=as_json)
            _show(mended, None, as_json=as_json)
            return
        # Before it has a number, which nothing else would get any more.
        check_free(out, numbered=split is not None, force=force)
        meant = fleet.release(site, release)
        to = cargo.site_name(site.settings, name)
        sign = signer(site.settings, sign_keys, RELEASE)
        program = alongside.one_file(site) if with_sealift else None
        beside = None if program is None else alongside.check(program, out.parent, force=force)
        receipt = None if since is None else receipts.base(site.settings, since, to)
        load = cargo.load(site, meant, receipt, to)
        _warn(site, meant, release)
        with _numbered(site, load, number) as issue, drawn("written", quiet=as_json) as observe:
            written = write(
                site.store,
                load.content,
                out,
                label=cargo.label(site, meant, to, release, issue),
                sign=sign,
                split=split,
                documents=load.documents,
                trust=load.trust,
                observe=observe,
                force=force,
            )
            records.keep(site.store.var_dir, to, issue.number, written.stored)
        if program is not None and beside is not None:
            alongside.lay(program, beside, sign)
    _show(written, beside, as_json=as_json)


@contextmanager
def _numbered(site: Site, load: Cargo, number: int | None) -> Iterator[Issue]:
    """Give the number of a bundle; nobody else is given one for that site meanwhile."""
    from deploy.bundle import issued

    received = (load.receipt and load.receipt.number) or 0
    with issued.opened(site.store.var_dir, load.to) as numbers:
        yield numbers.issue(
            str(load.top), load.mark, number=number, now=time.time(), received=received
        )


def _check_alone(**others: object) -> None:
    """Refuse what says something of a bundle where what is damaged of one is asked for.

    Raises:
        InputError: it was said.
    """
    for name, value in others.items():
        if value is not None:
            option = f"--{'site' if name == 'name' else name}"
            raise InputError(f"the list says all of it: {option} does not go with --repair")


def _repair(
    site: Site,
    file: Path,
    out: Path,
    sign: Callable[[bytes], Sequence[bytes]],
    *,
    force: bool,
    quiet: bool,
) -> Written:
    """Write what replaces the damaged files of a bundle.

    Raises:
        LostFilesError: the store has them no more.
    """
    from deploy.bundle import repair
    from deploy.bundle.base import Delta
    from deploy.bundle.write import write
    from sealift import cargo
    from sealift.progress import drawn

    wanted = repair.load(file)
    damaged = repair.recorded(site.store.var_dir, wanted)
    wanted = repair.checked(wanted, damaged)
    whole = Delta(damaged.paths, None, {})
    documents = wanted.among(cargo.documents(site, damaged.top, whole))
    trust = wanted.among(cargo.trust(site.settings))
    extra = {*cargo.hashes(documents).values(), *cargo.hashes(trust).values()}
    with drawn("written", quiet=quiet) as observe:
        return write(
            site.store,
            repair.content(site.store, wanted, extra),
            out,
            label=repair.label(damaged),
            sign=sign,
            documents=documents,
            trust=trust,
            observe=observe,
            force=force,
        )


def _warn(site: Site, meant: Release, named: str | None) -> None:
    """Say what was built after the newest release, which is taken where none is named."""
    from sealift import fleet

    newer = fleet.behind(site, meant) if named is None else ()
    if newer:
        hint = f"to take them along: sealift build {site.release()}"
        say(f"newer than the release: {', '.join(newer)}; {hint}", err=True)


def _show(written: Written, beside: Path | None, *, as_json: bool) -> None:
    from store.amounts import amount, counted

    manifest, base = written.manifest, written.manifest.base
    if as_json:
        record = {
            "site": manifest.site,
            "number": manifest.number,
            "created": dt.datetime.fromtimestamp(manifest.created, dt.UTC).isoformat(),
            "top": str(manifest.top),
            "digest": manifest.digest,
            "base": base and base.receipt,
            "paths": len(manifest.paths),
            "files": len(manifest.blobs),
            "patches": len(manifest.patches),
            "raw": written.raw,
            "size": written.size,
            "parts": [str(file) for file in written.files],
            "sealift": beside and str(beside),
        }
        click.echo(json.dumps(record))
        return
    kind = "bundle" if base is None else "delta"
    files = counted(len(manifest.blobs) + len(manifest.patches), "file")
    held = f"{counted(len(manifest.paths), 'path')}, {files}"
    size = f"{amount(written.raw)} as {amount(written.size)}"
    say(f"{kind} {manifest.number} for {manifest.site}: {held}, {size}", err=True)
    if base is not None and not manifest.paths:
        say("nothing is new there: it says which release to take, and whose keys count", err=True)
    for file in (*written.files, *([beside] if beside else [])):
        click.echo(file)
