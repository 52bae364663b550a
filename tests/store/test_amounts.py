"""Sizes and numbers of things, as they are told."""

from __future__ import annotations

import pytest

from store.amounts import amount, counted, megabytes


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (11, "11 files")]
)
def test_one_is_not_several(number: int, said: str) -> None:
    assert counted(number, "file") == said


def test_less_than_a_megabyte_is_told_in_kilobytes() -> None:
    assert (amount(999_900), amount(1_000_000)) == ("999.9 kB", "1.0 MB")
    assert megabytes(1) == "0.0 MB"
