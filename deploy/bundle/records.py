"""The builder's record of its bundles: their manifests, for what its store has no more.

A receipt names paths, and a path that was collected here names no files. What it was made of stands
in the manifest of the bundle that carried it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from deploy import durable
from deploy.bundle.manifest import parse
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.manifest import Manifest

FOLDER = "bundles"
KEEP = 32
"""Manifests of a site that stay: a few megabytes for a whole bundle, little for a delta."""
_NAME = re.compile(r"(?P<site>.+)-(?P<number>[1-9][0-9]*)\.json\.zst")


def keep(var_dir: Path, site: str, number: int, manifest: bytes) -> None:
    """Keep the manifest of a bundle as it is stored, and forget the oldest of that site."""
    folder = var_dir / FOLDER
    folder.mkdir(exist_ok=True)
    durable.write(folder / f"{site}-{number}.json.zst", manifest)
    for old in _files(var_dir, site)[KEEP:]:
        old.unlink(missing_ok=True)


def manifests(var_dir: Path, site: str) -> Iterator[Manifest]:
    """Give what bundles for a site carried, the newest first; damaged records tell nothing."""
    for file in _files(var_dir, site):
        with suppress(OSError, Error):
            yield from parse(file.read_bytes()).paths


def newest(var_dir: Path) -> dict[str, float]:
    """Return when the newest bundle of each site was written, in seconds since the epoch."""
    found: dict[str, float] = {}
    for file in (var_dir / FOLDER).glob("*.json.zst"):
        if match := _NAME.fullmatch(file.name):
            when = file.stat().st_mtime
            found[match["site"]] = max(when, found.get(match["site"], when))
    return found


def _files(var_dir: Path, site: str) -> list[Path]:
    """Return the records of a site, the highest number first."""
    found = {
        int(match["number"]): file
        for file in (var_dir / FOLDER).glob("*.json.zst")
        if (match := _NAME.fullmatch(file.name)) and match["site"] == site
    }
    return [found[number] for number in sorted(found, reverse=True)]
