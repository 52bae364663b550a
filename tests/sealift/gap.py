"""A builder and a site on one machine: keys of their own, and bundles that cross between them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders.settings import load_settings
from deploy import ceremony, signers, signing
from deploy.bundle import numbers, records
from deploy.bundle.base import whole
from deploy.bundle.write import Label, write
from sealift.signing import policy
from store.local import LocalStore
from tests.sealift.conftest import Folder
from tests.store.trees import lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TRUST = ("allowed_signers", "revoked_keys")


@dataclass(frozen=True)
class Gap:
    """A builder and a site, which take turns with the place of the store; and what crosses."""

    root: Path
    builder: Folder
    site: Folder

    @contextmanager
    def turn(self, whose: Folder) -> Iterator[None]:
        """Have that side's store where both have theirs."""
        away, made = whose.root / "made", self.root / "made"
        away.mkdir(exist_ok=True)
        away.rename(made)
        try:
            yield
        finally:
            made.rename(away)

    def bundle(
        self, number: int, *keys: str, sign: Callable[[bytes], Sequence[bytes]] | None = None
    ) -> Path:
        """Write a bundle of a small path, with the builder's trust, signed by its keys.

        `sign` signs it in another way.
        """
        out = self.root / f"bundle-{number}"
        settings = load_settings(file=self.builder.root / "sealift.yaml")
        named = [self.builder.root / "keys" / key for key in keys]
        trust = {
            name: (self.builder.root / file).read_bytes()
            for name, file in zip(("signers", "revoked"), TRUST, strict=True)
        }
        with self.turn(self.builder), LocalStore.open(self.root / "made" / "store") as store:
            with store.temporary() as place:
                lay(place / "tree", {b"app": b"%d" % number})
                top = store.add(place / "tree", "release", durable=False).path
            label = Label(site="hpc1", number=number, created=1_766_000_000 + number, top=top)
            signed = sign or (
                lambda data: [
                    signing.sign(data, each, namespace=signing.RELEASE)
                    for each in named or [settings.signing.key]
                ]
            )
            made = write(store, whole(store, top), out, label=label, sign=signed, trust=trust)
            records.keep(store.var_dir, "hpc1", number, made.stored)
        return out

    def receive(self, bundle: Path, *words: str, status: int = 0) -> str:
        """Receive it at the site; return what is said."""
        with self.turn(self.site):
            return run(self.site, "receive", str(bundle), *words, status=status)

    def trusted(self) -> tuple[str, ...]:
        """Return the two files of the site."""
        return tuple((self.site.root / name).read_text() for name in TRUST)

    def changes(self) -> tuple[str, ...]:
        """Return what the site wrote down of how its trust changed, with the newest bundle."""
        with self.turn(self.site):
            return numbers.load(self.root / "made" / "var", "hpc1").arrivals[-1].trust


def run(folder: Folder, *words: str, status: int = 0) -> str:
    done = folder.run(*words)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def folder(root: Path, store: Path) -> Folder:
    for name in ("recipes", "sources"):
        (root / name).mkdir(parents=True)
    (root / "sealift.yaml").write_text(f"site: hpc1\nstore_dir: {store}\nsources: sources\n")
    # Named, as folders of tests may lie on a mount of their own, with the bundles.
    return Folder(root, named=True)


def laid(root: Path) -> Gap:
    """Lay both sides: the builder has a key, and the site knows it."""
    sides = (folder(root / name, root / "made" / "store") for name in ("builder", "site"))
    made = Gap(root, *sides)
    key = made.builder.root / "keys" / "signing"
    ceremony.make_key(key, "release@builder", passphrase=False)
    line = signers.Allowed("release@builder", signing.public(key), (signing.RELEASE,))
    for side in (made.builder, made.site):
        ceremony.add(policy(load_settings(file=side.root / "sealift.yaml")), line)
    return made
