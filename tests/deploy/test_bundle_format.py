"""The frame of a part: what is believed of the last 96 bytes, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.bundle.format import (
    FOOTER,
    LARGEST_MANIFEST,
    LARGEST_SIGNATURES,
    MAGIC,
    MOST_PARTS,
    MOST_SIGNATURES,
    BadBundleError,
    Footer,
    parse,
    split_signatures,
)
from tests.deploy.bundles import SIGNATURE

GOOD = Footer(2, 3, 1000, 200, 100, bytes(range(32)))


def test_a_footer_has_96_bytes_and_can_be_read_again() -> None:
    assert len(bytes(GOOD)) == FOOTER == 96
    assert parse(bytes(GOOD), GOOD.size) == GOOD


@given(
    st.integers(1, MOST_PARTS).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
    st.integers(len(MAGIC), 2**50),
    st.integers(1, LARGEST_MANIFEST),
    st.integers(0, LARGEST_SIGNATURES),
    st.binary(min_size=32, max_size=32),
)
def test_every_footer_can_be_read_again(
    parts: tuple[int, int], end: int, manifest: int, signatures: int, digest: bytes
) -> None:
    footer = Footer(*parts, end, manifest, signatures, digest)
    assert parse(bytes(footer), footer.size) == footer


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, part=0),
        replace(GOOD, part=4),
        replace(GOOD, parts=MOST_PARTS + 1),
        replace(GOOD, parts=0, part=0),
        replace(GOOD, groups_end=len(MAGIC) - 1),
        replace(GOOD, manifest_size=0),
        replace(GOOD, manifest_size=LARGEST_MANIFEST + 1),
        replace(GOOD, signatures_size=LARGEST_SIGNATURES + 1),
    ],
)
def test_numbers_that_no_part_has_are_refused(bad: Footer) -> None:
    with pytest.raises(BadBundleError, match="does not describe"):
        parse(bytes(bad), bad.size)


def test_a_part_of_another_length_is_refused() -> None:
    with pytest.raises(BadBundleError, match="not as long"):
        parse(bytes(GOOD), GOOD.size + 1)


@pytest.mark.parametrize("byte", range(FOOTER))
def test_no_byte_of_a_footer_says_nothing(byte: int) -> None:
    """A changed one is refused, or is another number of the part or hash: those are compared."""
    data = bytearray(bytes(GOOD))
    data[byte] ^= 0x40
    try:
        found = parse(bytes(data), GOOD.size)
    except BadBundleError:
        return
    assert found != GOOD


def test_signatures_are_taken_apart() -> None:
    other = SIGNATURE.replace(b"AAAA", b"BBBB\nCC==")
    assert split_signatures(SIGNATURE + other) == (SIGNATURE, other)
    assert split_signatures(b"") == ()


@pytest.mark.parametrize(
    "bad",
    [
        b"x",
        SIGNATURE + b"x",
        b"x" + SIGNATURE,
        SIGNATURE[:-1],
        SIGNATURE.replace(b"AAAA", b"\xff"),
        SIGNATURE * (MOST_SIGNATURES + 1),
    ],
)
def test_what_is_no_signature_is_refused(bad: bytes) -> None:
    with pytest.raises(BadBundleError):
        split_signatures(bad)
