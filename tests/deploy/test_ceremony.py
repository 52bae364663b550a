"""Keys that are made, added, revoked and replaced, in files that people edit too."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import ceremony, signers, signing
from deploy.signers import Allowed
from deploy.signing import SignatureError, sign, verify
from store.errors import InputError
from tests.deploy.signing_keys import Trusted, trusted

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = b"a manifest"


@pytest.fixture
def site(tmp_path: Path) -> Trusted:
    return trusted(tmp_path)


def lines(site: Trusted) -> list[str]:
    return site.policy.signers.read_text().splitlines()


class TestMakeKey:
    def test_it_signs(self, site: Trusted, tmp_path: Path) -> None:
        key = tmp_path / "keys" / "mine"
        ceremony.make_key(key, "carol@x", passphrase=False)
        assert key.stat().st_mode & 0o777 == 0o600
        assert (key.parent / ".gitignore").read_text().splitlines()[0] == "*"
        ceremony.add(site.policy, Allowed("carol@x", signing.public(key)))
        (signer,) = verify(DATA, [sign(DATA, key, namespace=signing.RELEASE)], site.policy)
        assert signer.identity == "carol@x"

    @pytest.mark.parametrize("name", ["mine", "mine.pub"])
    def test_what_is_there_stays(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("precious")
        with pytest.raises(InputError, match="already"):
            ceremony.make_key(tmp_path / "mine", "a", passphrase=False)
        assert (tmp_path / name).read_text() == "precious"


class TestAdd:
    def test_other_lines_stay(self, site: Trusted) -> None:
        site.policy.signers.write_text("# by hand\n\nalice   " + site.public("alice"))
        ceremony.add(site.policy, Allowed("bob", signing.public(site.key("bob"))))
        assert lines(site) == [
            "# by hand", "", f"alice   {site.public('alice')}", f"bob {site.public('bob')}",
        ]  # fmt: skip

    def test_both_files_are_there_in_the_end(self, site: Trusted) -> None:
        for file in (site.policy.signers, site.policy.revoked):
            assert file
            file.unlink()
        ceremony.add(site.policy, Allowed("alice", signing.public(site.key("alice"))))
        assert verify(DATA, site.sign(DATA, "alice"), site.policy)

    def test_what_would_not_hold(self, site: Trusted) -> None:
        site.revoke("bob")
        for identity, key, said in (
            ("alice", "alice", "already"),
            ("carol", "alice", "alice's"),
            ("bob", "bob", "revoked"),
        ):
            before = lines(site)
            with pytest.raises(InputError, match=said):
                ceremony.add(site.policy, Allowed(identity, signing.public(site.key(key))))
            assert lines(site) == before

    def test_two_at_once_lose_nothing(self, site: Trusted) -> None:
        keys = {f"u{n}": signing.public(site.key(f"u{n}")) for n in range(6)}
        run = [
            threading.Thread(target=ceremony.add, args=(site.policy, Allowed(name, key)))
            for name, key in keys.items()
        ]
        for each in run:
            each.start()
        for each in run:
            each.join()
        found = signers.parse(site.policy.signers.read_bytes(), "f")
        assert {each.identity for each in found} == {"alice", *keys}


class TestRevoke:
    def test_it_counts_no_more(self, site: Trusted) -> None:
        site.allow("# one", "alice =alice", 'alice namespaces="x" =alice', "bob =bob")
        signatures = site.sign(DATA, "alice")
        (key,) = ceremony.find(site.policy, "alice")
        for _ in range(2):
            ceremony.revoke(site.policy, key, "alice, lost")
        assert lines(site) == ["# one", f"bob {site.public('bob')}"]
        listed = (site.folder / "revoked_keys").read_text().splitlines()
        assert listed[1:] == [f"{key} alice, lost"]
        with pytest.raises(SignatureError) as raised:
            verify(DATA, signatures, site.policy)
        assert "is revoked" in str(raised.value.got)

    def test_whom_a_word_means(self, site: Trusted) -> None:
        site.allow("alice =alice", "alice =alice2", "bob =bob")
        one, two = (signing.public(site.key(name)) for name in ("alice", "alice2"))
        assert ceremony.find(site.policy, "alice") == {one: "alice", two: "alice"}
        assert ceremony.find(site.policy, two.fingerprint) == {two: "alice"}
        file = site.key("stranger").with_suffix(".pub")
        assert list(ceremony.find(site.policy, str(file)).values()) == ["stranger"]
        with pytest.raises(InputError, match="nobody"):
            ceremony.find(site.policy, "alic")

    def test_a_binary_list_is_left_alone(self, site: Trusted) -> None:
        (site.folder / "revoked_keys").write_bytes(signers.KRL + b"x")
        with pytest.raises(InputError, match="binary"):
            ceremony.revoke(site.policy, signing.public(site.key("alice")), "")
        assert lines(site) == [f"alice {site.public('alice')}"]


class TestRotate:
    @pytest.fixture
    def begun(self, site: Trusted) -> Trusted:
        site.allow('alice namespaces="sealift-release" =alice', "bob =bob")
        fresh = ceremony.next_file(site.key("alice"))
        ceremony.make_key(fresh, "alice", passphrase=False)
        ceremony.begin_rotation(site.policy, site.key("alice"), signing.public(fresh))
        return site

    def test_until_the_end_both_sign(self, begun: Trusted) -> None:
        for name in ("alice", "alice.next"):
            (signer,) = verify(DATA, begun.sign(DATA, name), begun.policy)
            assert signer.identity == "alice"
        assert 'namespaces="sealift-release"' in lines(begun)[-1]

    def test_then_the_new_one_alone(self, begun: Trusted) -> None:
        old, fresh = (signing.public(begun.key(name)) for name in ("alice", "alice.next"))
        before = begun.sign(DATA, "alice")
        assert ceremony.finish_rotation(begun.policy, begun.key("alice")) == old
        assert signing.public(begun.key("alice")) == fresh
        assert verify(DATA, begun.sign(DATA, "alice"), begun.policy)
        with pytest.raises(SignatureError):
            verify(DATA, before, begun.policy)
        assert not list(begun.folder.glob("*.next*"))
        with pytest.raises(InputError, match="no next key"):
            ceremony.finish_rotation(begun.policy, begun.key("alice"))

    def test_a_key_that_is_not_here(self, begun: Trusted) -> None:
        """Of an agent or a token: only public halves change places."""
        begun.key("alice").unlink()
        begun.key("alice.next").unlink()
        key = begun.folder / "alice.pub"
        fresh = signing.public(begun.folder / "alice.next.pub")
        assert ceremony.next_file(key) == begun.folder / "alice.next"
        ceremony.finish_rotation(begun.policy, key)
        assert signing.public(key) == fresh

    @pytest.mark.parametrize("calls", range(1, 12))
    def test_cut_off_anywhere_it_goes_on(
        self, begun: Trusted, calls: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At each rename the process is gone; the next call ends what was begun."""
        fresh = signing.public(begun.key("alice.next"))
        left = [calls]

        class GoneError(Exception):
            pass

        def counted(real: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
            def replace(self: Path, target: Path) -> Path:
                left[0] -= 1
                if left[0] == 0:
                    raise GoneError
                return real(self, target)

            return replace

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", counted(Path.replace))
            try:
                ceremony.finish_rotation(begun.policy, begun.key("alice"))
            except GoneError:
                pass
            else:
                assert left[0] > 0
        if ceremony.public_file(ceremony.next_file(begun.key("alice"))).exists():
            ceremony.finish_rotation(begun.policy, begun.key("alice"))
        assert signing.public(begun.key("alice")) == fresh
        assert verify(DATA, begun.sign(DATA, "alice"), begun.policy)
        assert f"alice {fresh}" not in lines(begun)

    def test_a_key_that_others_made(self, site: Trusted) -> None:
        to = ceremony.public_file(ceremony.next_file(site.key("alice")))
        ceremony.bring(site.key("token").with_suffix(".pub"), to)
        ceremony.bring(site.key("token").with_suffix(".pub"), to)
        with pytest.raises(InputError, match="already"):
            ceremony.bring(site.key("other").with_suffix(".pub"), to)
        assert signing.public(to) == signing.public(site.key("token"))

    def test_whose_key_is_nobodys(self, site: Trusted) -> None:
        with pytest.raises(InputError, match="may not sign here"):
            ceremony.owner(site.policy, signing.public(site.key("mallory")))
