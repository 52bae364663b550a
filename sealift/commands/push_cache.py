"""`sealift push-cache`: give a shared cache what was built here, so that others need not."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.complete import recipe_names
from sealift.options import as_json
from store.amounts import megabytes
from store.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from builders.cache_push import Pushed
    from builders.cache_urls import CacheUrl
    from builders.settings import Settings
    from sealift.site import Location
    from store.binary_cache import ByteStore
    from store.cache_keys import PublicKey


@click.command()
@click.argument("url")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=recipe_names)
@click.option(
    "--sign-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A secret key as `nix-store --generate-binary-cache-key` makes it.",
)
@click.option("--new-key", metavar="NAME", help="Make the file of --sign-key first.")
@click.option("--outputs-only", is_flag=True, help="Nothing that only building needs.")
@as_json
@click.pass_obj
def push_cache(
    location: Location,
    url: str,
    names: tuple[str, ...],
    *,
    sign_key: Path | None,
    new_key: str | None,
    outputs_only: bool,
    as_json: bool,
) -> None:
    """Write what was built of recipes, and of what, to a cache that builds elsewhere ask.

    URL is file:///folder, sftp://user@host/folder, s3://bucket/path?endpoint=https://host or
    http(s)://host/path. The layout is that of a Nix binary cache. Without a key builds do not
    believe what is there.
    """
    from builders.cache_push import push
    from builders.cache_urls import WRITING, CacheUrl, opened
    from builders.derive import platform_of
    from deploy.bundle.receive import Progress
    from sealift.caches import dial, remembered
    from sealift.progress import drawn
    from store.cache_keys import SecretKey

    place = CacheUrl.parse(url)
    if new_key is not None:
        _make_key(new_key, sign_key)
    key = SecretKey.load(sign_key) if sign_key else None
    with location.open() as site:
        plan = site.plan(names, keep_going=True)
        with (
            opened(place, WRITING, dial=dial(site.settings)) as files,
            _writing(files),
            drawn("packed", quiet=as_json) as draw,
        ):
            pushed = push(
                plan,
                site.store,
                files,
                platform=platform_of(bare=site.settings.sandbox == "off"),
                lookup=remembered(site, plan),
                key=key,
                outputs_only=outputs_only,
                observe=lambda *far: draw(Progress(*far)),
                trusted=_trusted(site.settings, place),
            )
    _report(pushed, str(place), None if key is None else str(key.public), as_json=as_json)


def _trusted(settings: Settings, place: CacheUrl) -> set[PublicKey]:
    """Return whose word counts at a place: what they said there, we say as well."""
    from sealift.caches import caches

    return {key for each in caches(settings) if each.url == place for key in each.keys}


def _writing(files: ByteStore) -> AbstractContextManager[None]:
    """Let a folder see to what killed writers left, and to the disk; no other place needs that."""
    from store.cache_folder import CacheFolder

    return files.writing() if isinstance(files, CacheFolder) else nullcontext()


def _make_key(name: str, file: Path | None) -> None:
    """Make a key in a file that only its owner can read; one that is there stays.

    Raises:
        InputError: no file was named, it is there, or it cannot be written.
    """
    from store.cache_keys import SecretKey

    if file is None:
        raise click.UsageError("--new-key makes the file that --sign-key names.")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        reason = f"the key cannot be made: {fault.strerror}"
        raise InputError(reason, where=str(file)) from fault
    with os.fdopen(descriptor, "w") as out:
        out.write(SecretKey.generate(name).spelled + "\n")


def _report(pushed: Pushed, url: str, public: str | None, *, as_json: bool) -> None:
    written = pushed.written
    if as_json:
        record = {
            "url": url,
            "paths": len(written.closure),
            "added": len(written.added),
            "raw": written.raw,
            "compressed": written.compressed,
            "told": pushed.told,
            "other": list(pushed.other),
            "not_built": pushed.lacking,
            "public_key": public,
        }
        click.echo(json.dumps(record))
        return
    new = f"{len(written.added)} of {len(written.closure)} paths are new there"
    click.echo(f"{new}, {megabytes(written.compressed)}", err=True)
    if public is None:
        click.echo("not signed, so builds do not believe it: --sign-key FILE", err=True)
    else:
        click.echo(f"{pushed.told} results are told of, signed by {public}", err=True)
    if pushed.other:
        said = f"{len(pushed.other)} results differ from what is told there, and are left as told"
        click.echo(f"{said}: sealift build --check", err=True)
    if pushed.lacking:
        click.echo(f"{pushed.lacking} steps were not built here", err=True)
