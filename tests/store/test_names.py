from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import InputError
from store.names import LONGEST, check_name, store_name


@pytest.mark.parametrize("name", ["a", "gcc-12.2+b=1?x_y", "_", "=", "?", "a.", "x" * LONGEST])
def test_legal_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "a b", "a\n", "a\x00", "ü", "~", "1:2", "a@b", "x" * 212],
)
def test_others_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nginx_1:1.22.1-9+deb12u1~bpo1", "nginx_1-1.22.1-9+deb12u1_bpo1"),
        ("@babel/core", "babel-core"),
        ("x@1!2.0", "x-1-2.0"),
        (".bin", "_bin"),
        ("été café", "_t__caf_"),
        ("a.drv", "a_drv"),
        ("y" * 300, "y" * LONGEST),
    ],
)
def test_foreign_names_are_mapped(text: str, name: str) -> None:
    assert store_name(text) == name


def test_nothing_is_no_name() -> None:
    with pytest.raises(InputError):
        store_name("@")


@given(st.text(min_size=2))
def test_every_text_gets_a_legal_name(text: str) -> None:
    assert check_name(store_name(text)) == store_name(store_name(text))
