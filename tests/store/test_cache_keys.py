"""Keys of binary caches: spelled as Nix spells them, and never shown."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from store.cache_keys import BadCacheKeyError, PublicKey, SecretKey, load_trusted
from store.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
"""RFC 8032, section 7.1, test 1."""
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


def test_keys_agree_with_the_standard() -> None:
    key = SecretKey("site-1", SEED)
    assert key.public == PublicKey("site-1", PUBLIC)
    name, _, signature = key.sign(b"").partition(":")
    assert name == "site-1"
    assert base64.b64decode(signature) == SIGNATURE


def test_keys_read_back_as_they_were_written(tmp_path: Path) -> None:
    key = SecretKey.generate("site-1")
    file = tmp_path / "key"
    key.save(file)
    assert SecretKey.load(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BadCacheKeyError, match="cannot be written"):
        SecretKey.generate("site-1").save(file)
    assert SecretKey.load(file) == key
    assert PublicKey.parse(str(key.public)) == key.public
    assert key.public.verifies(key.sign(b"text"), b"text")


def test_a_signature_holds_for_its_text_key_and_name_alone() -> None:
    key, other = SecretKey.generate("site-1"), SecretKey.generate("site-1")
    signature = key.sign(b"text")
    assert not key.public.verifies(signature, b"texT")
    assert not other.public.verifies(signature, b"text")
    assert not PublicKey("site-2", key.public.value).verifies(signature, b"text")
    assert not key.public.verifies(signature[:-4], b"text")


@pytest.mark.parametrize(
    "text",
    ["", "name", "name:", "na me:AAAA", ":AAAA", "name:AAAA", "name:%%%%", "-x:AAAA", "a:b:c"],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    for parse in (PublicKey.parse, SecretKey.parse):
        with pytest.raises(BadCacheKeyError):
            parse(text)


def test_halves_of_two_secret_keys_are_refused() -> None:
    one, two = SecretKey.generate("a"), SecretKey.generate("a")
    mixed = SecretKey("a", one.seed).spelled[:20] + two.spelled[20:]
    with pytest.raises(BadCacheKeyError, match="halves"):
        SecretKey.parse(mixed)


def test_no_message_shows_a_secret_key(tmp_path: Path) -> None:
    """Given where a public key was meant, or damaged, it is not repeated."""
    key = SecretKey.generate("site-1")
    secret = key.spelled.partition(":")[2][:20]
    file = tmp_path / "key"
    file.write_text(key.spelled)
    shortened = tmp_path / "shortened"
    shortened.write_text(key.spelled[:-4])
    tries = (
        lambda: load_trusted([key.spelled]),
        lambda: load_trusted([], [file]),
        lambda: SecretKey.load(shortened),
    )
    assert secret not in repr(key)
    for attempt in tries:
        with pytest.raises(Error) as caught:
            attempt()
        assert secret not in f"{caught.value} {caught.value.got} {caught.value.expected}"


def test_files_of_trusted_keys(tmp_path: Path) -> None:
    one, two = (SecretKey.generate(name).public for name in ("one", "two"))
    file = tmp_path / "keys"
    file.write_text(f"# of the site\n{one}\n\n  {two}  # newer\n")
    assert load_trusted([str(one)], [file]) == (one, two)
    file.write_text("# none\n")
    with pytest.raises(BadCacheKeyError, match="no key in the file"):
        load_trusted([], [file])
    with pytest.raises(BadCacheKeyError, match="cannot be read"):
        load_trusted([], [tmp_path / "nowhere"])


@pytest.mark.parametrize("name", ["", "a b", "a:b", "../x", "ü", "a" * 129])
def test_names_that_keys_may_not_have(name: str) -> None:
    with pytest.raises(BadCacheKeyError):
        SecretKey.generate(name)
