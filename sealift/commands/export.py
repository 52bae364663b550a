"""`sealift export`: paths of the store in a layout that other tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.complete import recipe_names
from sealift.options import as_json
from store.amounts import megabytes

if TYPE_CHECKING:
    from sealift.site import Location
    from store.cache_write import Written
    from store.local import LocalStore

NIX_CACHE = "nix-cache"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.argument("names", nargs=-1, metavar="[NAME|PATH]...", shell_complete=recipe_names)
@click.option(
    "--format",
    "layout",
    type=click.Choice([NIX_CACHE]),
    default=NIX_CACHE,
    show_default=True,
    help="A binary cache as `nix copy --from file://DIR` reads it.",
)
@click.option(
    "--sign-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A secret key as `nix-store --generate-binary-cache-key` makes it.",
)
@click.option("--new-key", metavar="NAME", help="Make the file of --sign-key first.")
@as_json
@click.pass_obj
def export(
    location: Location,
    folder: Path,
    names: tuple[str, ...],
    *,
    layout: str,
    sign_key: Path | None,
    new_key: str | None,
    as_json: bool,
) -> None:
    """Write the release, or what is named, with all that it refers to, into a folder.

    What the folder has already is not written again, so that it can hold several releases.
    """
    from deploy.bundle.receive import Progress
    from sealift.progress import drawn
    from store.cache_folder import CacheFolder
    from store.cache_keys import SecretKey
    from store.cache_write import write

    if new_key is not None:
        _make_key(new_key, sign_key)
    key = SecretKey.load(sign_key) if sign_key else None
    public = str(key.public) if key else None
    cache = CacheFolder(folder)
    with location.open() as site:
        tops = [site.path(name) for name in names or (site.release(),)]
        with cache.writing(), drawn("packed", quiet=as_json) as draw:
            written = write(
                site.store, tops, cache, key=key, observe=lambda *far: draw(Progress(*far))
            )
        if as_json:
            click.echo(json.dumps(_record(site.store, folder, layout, written, public)))
            return
        for top in tops:
            click.echo(str(site.store.real(top)))
    click.echo(_summary(written), err=True)
    if public:
        click.echo(f"signed by {public}", err=True)


def _make_key(name: str, file: Path | None) -> None:
    from store.cache_keys import SecretKey

    if file is None:
        raise click.UsageError("--new-key makes the file that --sign-key names.")
    SecretKey.generate(name).save(file)


def _record(
    store: LocalStore, folder: Path, layout: str, written: Written, public: str | None
) -> dict[str, object]:
    return {
        "folder": str(folder),
        "format": layout,
        "store_dir": str(store.store_dir),
        "paths": [str(path) for path in written.closure],
        "added": [str(path) for path in written.added],
        "raw": written.raw,
        "compressed": written.compressed,
        "public_key": public,
    }


def _summary(written: Written) -> str:
    sizes = f"{megabytes(written.raw)} in {megabytes(written.compressed)}"
    return f"{len(written.closure)} paths, {len(written.added)} of them new: {sizes}"
