"""Keys that travel: what would change, what is refused, and that both files change safely."""

from __future__ import annotations

import datetime as dt
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy import rotation, signing
from deploy.rotation import Trust, TrustError
from store.errors import InputError
from tests.deploy.signing_keys import Trusted, trusted

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC)


@pytest.fixture
def site(tmp_path: Path) -> Trusted:
    (tmp_path / "site").mkdir()
    return trusted(tmp_path / "site")


def carried(site: Trusted, *lines: str, revoked: tuple[str, ...] = ()) -> Trust:
    """Return what a bundle brings that was made where these lines stand."""
    words = [
        " ".join(site.public(w[1:]) if w[0] == "=" else w for w in x.split(" ")) for x in lines
    ]
    return Trust(
        "".join(f"{line}\n" for line in words).encode(),
        "".join(f"{site.public(name)} {name}, revoked\n" for name in revoked).encode(),
    )


def fingerprint(site: Trusted, name: str) -> str:
    return signing.public(site.key(name)).fingerprint


def krl(site: Trusted, *names: str) -> bytes:
    """Return a revocation list in ssh-keygen's binary format."""
    file = site.key(names[0]).with_name("binary.krl")
    keys = [site.key(name).with_suffix(".pub") for name in names]
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", file, *keys], check=True)
    return file.read_bytes()


class TestChange:
    def test_none(self, site: Trusted) -> None:
        """Comments, order and empty lines are no change of whom one trusts."""
        same = carried(site, "# a remark", "alice =alice with a comment")
        assert not rotation.change(site.policy, same)

    def test_each_kind_is_told(self, site: Trusted) -> None:
        site.allow("alice =alice", "bob =bob", "carol =carol")
        site.revoke("old")
        lines = rotation.change(
            site.policy,
            carried(
                site,
                "alice =alice",
                'bob namespaces="sealift-receipt" =bob',
                'dave valid-before="20990101Z" =dave',
                revoked=("mallory",),
            ),
        ).lines
        assert list(lines) == [
            f"no longer: carol {fingerprint(site, 'carol')}",
            f"new: dave {fingerprint(site, 'dave')} for anything until 2099-01-01 00:00 UTC",
            f"changed: bob {fingerprint(site, 'bob')} for sealift-receipt",
            f"revoked: {fingerprint(site, 'mallory')} mallory, revoked",
        ]

    def test_what_was_revoked_here_stays_so(self, site: Trusted) -> None:
        """The builder did not hear of it: its files neither list nor leave out that key."""
        site.revoke("stolen", "carol")
        trust = carried(site, "# a remark", "alice =alice", "bob =stolen", revoked=("mallory",))
        lines = rotation.change(site.policy, trust).lines
        assert list(lines) == [f"revoked: {fingerprint(site, 'mallory')} mallory, revoked"]
        rotation.install(site.policy, trust)
        after = rotation.installed(site.policy)
        assert after
        for name in ("stolen", "carol", "mallory"):
            assert signing.is_revoked(signing.public(site.key(name)), after.revoked)
        assert b"bob" not in after.signers
        assert b"# a remark" in after.signers
        assert not rotation.change(site.policy, trust)

    def test_nor_does_a_bundle_without_a_list_empty_ours(self, site: Trusted) -> None:
        site.revoke("stolen")
        rotation.install(site.policy, Trust(carried(site, "alice =alice").signers, b""))
        after = rotation.installed(site.policy)
        assert after
        assert signing.is_revoked(signing.public(site.key("stolen")), after.revoked)

    def test_binary_lists_must_revoke_all_that_is_revoked_here(self, site: Trusted) -> None:
        site.revoke("stolen")
        both = carried(site, "alice =alice", revoked=("stolen", "mallory"))
        one = carried(site, "alice =alice", revoked=("mallory",))
        with pytest.raises(TrustError, match="cannot be added up"):
            rotation.change(site.policy, Trust(one.signers, krl(site, "mallory")))
        binary = krl(site, "stolen", "mallory")
        rotation.install(site.policy, Trust(both.signers, binary))
        rotation.install(site.policy, one)
        assert site.policy.revoked
        assert site.policy.revoked.read_bytes() == binary
        more = carried(site, "alice =alice", revoked=("dave",))
        with pytest.raises(TrustError, match="cannot be added up"):
            rotation.install(site.policy, more)
        allowed = carried(site, "alice =alice", "bob =stolen").signers
        other = krl(site, "mallory")
        with pytest.raises(TrustError, match="cannot be added up"):
            rotation.install(site.policy, Trust(allowed, other))

    def test_a_list_that_grows_too_long(self, site: Trusted) -> None:
        assert site.policy.revoked
        site.revoke("old")
        long = carried(site, "alice =alice").revoked + b"#" * ((1 << 20) - 40)
        with pytest.raises(InputError, match="more than"):
            rotation.change(site.policy, Trust(carried(site, "alice =alice").signers, long))

    def test_nobody_was_trusted_before(self, site: Trusted) -> None:
        site.policy.signers.unlink()
        (line,) = rotation.change(site.policy, carried(site, "alice =alice")).lines
        assert line.startswith("new: alice")

    @pytest.mark.parametrize(
        ("line", "revoked"),
        [
            ("# nobody", ()),
            ("alice =alice", ("alice",)),
            ('alice namespaces="sealift-receipt" =alice', ()),
            ('alice valid-before="20200101" =alice', ()),
            ('alice valid-after="20990101" =alice', ()),
        ],
    )
    def test_a_site_is_not_locked_out(
        self, site: Trusted, line: str, revoked: tuple[str, ...]
    ) -> None:
        with pytest.raises(TrustError, match="no further"):
            rotation.change(site.policy, carried(site, line, revoked=revoked))

    def test_nor_below_its_threshold(self, site: Trusted) -> None:
        two = replace(site.policy, threshold=2)
        with pytest.raises(TrustError):
            rotation.change(two, carried(site, "alice =alice", "alice =alice2"))
        assert rotation.change(two, carried(site, "alice =alice", "bob =bob"))

    def test_files_that_are_not_taken(self, site: Trusted) -> None:
        good = carried(site, "alice =alice")
        for bad in (Trust(b"* x\n", good.revoked), Trust(good.signers, b"x\n")):
            with pytest.raises(InputError):
                rotation.change(site.policy, bad)


class TestInstall:
    def test_both_and_those_before_are_kept(self, site: Trusted) -> None:
        before = rotation.installed(site.policy)
        assert before
        fresh = carried(site, "bob =bob", revoked=("alice",))
        kept = rotation.install(site.policy, fresh, now=NOW)
        assert rotation.installed(site.policy) == fresh
        assert [(each.name, each.read_bytes()) for each in kept] == [
            ("revoked_keys.20260504T030201Z", before.revoked),
            ("allowed_signers.20260504T030201Z", before.signers),
        ]
        assert not rotation.change(site.policy, fresh)
        assert rotation.install(site.policy, fresh) == ()

    def test_a_rotation_signed_by_the_old_key(self, site: Trusted) -> None:
        """Two bundles: one by the old key that brings the new one, one by the new alone."""
        first = carried(site, "alice =alice", "alice =alice2")
        signature = site.sign(first.signers, "alice")
        assert signing.verify(first.signers, signature, site.policy)
        rotation.install(site.policy, first)
        second = carried(site, "alice =alice2", revoked=("alice",))
        signature = site.sign(second.signers, "alice2")
        assert signing.verify(second.signers, signature, site.policy)
        rotation.install(site.policy, second)
        with pytest.raises(signing.SignatureError, match="nobody signed"):
            signing.verify(b"x", site.sign(b"x", "alice"), site.policy)


def test_nothing_is_installed_where_nobody_is_trusted(site: Trusted) -> None:
    site.policy.signers.unlink()
    assert rotation.installed(site.policy) is None
