"""Signatures by the real ssh-keygen: what counts, and each way in which one does not."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy import signing, sshsig
from deploy.public_key import PublicKey
from deploy.signing import PROOF, RECEIPT, SignatureError, Signer, SigningError, sign, verify
from store.errors import InputError
from tests.deploy.signing_keys import Trusted, agent, trusted

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"a manifest\0\xff" * 1000
DAY = 'valid-before="20200102"'


@pytest.fixture
def site(tmp_path: Path) -> Trusted:
    return trusted(tmp_path)


def refusal(site: Trusted, signatures: list[bytes], data: bytes = DATA, **policy: object) -> str:
    with pytest.raises(SignatureError) as raised:
        verify(data, signatures, replace(site.policy, **policy))  # type: ignore[arg-type]
    assert raised.value.exit_code == 3
    return f"{raised.value.reason}: {raised.value.got}"


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def token_signature(data: bytes, namespace: str) -> tuple[PublicKey, bytes]:
    """Sign as a token does (PROTOCOL.u2f, PROTOCOL.sshsig): it says that it was touched."""
    kind, application = b"sk-ssh-ed25519@openssh.com", b"ssh:"
    private = Ed25519PrivateKey.generate()
    blob = field(kind) + field(private.public_key().public_bytes_raw()) + field(application)
    about = field(namespace.encode()) + field(b"") + field(b"sha512")
    message = b"SSHSIG" + about + field(hashlib.sha512(data).digest())
    touched = b"\x01" + (7).to_bytes(4)
    told = hashlib.sha256(application).digest() + touched + hashlib.sha256(message).digest()
    signature = field(kind) + field(private.sign(told)) + touched
    whole = b"SSHSIG" + (1).to_bytes(4) + field(blob) + about + field(signature)
    text = base64.b64encode(whole).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    armour = ("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", "")
    key = PublicKey(kind.decode(), base64.b64encode(blob).decode())
    return key, "\n".join(armour).encode()


class TestGood:
    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_each_kind_of_key(self, site: Trusted, kind: str) -> None:
        site.key(kind, kind)
        site.allow(f'release@builder.example namespaces="sealift-release" ={kind} of the builder')
        (signer,) = verify(DATA, site.sign(DATA, kind), site.policy)
        assert signer == Signer(
            "release@builder.example", signing.public(site.key(kind)).fingerprint
        )

    def test_a_key_on_a_token(self, site: Trusted) -> None:
        """What a FIDO token gives, computed here; ssh-keygen takes it for one."""
        public, signature = token_signature(DATA, signing.RELEASE)
        assert public.on_token
        site.allow(f"alice {public}")
        assert verify(DATA, [signature], site.policy) == (Signer("alice", public.fingerprint),)
        assert "over other contents" in refusal(site, [signature], DATA + b"x")

    def test_of_nothing_and_of_much(self, site: Trusted) -> None:
        for data in (b"", b"x" * (20 << 20)):
            assert verify(data, site.sign(data, "alice"), site.policy)

    def test_the_same_bytes_each_time(self, site: Trusted) -> None:
        assert site.sign(DATA, "alice") == site.sign(DATA, "alice")

    def test_a_key_in_an_agent(
        self, site: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = site.key("alice")
        with agent(tmp_path, key) as socket:
            key.unlink()
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            signature = sign(DATA, key.with_suffix(".pub"), namespace=signing.RELEASE)
        assert verify(DATA, [signature], site.policy)[0].identity == "alice"
        monkeypatch.delenv("SSH_AUTH_SOCK")
        with pytest.raises(SigningError, match="No private key"):
            sign(DATA, key.with_suffix(".pub"), namespace=signing.RELEASE)

    def test_a_stranger_beside_whom_it_takes_does_no_harm(self, site: Trusted) -> None:
        found = verify(DATA, site.sign(DATA, "mallory", "alice"), site.policy)
        assert [each.identity for each in found] == ["alice"]

    def test_within_its_time_in_any_spelling(self, site: Trusted) -> None:
        for after, before in (("20200101", "20990101Z"), ("202001010000Z", "20990101000000Z")):
            site.allow(f'alice valid-after="{after}",valid-before="{before}" =alice')
            assert verify(DATA, site.sign(DATA, "alice"), site.policy)

    def test_an_old_line_of_the_same_key_does_no_harm(self, site: Trusted) -> None:
        site.allow(f"alice {DAY} =alice", 'alice valid-after="20200101" =alice')
        assert verify(DATA, site.sign(DATA, "alice"), site.policy)

    def test_without_a_revocation_list(self, site: Trusted) -> None:
        policy = replace(site.policy, revoked=None)
        assert verify(DATA, site.sign(DATA, "alice"), policy)


class TestRefused:
    def test_stripped(self, site: Trusted) -> None:
        assert "bears no signature" in refusal(site, [])

    def test_by_another_key(self, site: Trusted) -> None:
        assert "is not in" in refusal(site, site.sign(DATA, "mallory"))

    def test_for_another_namespace(self, site: Trusted) -> None:
        for namespace in (RECEIPT, PROOF):
            said = refusal(site, site.sign(DATA, "alice", namespace=namespace))
            assert f"signed for '{namespace}', not for 'sealift-release'" in said

    def test_by_a_key_for_another_namespace(self, site: Trusted) -> None:
        site.allow('alice namespaces="sealift-receipt,sealift-proof" =alice')
        assert "may not sign for 'sealift-release'" in refusal(site, site.sign(DATA, "alice"))

    def test_by_another_identity(self, site: Trusted) -> None:
        site.allow("alice =alice", "bob =bob")
        both = site.sign(DATA, "bob")
        assert "must be by alice" in refusal(site, both, identities=("alice",))
        assert verify(DATA, both, replace(site.policy, identities=("alice", "bob")))

    def test_expired(self, site: Trusted) -> None:
        site.allow(f"alice {DAY} =alice")
        said = refusal(site, site.sign(DATA, "alice"))
        assert "expired on 2020-01-0" in said
        assert "this machine's clock" in said

    def test_not_valid_yet(self, site: Trusted) -> None:
        site.allow('alice valid-after="20990101Z" =alice')
        assert "is valid from 2099-01-01 00:00 UTC on" in refusal(site, site.sign(DATA, "alice"))

    def test_revoked(self, site: Trusted) -> None:
        site.revoke("bob", "alice")
        assert "is revoked" in refusal(site, site.sign(DATA, "alice"))

    def test_revoked_and_no_longer_allowed(self, site: Trusted) -> None:
        site.allow("bob =bob")
        site.revoke("alice")
        assert "is revoked" in refusal(site, site.sign(DATA, "alice"))

    def test_revoked_in_the_binary_format(self, site: Trusted) -> None:
        signatures = site.sign(DATA, "alice")
        for name, revoked in (("bob", False), ("alice", True)):
            krl, key = site.folder / "revoked_keys", site.key(name).with_suffix(".pub")
            subprocess.run(["ssh-keygen", "-q", "-k", "-f", krl, key], check=True)
            if revoked:
                assert "is revoked" in refusal(site, signatures)
            else:
                assert verify(DATA, signatures, site.policy)

    def test_over_other_contents(self, site: Trusted) -> None:
        signatures = site.sign(DATA, "alice")
        for other in (DATA[:-1], DATA + b"x", b"", b"\x01" + DATA[1:]):
            assert "is over other contents" in refusal(site, signatures, other)

    def test_damaged(self, site: Trusted) -> None:
        (good,) = site.sign(DATA, "alice")
        for bad in (
            b"",
            b"x",
            good[:-1],
            good + b"x",
            b"x" + good,
            good * 2,
            good[:80] + good[81:],
        ):
            assert "no SSH signature" in refusal(site, [bad])

    def test_any_letter_changed(self, site: Trusted) -> None:
        (good,) = site.sign(DATA, "alice")
        for place in range(0, len(good), 7):
            flipped = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
            refusal(site, [flipped])

    def test_too_many_are_not_looked_at(self, site: Trusted) -> None:
        (good,) = site.sign(DATA, "alice")
        refusal(site, [b"x"] * signing.MOST + [good])


class TestThreshold:
    @pytest.fixture
    def two(self, site: Trusted) -> Trusted:
        site.allow("alice =alice", "alice =alice2", "bob =bob", "carol =carol")
        return site

    def test_enough(self, two: Trusted) -> None:
        signatures = two.sign(DATA, "alice", "mallory", "bob")
        found = verify(DATA, signatures, replace(two.policy, threshold=2))
        assert [each.identity for each in found] == ["alice", "bob"]

    @pytest.mark.parametrize("names", [("alice",), ("alice", "alice"), ("alice", "alice2")])
    def test_one_signer_counts_once(self, two: Trusted, names: tuple[str, ...]) -> None:
        """By one key twice, or by two keys of one identity."""
        said = refusal(two, two.sign(DATA, *names), threshold=2)
        assert said.startswith("too few signed this: good: alice (SHA256:")

    def test_each_that_does_not_count_is_explained(self, two: Trusted) -> None:
        two.revoke("carol")
        signatures = [*two.sign(DATA, "alice", "carol", "mallory"), *two.sign(b"other", "bob")]
        said = refusal(two, signatures, threshold=2)
        assert "signature 2: the key of carol" in said
        assert "signature 3: the key SHA256:" in said
        assert "signature 4: the signature of bob" in said

    @pytest.mark.parametrize("threshold", [0, -1])
    def test_none_is_never_enough(self, two: Trusted, threshold: int) -> None:
        assert "bears no signature" in refusal(two, [], threshold=threshold)


class TestFiles:
    def test_nobody_is_trusted_yet(self, site: Trusted) -> None:
        site.policy.signers.unlink()
        with pytest.raises(InputError, match="nobody is trusted") as raised:
            verify(DATA, site.sign(DATA, "alice"), site.policy)
        assert "sealift key add" in str(raised.value.hint)

    def test_a_revocation_list_that_is_gone_revokes_everything(self, site: Trusted) -> None:
        assert site.policy.revoked
        site.policy.revoked.unlink()
        with pytest.raises(InputError, match="revoked keys is gone"):
            verify(DATA, site.sign(DATA, "alice"), site.policy)

    def test_one_that_is_damaged_too(self, site: Trusted) -> None:
        (site.folder / "revoked_keys").write_text("ssh-ed25519 AAAA\n")
        with pytest.raises(InputError, match="damaged"):
            verify(DATA, site.sign(DATA, "alice"), site.policy)

    def test_a_line_that_ssh_keygen_would_pass_over(self, site: Trusted) -> None:
        """It takes what follows; a person would think that the line holds."""
        site.allow("alice valid-before=20200101 =alice", "alice =alice")
        with pytest.raises(InputError):
            verify(DATA, site.sign(DATA, "alice"), site.policy)


def test_an_ssh_keygen_that_knows_no_signatures(
    site: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = site.sign(DATA, "alice")
    old = tmp_path / "bin" / "ssh-keygen"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'ssh-keygen: unknown option -- Y' >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    for call in (
        lambda: sign(DATA, site.key("alice"), namespace=signing.RELEASE),
        lambda: verify(DATA, signatures, site.policy),
    ):
        with pytest.raises(signing.OldOpenSshError):
            call()


def test_one_that_says_yes_to_something_else(
    site: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status of zero alone is not believed: it must name whom and what it was asked for."""
    signatures = site.sign(DATA, "alice")
    odd = tmp_path / "bin" / "ssh-keygen"
    odd.parent.mkdir()
    odd.write_text("#!/bin/sh\necho 'Good \"other\" signature for alice with ED25519 key x'\n")
    odd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{odd.parent}:/usr/bin:/bin")
    assert "is not good" in refusal(site, signatures)


class TestSign:
    def test_no_key(self, tmp_path: Path) -> None:
        with pytest.raises(SigningError) as raised:
            sign(DATA, tmp_path / "none", namespace=signing.RELEASE)
        assert "sealift key init" in str(raised.value.hint)

    def test_a_key_that_others_can_read(self, site: Trusted) -> None:
        site.key("alice").chmod(0o644)
        with pytest.raises(SigningError) as raised:
            sign(DATA, site.key("alice"), namespace=signing.RELEASE)
        assert "chmod 600" in str(raised.value.hint)

    def test_a_passphrase_and_nobody_to_type_it(self, tmp_path: Path) -> None:
        key = tmp_path / "locked"
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)]
        subprocess.run(argv, check=True)
        probe = (
            "from pathlib import Path; import sys; from deploy.signing import sign, SigningError\n"
            "try: sign(b'x', Path(sys.argv[1]), namespace='x')\n"
            "except SigningError as error: print(error.reason, '/', error.hint)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", probe, str(key)],
            capture_output=True, text=True, check=True, start_new_session=True,
        )  # fmt: skip
        assert "passphrase" in done.stdout
        assert "ssh-add" in done.stdout


def test_signatures_are_told_from_what_follows_them(site: Trusted) -> None:
    two = tuple(site.sign(DATA, "alice", "bob"))
    both = b"".join(two)
    assert sshsig.leading(both, 2) == (two, b"")
    assert sshsig.leading(both, 1) == (two[:1], two[1])
    assert sshsig.leading(b"", 2) == ((), b"")
    for rest in (b"x", b"\n", b" " + two[0], two[0][:-1], b"-----BEGIN SSH SIGNATURE-----\n"):
        assert sshsig.leading(both + rest, 3) == (two, rest)
