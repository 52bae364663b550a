from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import InputError
from store.hashes import Digest, nix32_decode, nix32_encode, parse_sri, sri, xor_fold

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.nix import Nix

EMPTY = hashlib.sha256(b"").digest()


def test_base_32_is_the_one_of_nix() -> None:
    """`nix-hash --type sha256 --to-base32` of the hash of nothing."""
    assert nix32_encode(EMPTY) == "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
    assert nix32_encode(b"") == ""


@given(st.binary(max_size=70))
def test_base_32_round_trip(data: bytes) -> None:
    assert nix32_decode(nix32_encode(data)) == data


@pytest.mark.parametrize("text", ["e", "o", "U", "é", "-", "0", "z" * 52, "zz", "00 00"])
def test_what_no_bytes_spell_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        nix32_decode(text)


def test_fold_is_no_truncation() -> None:
    folded = xor_fold(EMPTY, 20)
    assert folded[12:] == EMPTY[12:20]
    assert folded[:12] == bytes(a ^ b for a, b in zip(EMPTY[:12], EMPTY[20:], strict=True))


def test_sri_round_trip_and_choice() -> None:
    weak = Digest("sha256", EMPTY)
    strong = Digest("sha512", hashlib.sha512(b"").digest())
    assert parse_sri(sri(weak)) == weak
    assert parse_sri(f"{weak} {strong}?option sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=") == strong
    assert str(weak) == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert weak.base16 == EMPTY.hex()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256-",
        "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "md5-1B2M2Y8AsgTpgAmY7PhCfg==",
        "sha256-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hS uFU=",
        "sha256-é",
    ],
)
def test_what_pins_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_sri(text)


@pytest.mark.nix
def test_spellings_agree_with_nix(nix: Nix, tmp_path: Path) -> None:
    file = tmp_path / "data"
    for data in (b"", b"a", b"\xff" * 100):
        file.write_bytes(data)
        digest = hashlib.sha256(data).digest()
        spelled = nix.run("nix-hash", "--type", "sha256", "--flat", "--base32", file)
        folded = nix.run("nix-hash", "--type", "sha256", "--flat", "--base32", "--truncate", file)
        written = nix.run("nix", "hash", "to-sri", "--type", "sha256", digest.hex())
        assert spelled.decode().strip() == nix32_encode(digest)
        assert folded.decode().strip() == nix32_encode(xor_fold(digest, 20))
        assert written.decode().strip() == sri(Digest("sha256", digest))
