"""A builder's store that was moved away, so that a site can have one in its place; and bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.bundle.delivery import opened
from deploy.bundle.receive import Received, alone, receive
from store.local import LocalStore
from tests.deploy.bundles import agree, noise, put, release, written
from tests.store.ends import moved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.path import StorePath
    from tests.store.ends import Elsewhere

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Crossing:
    """A release at the builder, and the folder where the site has its store."""

    source: Elsewhere
    place: Path
    medium: Path
    top: StorePath

    def bundle(self, name: str = "b", *, number: int = 1, split: int | None = None) -> list[Path]:
        """Write a bundle; return its files."""
        out = self.medium / name
        return list(written(self.source, self.top, out, number=number, split=split).files)

    def site(self) -> LocalStore:
        """Open the site's store."""
        return LocalStore.open(self.place)


def crossing(root: Path, *, large: int = 0) -> Crossing:
    """Fill a builder's store and move it away; `large` is MiB of a file that does not compress."""
    with LocalStore.open(root / "site" / "store") as filled:
        top = release(filled)
        if large:
            top = put(filled, "top", {b"large": noise(large * MEBIBYTE, 7)}, [top])
        source = moved(filled, "away")
    (root / "medium").mkdir()
    return Crossing(source, root / "site" / "store", root / "medium", top)


def take(store: LocalStore, files: Sequence[Path]) -> Received:
    """Receive a bundle, and first what replaces pieces of it."""
    with opened(files, agree) as delivery, alone(store):
        found = [
            receive(store, each, lambda _: None)
            for each in (*delivery.repairs, *([delivery.bundle] if delivery.bundle else []))
        ]
    return found[-1]


def whole(store: LocalStore, top: StorePath) -> bool:
    """Tell whether all of a release is there and good."""
    return len(store.closure([top])) >= 1 and store.verify().clean


def untouched(store: LocalStore) -> bool:
    """Tell whether nothing of a bundle shows in a store, but shared files that came."""
    report = store.verify()
    names = sorted(each.name for each in store.store_dir.iterdir())
    return report.clean and store.paths() == [] and names == [".links"] and store.roots() == []


def shared(store: LocalStore) -> int:
    """Count the shared files of a store."""
    return sum(1 for _ in store.links_dir.iterdir())
