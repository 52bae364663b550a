"""Bundles for tests: a release in a store, what to write of it, and signatures of nobody."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from deploy.bundle.base import whole
from deploy.bundle.read import Bundle
from deploy.bundle.write import Label, Written, write
from tests.store.trees import ODD, lay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.bundle.read import Check
    from store.local import LocalStore
    from store.path import StorePath
    from tests.store.trees import Tree

SIGNATURE = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"
MEBIBYTE = 1024 * 1024
CREATED = 1766000000


def sign(_: bytes) -> tuple[bytes, ...]:
    """Sign as nobody."""
    return (SIGNATURE,)


def agree(_: bytes, signatures: Sequence[bytes]) -> None:
    """Agree to what `sign` made."""
    assert tuple(signatures) == (SIGNATURE,)


def noise(size: int, seed: int = 1) -> bytes:
    """Give bytes that do not get smaller."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - for tests


def put(
    store: LocalStore, name: str, tree: Tree, references: Sequence[StorePath] = ()
) -> StorePath:
    """Add a tree."""
    with store.temporary() as place:
        lay(place / "tree", tree)
        return store.add(place / "tree", name, references=references, durable=False).path


def release(store: LocalStore) -> StorePath:
    """Add a release: odd names, a program, many small files, and one of three groups."""
    odd = put(store, "odd", ODD)
    large = put(store, "large", {b"blob": noise(9 * MEBIBYTE), b"same": (b"small",)}, [odd])
    small: Tree = {b"f%d" % each: noise(each * 7, each) for each in range(300)}
    wheel = put(store, "wheel", small, [odd])
    top: Tree = {b"same": b"small", b"sbom.cdx.json": b'{"components":[]}', b"link": "same"}
    return put(store, "release", top, [large, wheel])


def label(top: StorePath, number: int = 1) -> Label:
    """Name a bundle."""
    return Label("hpc1", number, CREATED, top, release={"name": "release"})


def written(
    store: LocalStore, top: StorePath, out: Path, *, number: int = 1, split: int | None = None
) -> Written:
    """Write a bundle of all of a release."""
    return write(
        store, whole(store, top), out, label=label(top, number), sign=sign, split=split, force=True
    )


def read_all(files: Sequence[Path], check: Check = agree) -> bytes:
    """Read all that a bundle's groups hold."""
    with Bundle.open(files, check) as found:
        return b"".join(found.contents(each) for each in range(len(found.manifest.groups)))
