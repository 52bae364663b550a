"""age, as secrets use it: who can read, who cannot, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy import seal
from deploy.errors import BadSecretError, SecretUnreadableError
from tests.deploy.age_keys import Pair, age_key, ssh_key

if TYPE_CHECKING:
    from pathlib import Path

VALUE = b"correct horse battery staple"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    kinds = {"one": "ed25519", "two": "rsa", "other": "ed25519", "curve": "ecdsa"}
    found = {name: ssh_key(folder, name, kind) for name, kind in kinds.items()}
    locked = ssh_key(folder, "locked", passphrase="long enough")
    return {**found, "locked": locked, "recovery": age_key(folder, "recovery")}


def sealed_for(keys: dict[str, Pair], *names: str) -> bytes:
    return seal.seal(VALUE, [keys[name].public for name in names])


def opened(sealed: bytes, *files: Path) -> bytes:
    return seal.unseal("DB", sealed, seal.load_identities(files))


def test_every_recipient_reads_it_and_nobody_else(keys: dict[str, Pair]) -> None:
    sealed = sealed_for(keys, "one", "two", "recovery")
    assert VALUE not in sealed
    for name in ("one", "two", "recovery"):
        assert opened(sealed, keys[name].file) == VALUE
    with pytest.raises(SecretUnreadableError) as raised:
        opened(sealed, keys["other"].file)
    assert raised.value.where == "DB"
    assert "sealift secret" in str(raised.value.hint)


def test_a_file_tells_who_can_read_it(keys: dict[str, Pair]) -> None:
    readers = seal.readers("DB", sealed_for(keys, "one", "two", "recovery"))
    assert readers.tags == {seal.tag(keys["one"].public), seal.tag(keys["two"].public)}
    assert readers.native == 1
    assert seal.tag(keys["other"].public) not in readers.tags


def test_the_age_command_agrees(keys: dict[str, Pair], tmp_path: Path) -> None:
    age = shutil.which("age")
    if age is None:
        pytest.skip("age is missing: apt-get install age")
    file = tmp_path / "DB.age"
    file.write_bytes(sealed_for(keys, "one", "two"))
    done = subprocess.run(
        [age, "-d", "-i", keys["two"].file, file], capture_output=True, check=True
    )
    assert done.stdout == VALUE
    words = ("-a", "-r", keys["one"].public, "-r", keys["two"].public)
    theirs = subprocess.run([age, *words], input=VALUE, capture_output=True, check=True).stdout
    assert opened(theirs, keys["one"].file) == VALUE
    assert seal.readers("DB", theirs).tags == seal.readers("DB", file.read_bytes()).tags


def test_keys_of_no_use_are_left_out_and_none_at_all_is_said(keys: dict[str, Pair]) -> None:
    sealed = sealed_for(keys, "one")
    files = [keys[name].file for name in ("curve", "locked", "one")]
    assert opened(sealed, *files) == VALUE
    with pytest.raises(SecretUnreadableError, match="no private key"):
        seal.load_identities(files[:2])
    with pytest.raises(SecretUnreadableError, match="no private key"):
        seal.load_identities([])
    with pytest.raises(SecretUnreadableError, match="cannot be read"):
        seal.load_identities([keys["one"].file.with_name("gone")])


@pytest.mark.parametrize("value", [b"", b"x" * (seal.LONGEST + 1)])
def test_a_value_has_a_size(value: bytes, keys: dict[str, Pair]) -> None:
    with pytest.raises(BadSecretError):
        seal.seal(value, [keys["one"].public])


def test_the_longest_value_goes_through_for_a_hundred_hosts(keys: dict[str, Pair]) -> None:
    value = b"x" * seal.LONGEST
    sealed = seal.seal(value, [keys["two"].public] * 100)
    assert len(sealed) <= seal.SEALED_LONGEST
    assert opened(sealed, keys["two"].file) == value


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "age1qqqq", "x"])
def test_what_is_no_public_key_is_refused(key: str) -> None:
    with pytest.raises(BadSecretError):
        seal.seal(VALUE, [key])


def test_a_curve_that_age_does_not_know_is_refused(keys: dict[str, Pair]) -> None:
    with pytest.raises(BadSecretError):
        seal.check_recipient(keys["curve"].public)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "a\n", "a\0", "ä", "x" * 65]
)
def test_names_are_names_of_files(name: str) -> None:
    with pytest.raises(BadSecretError):
        seal.check_name(name)
    assert seal.check_name("TLS_KEY-2.pem") == "TLS_KEY-2.pem"


BEGIN, END = "-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        f"{BEGIN}\n{END}",
        f"{BEGIN}\n!!!!\n{END}",
        f"{BEGIN}\naGVsbG8=\n{END}",
        BEGIN,
        f"{END}\n{BEGIN}",
        "age-encryption.org/v1\n-> X25519 abc\n--- x\n",
    ],
)
def test_what_is_no_age_file_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SecretUnreadableError) as raised:
        seal.readers("DB", text.encode())
    assert "hunter2" not in f"{raised.value.reason}{raised.value.got}"


def test_a_damaged_file_is_not_read(keys: dict[str, Pair]) -> None:
    sealed = sealed_for(keys, "one")
    for at in range(40, len(sealed) - 40, 7):
        other = b"A" if sealed[at : at + 1] != b"A" else b"B"
        damaged = sealed[:at] + other + sealed[at + 1 :]
        with pytest.raises(SecretUnreadableError):
            opened(damaged, keys["one"].file)
