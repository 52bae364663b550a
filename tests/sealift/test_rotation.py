"""Keys that travel in bundles, from builder to site, as their operators type it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from builders.settings import load_settings
from deploy.bundle import numbers
from deploy.bundle.base import whole
from deploy.bundle.write import Label, write
from deploy.signing import RELEASE
from sealift.signing import signer
from store.local import LocalStore
from tests.deploy.sshd import keygen
from tests.sealift.conftest import Folder
from tests.store.trees import lay

if TYPE_CHECKING:
    from collections.abc import Iterator
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

    def bundle(self, number: int, *keys: str) -> Path:
        """Write a bundle of a small path, with the builder's trust, signed by its keys."""
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
            sign = signer(settings, named, RELEASE)
            write(store, whole(store, top), out, label=label, sign=sign, trust=trust)
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
    return Folder(root)


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    root = tmp_path.resolve()
    sides = (folder(root / name, root / "made" / "store") for name in ("builder", "site"))
    made = Gap(root, *sides)
    run(made.builder, "key", "init", "--identity", "release@builder", "--no-passphrase")
    public = made.builder.root / "keys" / "signing.pub"
    run(made.site, "key", "add", "release@builder", str(public), "--yes")
    return made


def test_nothing_is_asked_where_nothing_changes(gap: Gap) -> None:
    """Though the files differ: in remarks, and in when lines were added."""
    before = gap.trusted()
    (gap.site.root / TRUST[0]).write_text(before[0] + "# ours\n")
    gap.receive(gap.bundle(1))
    assert gap.trusted() == (before[0] + "# ours\n", before[1])


def test_a_rotation(gap: Gap) -> None:
    """The old key brings the new one; then the new one is all there is."""
    run(gap.builder, "key", "rotate", "--no-passphrase")
    first = gap.bundle(1)
    before = gap.trusted()
    assert "pass --yes" in gap.receive(first, status=2)
    assert gap.trusted() == before
    said = gap.receive(first, "--yes")
    assert "new: release@builder SHA256:" in said
    assert "new: release@builder" in str(gap.changes())
    assert len(list(gap.site.root.glob("allowed_signers.*"))) == 1

    run(gap.builder, "key", "rotate", "--finish", "--yes")
    said = gap.receive(gap.bundle(2), "--yes")
    assert "no longer: release@builder" in said
    assert "revoked: SHA256:" in said
    assert "revoked" in gap.receive(first, "--allow-older", status=3)


def test_a_rotation_that_the_site_missed(gap: Gap) -> None:
    run(gap.builder, "key", "rotate", "--no-passphrase")
    missed = gap.bundle(1)
    run(gap.builder, "key", "rotate", "--finish", "--yes")
    later, before = gap.bundle(2), gap.trusted()
    assert "bad-signature" in gap.receive(later, "--yes", status=3)
    assert gap.trusted() == before
    gap.receive(missed, "--yes")
    gap.receive(later, "--yes")


def test_an_older_bundle_brings_no_keys_back(gap: Gap) -> None:
    spare = keygen(gap.root / "spare").with_suffix(".pub")
    run(gap.builder, "key", "add", "spare", str(spare), "--yes")
    older = gap.bundle(1)
    run(gap.builder, "key", "revoke", "spare", "--yes")
    gap.receive(gap.bundle(2), "--yes")
    before = gap.trusted()
    gap.receive(older, "--allow-older", "--yes")
    assert gap.trusted() == before


def test_a_site_is_not_locked_out(gap: Gap) -> None:
    """By a bundle that revokes the only key: it is refused, and so nothing of it is taken."""
    bundle_key = gap.builder.root / "keys" / "signing"
    run(gap.builder, "key", "revoke", "release@builder", "--yes")
    before = gap.trusted()
    assert "trust-refused" in gap.receive(gap.bundle(1, bundle_key.name), "--yes", status=3)
    assert gap.trusted() == before
    assert not (gap.site.root / "made" / "var" / "received").exists()


def test_a_list_that_is_empty(gap: Gap) -> None:
    """On either side: no key is revoked, and keys are changed all the same."""
    for side in (gap.builder, gap.site):
        (side.root / TRUST[1]).write_bytes(b"")
    spare = keygen(gap.root / "spare").with_suffix(".pub")
    run(gap.builder, "key", "add", "spare", str(spare), "--yes")
    assert "new: spare" in gap.receive(gap.bundle(1), "--yes")
    assert "spare" in gap.trusted()[0]


def test_a_threshold(gap: Gap) -> None:
    """Two keys of one identity are one signer; of two identities they are two."""
    with (gap.site.root / "sealift.yaml").open("a") as file:
        file.write("signing: {threshold: 2}\n")
    for name in ("twin", "spare"):
        keygen(gap.builder.root / "keys" / name)
    for identity, name in (("release@builder", "twin"), ("spare@safe", "spare")):
        public = str(gap.builder.root / "keys" / f"{name}.pub")
        for side in (gap.builder, gap.site):
            run(side, "key", "add", identity, public, "--yes")
    assert "too few" in gap.receive(gap.bundle(1, "signing"), status=3)
    assert "too few" in gap.receive(gap.bundle(2, "signing", "twin"), status=3)
    said = gap.receive(gap.bundle(3, "signing", "spare"))
    assert "release@builder (SHA256:" in said
    assert "spare@safe (SHA256:" in said
