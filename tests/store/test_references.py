from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.hashes import ALPHABET, nix32_encode
from store.path import StorePath
from store.references import FEW, Scanner


def path(number: int) -> StorePath:
    return StorePath(nix32_encode(number.to_bytes(20, "big")), f"p{number}")


def scan(candidates: list[StorePath], *chunks: bytes) -> set[StorePath]:
    scanner = Scanner(candidates)
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.found


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 200])
def test_a_digest_is_found_wherever_it_stands(count: int) -> None:
    candidates = [path(number) for number in range(1, count + 1)]
    wanted = candidates[-1]
    digest = wanted.digest.encode()
    for text in (b"%b", b"/any/store/%b-name", b"\x00%b\xff", b"x" * 40 + b"%b" + b"y" * 40):
        assert scan(candidates, text % digest) == {wanted}


@pytest.mark.parametrize("count", [1, FEW + 1])
@pytest.mark.parametrize("cut", range(1, 32))
def test_a_digest_may_lie_across_pieces(count: int, cut: int) -> None:
    candidates = [path(number) for number in range(1, count + 1)]
    text = b"/s/" + candidates[0].digest.encode() + b"-x"
    assert scan(candidates, text[: cut + 3], text[cut + 3 :]) == {candidates[0]}
    assert scan(candidates, *(bytes([byte]) for byte in text)) == {candidates[0]}


def test_a_cut_or_changed_digest_is_none() -> None:
    digest = path(7).digest
    other = "0" if digest[5] != "0" else "1"
    for text in (digest[1:], digest[:-1], digest.upper(), digest[:5] + other + digest[6:]):
        assert scan([path(7)], text.encode()) == set()


def test_one_that_is_no_candidate_does_not_count() -> None:
    assert scan([path(1)], path(2).digest.encode()) == set()
    assert scan([], path(2).digest.encode()) == set()


@given(
    st.lists(
        st.one_of(
            st.integers(0, 30).map(lambda number: path(number).digest.encode()),
            st.text(ALPHABET, max_size=40).map(str.encode),
            st.binary(max_size=10),
        ),
        max_size=8,
    ),
    st.integers(1, 50),
)
def test_both_searches_find_what_a_plain_search_finds(parts: list[bytes], step: int) -> None:
    stream = b"".join(parts)
    chunks = [stream[start : start + step] for start in range(0, len(stream), step)]
    for candidates in ([path(n) for n in range(5)], [path(n) for n in range(31)]):
        plain = {each for each in candidates if each.digest.encode() in stream}
        assert scan(candidates, *chunks) == plain


def test_a_megabyte_of_base_32_is_no_trouble() -> None:
    noise = "".join(ALPHABET[byte & 31] for byte in os.urandom(1 << 18)).encode()
    candidates = [path(number) for number in range(100)]
    assert scan(candidates, noise + candidates[50].digest.encode()) == {candidates[50]}
