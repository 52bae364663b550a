"""`sealift import`: paths that other tools, or another store of ours, wrote into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealift.options import as_json
from sealift.site import RELEASE
from store.amounts import megabytes
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.site import Location
    from store.cache_keys import PublicKey
    from store.cache_read import Taken
    from store.path import StorePath

ROOTS = "imported"
"""Where the roots of what was imported lie, below `gcroots`."""


@click.command("import")
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR"
)
@click.argument("names", nargs=-1, metavar="[PATH]...")
@click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="KEY|FILE",
    help="Take only what this public key has signed; may be given several times.",
)
@click.option(
    "--unsigned",
    is_flag=True,
    help="Take it from whoever made it: then only the contents of each path are proved.",
)
@click.option("--root", metavar="NAME", help="What keeps it: `release` is what deploy looks for.")
@as_json
@click.pass_obj
def import_(
    location: Location,
    folder: Path,
    names: tuple[str, ...],
    *,
    trusted: tuple[str, ...],
    unsigned: bool,
    root: str | None,
    as_json: bool,
) -> None:
    """Take all paths of a Nix binary cache in a folder, or those that are named, into the store.

    Nothing is taken unless all of it is good: each path the address of its contents, none missing
    that another needs, and each signed by a key that --trust names. What stays is kept by roots,
    one for each path that no other of them needs.
    """
    from deploy.bundle.receive import Progress
    from deploy.release_file import load
    from sealift.progress import drawn
    from store.cache_folder import CacheFolder
    from store.cache_read import describe_one, fetch, look_up, outermost, told

    _check_trust(trusted, unsigned=unsigned)
    keys = _keys(trusted) if trusted else None
    cache = CacheFolder(folder)
    with location.open() as site, site.store.session():
        store = site.store
        if names:
            paths = [store.parse(name) for name in names]
        else:
            paths = told(cache, cache.digests(), str(store.store_dir))
        if not paths:
            raise InputError("there is nothing in this cache", where=str(folder))
        new = look_up(store, paths, cache, trusted=keys)
        there = store.closure(store.valid(paths))
        tops = outermost([*there, *(entry.info for entry in new)])
        roots = _roots(tops, root)
        if keys is not None:
            for path in sorted(store.valid(paths)):
                describe_one(cache, path, str(store.store_dir), keys)
        with drawn("unpacked", quiet=as_json) as draw:
            taken = fetch(store, new, cache, lambda *far: draw(Progress(*far)))
        if root == RELEASE:
            load(store.real(tops[0]))
        for name, path in roots.items():
            store.add_root(name, path)
    if as_json:
        click.echo(json.dumps(_record(folder, taken, roots) | {"signed": keys is not None}))
        return
    for path in tops:
        click.echo(str(store.real(path)))
    for line in _summary(taken, signed=keys is not None):
        click.echo(line, err=True)


def _check_trust(trusted: Sequence[str], *, unsigned: bool) -> None:
    """See that somebody said whose word counts.

    Raises:
        InputError: nobody did, or both that signatures count and that they do not.
    """
    if trusted and unsigned:
        raise InputError("either signatures count or they do not", got="--trust and --unsigned")
    if not trusted and not unsigned:
        raise InputError(
            "nobody said whose signatures count",
            expected="--trust with the public key of whoever made this cache",
            hint="to take it from whoever made it, which may be anybody: --unsigned",
        )


def _keys(texts: Iterable[str]) -> Sequence[PublicKey]:
    """Read public keys; what is the name of a file is taken for one."""
    from store.cache_keys import load_trusted

    files = [Path(text) for text in texts if ":" not in text or Path(text).is_file()]
    return load_trusted((text for text in texts if Path(text) not in files), files)


def _roots(tops: Sequence[StorePath], root: str | None) -> dict[str, StorePath]:
    """Name the roots; a later import of something by the same name takes its place.

    Raises:
        InputError: one name is given for several paths, or it cannot be one.
    """
    from store.roots import check_root

    if root is not None and len(tops) != 1:
        raise InputError(
            f"one root cannot keep {len(tops)} paths",
            expected="one path that needs all others",
            got=", ".join(path.name for path in tops[:6]),
            hint="name the path",
        )
    if root is not None:
        return {check_root(root): tops[0]}
    names = [path.name for path in tops]
    return {
        f"{ROOTS}/{_word(path.name if names.count(path.name) == 1 else str(path))}": path
        for path in tops
    }


def _word(name: str) -> str:
    return name.replace("?", "_")


def _record(folder: Path, taken: Taken, roots: dict[str, StorePath]) -> dict[str, object]:
    return {
        "folder": str(folder),
        "added": [str(path) for path in taken.added],
        "raw": taken.raw,
        "compressed": taken.compressed,
        "roots": {name: str(path) for name, path in roots.items()},
    }


def _summary(taken: Taken, *, signed: bool) -> Iterable[str]:
    sizes = f"{megabytes(taken.raw)} from {megabytes(taken.compressed)}"
    yield f"{len(taken.added)} paths are new: {sizes}"
    if not signed and taken.added:
        yield "their addresses prove their contents, but not who made them"
