"""The vault: written on the transfer host, for whoever is to read it and for nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyrage
import pytest

from deploy import seal
from deploy.errors import BadSecretError, SecretMissingError, SecretUnreadableError
from deploy.vault import NoRecipientError, Recipients, Vault, choose
from tests.deploy.age_keys import Pair, age_key, ssh_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    found = {name: ssh_key(folder, name) for name in ("head1", "head2", "head3", "anew")}
    rsa, ecdsa = ssh_key(folder, "rsa", "rsa"), ssh_key(folder, "ecdsa", "ecdsa")
    own = {name: age_key(folder, name) for name in ("recovery", "recovery2")}
    return {**found, **own, "rsa": rsa, "ecdsa": ecdsa}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "secrets")


def recipients(keys: dict[str, Pair], *names: str, recovery: tuple[str, ...] = ()) -> Recipients:
    return Recipients(
        {name: keys[name].public for name in names}, tuple(keys[n].public for n in recovery)
    )


def opened(vault: Vault, name: str, key: Pair) -> bytes:
    return seal.unseal(name, vault.read(name), seal.load_identities([key.file]))


def test_it_is_empty_until_something_is_put(vault: Vault, keys: dict[str, Pair]) -> None:
    assert vault.names() == ()
    vault.put("DB", b"one", recipients(keys, "head1", "head2"))
    vault.put("API", b"two", recipients(keys, "head1", "head2"))
    assert vault.names() == ("API", "DB")
    assert opened(vault, "DB", keys["head2"]) == b"one"
    assert b"one" not in vault.file("DB").read_bytes()
    vault.put("DB", b"three", recipients(keys, "head1"))
    assert opened(vault, "DB", keys["head1"]) == b"three"
    vault.remove("DB")
    assert vault.names() == ("API",)


def test_it_lists_secrets_and_nothing_else(vault: Vault, keys: dict[str, Pair]) -> None:
    vault.put("DB", b"one", recipients(keys, "head1"))
    for name in (".gitignore", "README", ".tmp-DB.age-0123", "-x.age", ".age"):
        (vault.folder / name).touch()
    assert vault.names() == ("DB",)


def test_who_is_not_there_is_named(vault: Vault, keys: dict[str, Pair]) -> None:
    with pytest.raises(SecretMissingError, match="DB"):
        vault.read("DB")
    with pytest.raises(SecretMissingError):
        vault.remove("DB")
    with pytest.raises(BadSecretError):
        vault.put("../DB", b"x", recipients(keys, "head1"))
    assert not (vault.folder.parent / "DB.age").exists()


def test_recovery_alone_is_no_recipient(vault: Vault, keys: dict[str, Pair]) -> None:
    with pytest.raises(NoRecipientError) as raised:
        vault.put("DB", b"x", recipients(keys, recovery=("recovery",)))
    assert "sealift trust" in str(raised.value.hint)
    assert vault.names() == ()


def test_a_failed_write_leaves_what_was_there(vault: Vault, keys: dict[str, Pair]) -> None:
    vault.put("DB", b"one", recipients(keys, "head1"))
    before = vault.read("DB")
    with pytest.raises(BadSecretError):
        vault.put("DB", b"", recipients(keys, "head1"))
    with pytest.raises(BadSecretError):
        vault.put("DB", b"two", Recipients({"head1": "ssh-ed25519 AAAA"}))
    assert vault.read("DB") == before
    assert [each.name for each in vault.folder.iterdir()] == ["DB.age"]


def test_standing_says_who_reads_it_and_who_should(vault: Vault, keys: dict[str, Pair]) -> None:
    both = recipients(keys, "head1", "head2", recovery=("recovery",))
    vault.put("DB", b"x", both)
    assert vault.standing("DB", both).right
    assert vault.standing("DB", both).recovery

    more = vault.standing("DB", recipients(keys, "head1", "head2", "head3"))
    assert (more.hosts, more.lacking) == (("head1", "head2"), ("head3",))
    assert not more.right

    fewer = vault.standing("DB", recipients(keys, "head1", recovery=("recovery",)))
    assert (fewer.lacking, fewer.strangers, fewer.right) == ((), 1, False)

    without = vault.standing("DB", recipients(keys, "head1", "head2"))
    assert (without.strangers, without.recovery) == (1, False)


def test_a_new_recovery_key_is_one_to_seal_for(vault: Vault, keys: dict[str, Pair]) -> None:
    """Of SSH or of age's own: what it cannot read is to be sealed again."""
    native = str(pyrage.x25519.Identity.generate().to_public())
    before = recipients(keys, "head1", recovery=("recovery",))
    vault.put("DB", b"x", before)
    assert vault.standing("DB", before).right
    for more in (keys["recovery2"].public, native):
        now = replace(before, recovery=(*before.recovery, more))
        standing = vault.standing("DB", now)
        assert (standing.unrecovered, standing.recovery, standing.right) == (1, False, False)
        vault.put("NEW", b"x", now)
        assert vault.standing("NEW", now).right


def test_a_host_with_a_new_key_is_lacking(vault: Vault, keys: dict[str, Pair]) -> None:
    vault.put("DB", b"x", recipients(keys, "head1"))
    renewed = Recipients({"head1": keys["anew"].public})
    standing = vault.standing("DB", renewed)
    assert (standing.lacking, standing.strangers) == (("head1",), 1)


def test_rekey_needs_a_key_that_reads_it(vault: Vault, keys: dict[str, Pair]) -> None:
    vault.put("DB", b"x", recipients(keys, "head1", recovery=("recovery",)))
    now = recipients(keys, "head2", recovery=("recovery", "recovery2"))
    with pytest.raises(SecretUnreadableError):
        vault.rekey("DB", now, seal.load_identities([keys["head2"].file]))
    assert opened(vault, "DB", keys["head1"]) == b"x"
    vault.rekey("DB", now, seal.load_identities([keys["recovery"].file]))
    assert vault.standing("DB", now).right
    assert opened(vault, "DB", keys["head2"]) == b"x"
    with pytest.raises(SecretUnreadableError):
        opened(vault, "DB", keys["head1"])


def test_a_host_is_sent_what_there_is_and_only_what_it_can_read(
    vault: Vault, keys: dict[str, Pair]
) -> None:
    all_of = recipients(keys, "head1", "head2")
    vault.put("DB", b"x", all_of)
    vault.put("API", b"x", recipients(keys, "head1"))
    sent = vault.for_host(["DB", "NOT_HERE"], "head2", all_of)
    assert sent == {"DB": vault.read("DB")}
    with pytest.raises(SecretUnreadableError) as raised:
        vault.for_host(["DB", "API"], "head2", all_of)
    assert "head2" in raised.value.reason
    assert "API" in raised.value.reason


def test_the_better_key_of_a_host_is_chosen(keys: dict[str, Pair]) -> None:
    pinned = [keys[name].public for name in ("ecdsa", "rsa", "head1")]
    assert choose({"a": pinned}).hosts == {"a": keys["head1"].public}
    assert choose({"a": pinned[:2]}).hosts == {"a": keys["rsa"].public}


@pytest.mark.parametrize("names", [(), ("ecdsa",)])
def test_a_host_without_a_fit_key_is_named(keys: dict[str, Pair], names: tuple[str, ...]) -> None:
    pinned = {"head1": [keys["head1"].public], "head9": [keys[name].public for name in names]}
    with pytest.raises(NoRecipientError) as raised:
        choose(pinned)
    assert raised.value.where == "head9"
    assert raised.value.hint == "sealift trust head9"


def test_a_bad_recovery_key_is_refused(keys: dict[str, Pair]) -> None:
    with pytest.raises(BadSecretError):
        choose({"head1": [keys["head1"].public]}, ["age1nonsense"])


def test_one_key_of_two_hosts_is_sealed_to_once(keys: dict[str, Pair]) -> None:
    twins = Recipients({"a": keys["head1"].public, "b": keys["head1"].public})
    assert twins.keys == (keys["head1"].public,)
