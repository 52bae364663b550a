"""Keys that travel in bundles, from builder to site, as their operators type it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.deploy.sshd import keygen
from tests.sealift.gap import TRUST, Gap, laid, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    return laid(tmp_path.resolve())


def finish(gap: Gap, *words: str, status: int = 0) -> str:
    with gap.turn(gap.builder):
        return run(gap.builder, "key", "rotate", "--finish", "--yes", *words, status=status)


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

    finish(gap)
    said = gap.receive(gap.bundle(2), "--yes")
    assert "no longer: release@builder" in said
    assert "revoked: SHA256:" in said
    assert "revoked" in gap.receive(first, "--allow-older", status=3)


def test_a_rotation_of_which_no_bundle_tells(gap: Gap) -> None:
    """Its end is refused, as the site would take no bundle any more; one made before is none."""
    run(gap.builder, "key", "rotate", "--no-passphrase")
    assert "[key-untold]" in finish(gap, status=2)
    gap.bundle(1)
    public = gap.builder.root / "keys" / "signing.next.pub"
    later = public.stat().st_mtime + 100
    os.utime(public, (later, later))
    before = (gap.builder.root / TRUST[1]).read_text()
    said = finish(gap, status=2)
    assert "since `key rotate` for hpc1" in said
    assert "sealift bundle" in said
    assert (gap.builder.root / TRUST[1]).read_text() == before
    finish(gap, "--without-bundle")


def test_a_key_for_receipts_needs_no_bundle(gap: Gap) -> None:
    own = gap.site.root / "keys" / "signing"
    words = ("--for", "receipt", "--no-passphrase", "--identity", "transfer@hpc1")
    run(gap.site, "key", "init", *words)
    old = own.with_suffix(".pub").read_text()
    run(gap.site, "key", "rotate", "--no-passphrase")
    run(gap.site, "key", "rotate", "--finish", "--yes")
    assert own.with_suffix(".pub").read_text() != old


def test_a_rotation_that_the_site_missed(gap: Gap) -> None:
    run(gap.builder, "key", "rotate", "--no-passphrase")
    missed = gap.bundle(1)
    finish(gap)
    later, before = gap.bundle(2), gap.trusted()
    said = gap.receive(later, "--yes", status=3)
    assert "bad-signature" in said
    assert "receive first what was signed before" in said
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


def test_what_the_site_revoked_no_bundle_brings_back(gap: Gap) -> None:
    """Of a builder that did not hear of it; and what the key signs counts no more."""
    stolen = keygen(gap.builder.root / "keys" / "stolen")
    for side in (gap.builder, gap.site):
        run(side, "key", "add", "spare", str(stolen.with_suffix(".pub")), "--yes")
    run(gap.site, "key", "revoke", "spare", "--yes")
    before = gap.trusted()
    said = gap.receive(gap.bundle(1), "--yes")
    assert "no more" not in said
    assert gap.trusted() == before
    assert "is revoked" in gap.receive(gap.bundle(2, "stolen"), "--yes", status=3)


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
